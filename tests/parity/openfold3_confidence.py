# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Golden vectors of what OpenFold 3 computes on the structure of a complex: losses of confidence
heads and of the distogram, the heads themselves, batches of more than one, and permutation
alignment.

Run in an environment that holds openfold3 0.5.0 and torch:

    python tests/parity/openfold3_confidence.py OUT [--seed N] [--tokens N]
    megafold parity OUT --dialect openfold3
"""

from pathlib import Path

import torch
from complexes import KINDS, make_complex
from ml_collections import ConfigDict
from openfold3.core.loss import confidence as confidence_loss
from openfold3.core.loss.distogram import all_atom_distogram_loss
from openfold3.core.model.heads.head_modules import AuxiliaryHeadsAllAtom
from openfold3.core.model.layers import triangular_multiplicative_update as multiplication
from openfold3.core.model.layers.transition import SwiGLUTransition
from openfold3.core.utils.permutation_alignment import (
    single_batch_multi_chain_permutation_alignment as align,
)
from openfold3_modules import SINGLE as BLOCK
from openfold3_modules import Cases
from vectors import begin, round_f32, write_manifest

FACTS = ("atom_to_token_idx", "asym_id", "is_atomized", *(f"is_{kind}" for kind in KINDS))


class Complexes(Cases):
    """Cases on one complex of real residues."""

    def __init__(self, out: Path, tokens: int):
        super().__init__(out, tokens)
        self.facts = make_complex(tokens)
        self.atom_to_token = self.facts["atom_to_token"]
        self.atoms = len(self.atom_to_token)
        steps = torch.randn(self.atoms, 3) * 1.5
        self.x_true = round_f32(steps.cumsum(0) * 0.5)
        self.x_pred = round_f32(self.x_true + torch.randn(2, self.atoms, 3) * 1.5)
        self.resolved = (torch.rand(self.atoms) > 0.1).double()

    def inputs(self) -> dict:
        facts = self.facts | {"atom_to_token_idx": self.atom_to_token}
        return {key: facts[key] for key in FACTS} | {
            "x_true": self.x_true, "x_pred": self.x_pred, "coord_mask": self.resolved,
        }  # fmt: skip

    def peer(self, samples: int) -> dict:
        """A batch of one, an axis of samples, and what the classes look for."""
        facts = self.facts
        batch = {key: facts[key] for key in ("asym_id", "is_atomized", *(f"is_{k}" for k in KINDS))}
        batch |= {
            "restype": torch.nn.functional.one_hot(facts["restype"], 32).double(),
            "token_mask": torch.ones(self.tokens), "atom_mask": torch.ones(self.atoms),
            "num_atoms_per_token": torch.bincount(self.atom_to_token),
            "start_atom_index": facts["token_start"],
        }  # fmt: skip
        batch = {key: value[None, None] for key, value in batch.items()}
        batch["ground_truth"] = {
            "atom_positions": self.x_true.expand(1, samples, -1, -1),
            "atom_resolved_mask": self.resolved.expand(1, samples, -1),
        }
        batch["loss_weights"] = {"distogram": torch.ones(1, 1)}
        return batch


def loss_cases(cases: Complexes) -> None:
    n, a = cases.tokens, cases.atoms
    bins = {"bin_min": 0.0, "eps": 1e-8}
    for name, call, shape, settings in (
        ("plddt_loss", confidence_loss.all_atom_plddt_loss, (2, a, 50),
         {"no_bins": 50, "bin_max": 1.0}),
        ("pde_loss", confidence_loss.pde_loss, (2, n, n, 64), {"no_bins": 64, "bin_max": 32.0}),
        ("pae_loss", confidence_loss.pae_loss, (2, n, n, 64),
         {"no_bins": 64, "bin_max": 32.0, "angle_threshold": 25.0, "inf": 1e9}),
    ):  # fmt: skip
        inputs = cases.inputs() | {"logits": cases.values(*shape)}

        def loss(x, call=call, settings=settings):
            value = call(batch=cases.peer(2), x=x["x_pred"][None], logits=x["logits"][None],
                         **settings, **bins)  # fmt: skip
            return {"loss": value[0]}

        cases.write(name, call.__name__, {}, None, inputs, loss, ["logits"])
    inputs = cases.inputs() | {"logits": cases.values(n, n, 64)}
    cases.write("distogram_loss", "all_atom_distogram_loss", {}, None, inputs, lambda x: {
        "loss": all_atom_distogram_loss(cases.peer(1), x["logits"][None, None], 64, 2.0, 22.0, 1e-8
                                        )[0].squeeze()}, ["logits"])  # fmt: skip
    # Without its own facts: they are another case's, which has the same truth.
    bare = {key: inputs[key] for key in ("logits", "x_true", "coord_mask")}
    cases.write("distogram_loss_bare", "all_atom_distogram_loss", {}, None, bare, lambda x: {
        "loss": all_atom_distogram_loss(cases.peer(1), x["logits"][None, None], 64, 2.0, 22.0, 1e-8
                                        )[0].squeeze()}, ["logits"])  # fmt: skip


def head_case(cases: Complexes) -> None:
    n = cases.tokens
    head = {"c_s": 48, "max_atoms_per_token": 24}
    config = {
        "distogram": {"c_out": 16, "c_z": 32}, "experimentally_resolved": head | {"c_out": 2},
        "lddt": head | {"c_out": 50}, "max_atoms_per_token": 24, "per_sample_token_cutoff": None,
        "pae": {"c_out": 16, "c_z": 32, "enabled": True}, "pde": {"c_out": 16, "c_z": 32},
        "pairformer_embedding": {
            "c_s_input": 89, "c_z": 32, "inf": 1e9, "max_bin": 50.75, "min_bin": 3.25, "no_bin": 39,
            "pairformer": BLOCK | {"no_blocks": 1, "blocks_per_ckpt": None},
        },
    }  # fmt: skip
    module = cases.module(AuxiliaryHeadsAllAtom(ConfigDict(config)))
    inputs = cases.inputs() | {
        "s_inputs": cases.values(n, 89), "s_trunk": cases.values(n, 48),
        "z_trunk": cases.values(n, n, 32),
    }  # fmt: skip

    def heads(x):
        out = module(
            cases.peer(2), x["s_inputs"][None, None],
            {"si_trunk": x["s_trunk"][None, None], "zij_trunk": x["z_trunk"][None, None],
             "atom_positions_predicted": x["x_pred"][None]}, use_zij_trunk_embedding=True,
        )  # fmt: skip
        names = ("distogram", "plddt", "experimentally_resolved", "pae", "pde")
        result = {key: out[f"{key}_logits"][0] for key in names}
        result["distogram"] = result["distogram"].expand(2, -1, -1, -1)
        return result

    cases.write("confidence_heads", "AuxiliaryHeadsAllAtom", config, module, inputs, heads)


def batch_cases(cases: Complexes) -> None:
    """Two items at once."""
    n = cases.tokens
    module = cases.module(multiplication.TriangleMultiplicationOutgoing(c_z=32, c_hidden=24))
    mask = torch.stack([cases.mask(n, n), cases.mask(n, n)])
    cases.write("tri_mul_out_batch", "TriangleMultiplicationOutgoing",
                {"c_z": 32, "c_hidden": 24, "batch": 2}, module,
                {"z": cases.values(2, n, n, 32), "mask": mask},
                lambda x: {"z": module(x["z"], x["mask"])}, ["z"])  # fmt: skip
    module2 = cases.module(SwiGLUTransition(c_in=32, n=4))
    cases.write("transition_batch", "SwiGLUTransition", {"c_in": 32, "n": 4, "batch": 3}, module2,
                {"x": cases.values(3, n, 5, 32), "mask": torch.ones(3, n, 5)},
                lambda x: {"x": module2(x["x"], x["mask"])}, ["x"])  # fmt: skip


def permutation_case(cases: Complexes, number: int) -> None:
    """The complex and a copy of all of it: four chains of one entity, two of each other kind; rings
    and side chains that may flip; a prediction that shows other copies than its names say."""
    facts, tokens = make_complex(cases.tokens), cases.tokens
    count = torch.bincount(facts["atom_to_token"])
    chains = facts["asym_id"].unique_consecutive()
    entity = torch.cat([facts["entity_id"]] * 2)
    copies = torch.cat([facts["sym_id"], facts["sym_id"] + facts["sym_id"].max()])
    start = torch.cat([(facts["asym_id"] == c).nonzero()[:1].squeeze(-1) for c in chains])
    place = torch.arange(tokens) - start[facts["asym_id"] - 1]
    place, atoms = torch.cat([place] * 2), int(count.sum())
    token_atoms = torch.cat([count] * 2)
    ligand = torch.cat([facts["is_ligand"]] * 2)
    component = torch.where(ligand > 0, 0, place)  # a ligand is one
    # Chains have one shape each, copies are moved about.
    asym = torch.cat([facts["asym_id"], facts["asym_id"] + len(chains)])
    atom_token = torch.arange(2 * tokens).repeat_interleave(token_atoms)
    x = torch.zeros(2 * atoms, 3)
    shapes: dict[int, torch.Tensor] = {}
    for chain in asym.unique().tolist():
        mine = asym[atom_token] == chain
        kind = int(entity[asym == chain][0])
        shape = shapes.setdefault(kind, (torch.randn(int(mine.sum()), 3) * 1.5).cumsum(0))
        turn = torch.linalg.qr(torch.randn(3, 3))[0]
        x[mine] = shape @ (turn * torch.det(turn)) + torch.randn(3) * 25
    resolved = torch.rand(2 * atoms) > 0.1
    # By residue (of the crop): swaps of the last two atoms, and turns of a ligand's ring.
    uid = torch.where(ligand > 0, 10_000 + asym, torch.arange(2 * tokens))[atom_token]
    permutations: dict[int, torch.Tensor] = {}
    for one in uid.unique().tolist():
        size = int((uid == one).sum())
        swapped = torch.arange(size)
        rows = [swapped]
        if one >= 10_000:
            rows += [torch.roll(swapped, k) for k in range(1, size)]
        elif size > 5:
            flipped = swapped.clone()
            flipped[[size - 2, size - 1]] = flipped[[size - 1, size - 2]]
            rows.append(flipped)
        permutations[one] = torch.stack(rows)
    # The prediction: copies exchanged, everything turned, a little noise.
    shown = x.clone()
    for kind in entity.unique().tolist():
        names = copies[entity == kind].unique()
        order = names[torch.randperm(len(names))]
        for to, source in zip(names.tolist(), order.tolist()):
            pick = [((entity == kind) & (copies == c))[atom_token] for c in (to, source)]
            shown[pick[0]] = x[pick[1]]
    turn = torch.linalg.qr(torch.randn(3, 3))[0]
    shown = round_f32(shown @ (turn * torch.det(turn)) + torch.randn(2 * atoms, 3) * 0.3 + 20)
    x = round_f32(torch.where(resolved[:, None], x, torch.zeros(())))
    kinds = {f"is_{k}": torch.cat([facts[f"is_{k}"]] * 2) for k in KINDS}
    peer = kinds | {
        "token_mask": torch.ones(2 * tokens), "atom_mask": torch.ones(2 * atoms),
        "mol_entity_id": entity, "mol_sym_id": copies, "mol_sym_component_id": component,
        "mol_sym_token_index": place, "num_atoms_per_token": token_atoms, "ref_space_uid": uid,
        "is_atomized": ligand, "start_atom_index": token_atoms.cumsum(0) - token_atoms,
        "restype": torch.nn.functional.one_hot(torch.cat([facts["restype"]] * 2), 32).double(),
    }  # fmt: skip
    truth = peer | {"atom_positions": x, "atom_resolved_mask": resolved.double()}
    index = align(peer | {"ground_truth": truth, "ref_space_uid_to_perm": permutations}, shown)
    center = torch.cat([facts["center_atom"], facts["center_atom"] + atoms])
    flat = [(uid == one).nonzero()[0] for one in permutations]
    inputs = {
        "x_true": x, "x_pred": shown, "coord_mask": resolved.double(), "mol_entity_id": entity,
        "mol_sym_id": copies, "mol_sym_token_index": place, "num_atoms_per_token": token_atoms,
        "center_atom": center, "is_ligand": ligand, "component_first_atom": torch.cat(flat),
        "component_permutations": torch.cat([p.flatten() for p in permutations.values()]),
        "component_shape": torch.tensor([list(p.shape) for p in permutations.values()]),
    }  # fmt: skip
    assert not torch.equal(index, torch.arange(2 * atoms))
    cases.write(f"permutation_{number}", "single_batch_multi_chain_permutation_alignment", {}, None,
                inputs, lambda _: {"atom": index.double()})  # fmt: skip


def main() -> None:
    options = begin(__doc__, tokens=26)
    cases = Complexes(options.out, options.tokens)
    for part in (loss_cases, head_case, batch_cases):
        part(cases)
    for number in range(5):
        permutation_case(cases, number)
    write_manifest(options.out, cases.manifest)


if __name__ == "__main__":
    main()
