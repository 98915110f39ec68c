# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Golden vectors of OpenFold 3's whole Algorithm 1: input embedder, recycling with templates, MSA
module, Pairformer, one call of the denoiser, and every head on a given structure.

Run in an environment that holds openfold3 0.5.0 and torch:

    python tests/parity/openfold3_model.py OUT [--seed N]
    megafold parity OUT --dialect openfold3

Sizes are small, all weights random, everything in float64. Cases: one cycle, several chains; three
cycles of one chain without an alignment; no template; masked tokens and atoms behind the real ones
and rows of the alignment with holes; several samples of a training step, its draws given; dropout
with the masks it drew. With --released the model has its released sizes; its weights stand beside
the case in peer.pt as torch saves a state dict.
"""

import os
from pathlib import Path

import torch
from complexes import (
    GivenDropout,
    GivenNormals,
    fill,
    make_batch,
    make_complex,
    padded,
    training_draws,
    write_model_case,
)
from vectors import SINGLE, peer_casts_to, round_f32, write_model_cases

peer_casts_to(torch.double)

from openfold3.core.model.structure import augmentation  # noqa: E402
from openfold3.projects.of3_all_atom import model as of3_model  # noqa: E402
from openfold3.projects.of3_all_atom.config.model_config import model_config  # noqa: E402
from openfold3.projects.of3_all_atom.model import OpenFold3  # noqa: E402

SIZES = {
    "c_s": 48, "c_z": 32, "c_m": 24, "c_atom": 16, "c_atompair": 8, "c_token_input": 24,
    "c_token": 40, "atom_blocks": 1, "msa_blocks": 2, "msa_heads": 4, "outer_product_width": 8,
    "pairformer_blocks": 2, "single_heads": 4, "triangle_multiplication_width": 24,
    "triangle_attention_heads": 4, "triangle_attention_width": 8, "transition_factor": 4,
    "template_blocks": 1, "c_template": 16, "template_multiplication_width": 16,
    "template_attention_heads": 2, "template_attention_width": 8, "confidence_blocks": 1,
    "diffusion_blocks": 2, "diffusion_heads": 4, "fourier_width": 32,
}  # fmt: skip


def small(config) -> None:
    """The same sizes in the peer's words."""
    s, a = SIZES, config.architecture
    a.shared.c_s, a.shared.c_z, a.shared.c_s_input = s["c_s"], s["c_z"], s["c_token_input"] + 65
    pair = {"c_hidden_mul": s["triangle_multiplication_width"], "c_hidden_pair_att": 8}
    for encoder, token in ((a.input_embedder.atom_attn_enc, s["c_token_input"]),
                           (a.diffusion_module.atom_attn_enc, s["c_token"]),
                           (a.diffusion_module.atom_attn_dec, s["c_token"])):  # fmt: skip
        encoder.update({"c_hidden": 4, "no_blocks": 1, "c_token": token, "c_atom": s["c_atom"],
                        "c_atom_pair": s["c_atompair"]})  # fmt: skip
    for part in (a.input_embedder, a.input_embedder.atom_attn_enc, a.diffusion_module.atom_attn_enc,
                 a.template, a.msa.msa_module, a.pairformer, a.diffusion_module.diffusion_module,
                 a.diffusion_module.diffusion_conditioning, a.heads.pairformer_embedding,
                 a.diffusion_module.diffusion_transformer, a.msa.msa_module_embedder,
                 a.heads.pairformer_embedding.pairformer, a.heads.pae, a.heads.pde, a.heads.lddt,
                 a.heads.distogram, a.heads.experimentally_resolved):  # fmt: skip
        for key in ("c_s", "c_z"):
            if key in part:
                part[key] = s[key]
        if "c_s_input" in part:
            part.c_s_input = s["c_token_input"] + 65
    a.template.c_t = s["c_template"]
    a.template.template_pair_embedder.update({"c_in": s["c_z"], "c_out": s["c_template"]})
    a.template.template_pair_stack.update({
        "c_t": s["c_template"], "c_hidden_tri_att": 8, "c_hidden_tri_mul": 16, "no_blocks": 1,
        "no_heads": 2,
    })  # fmt: skip
    a.msa.msa_module_embedder.c_m = s["c_m"]
    a.msa.msa_module.update(pair | {"c_m": s["c_m"], "c_hidden_opm": 8, "no_heads_msa": 4,
                                    "no_blocks": 2, "transition_n": 4})  # fmt: skip
    blocks = pair | {"c_hidden_pair_bias": 12, "no_heads_pair_bias": 4, "transition_n": 4}
    a.pairformer.update(blocks | {"no_blocks": 2})
    a.heads.pairformer_embedding.pairformer.update(blocks | {"no_blocks": 1})
    a.diffusion_module.diffusion_module.c_token = s["c_token"]
    a.diffusion_module.diffusion_conditioning.c_fourier_emb = s["fourier_width"]
    a.diffusion_module.diffusion_transformer.update(
        {"c_a": s["c_token"], "c_hidden": 10, "no_heads": 4, "no_blocks": 2}
    )


def build(released: bool, dropout: bool) -> OpenFold3:
    config = model_config.copy_and_resolve_references()
    if not released:
        small(config)
    a = config.architecture
    a.msa.msa_module_embedder.subsample_all_msa = False
    a.heads.pairformer_embedding.pairformer.pair_dropout = 0.0
    if not dropout:
        a.template.template_pair_stack.dropout_rate = 0.0
        a.msa.msa_module.update({"msa_dropout": 0.0, "pair_dropout": 0.0})
        a.pairformer.pair_dropout = 0.0
    model = OpenFold3(config).double().train()
    fill(model, 0.3 if released else 1.0)
    return model


def empty_templates(tokens: int, count: int) -> dict:
    """As core/data/primitives/featurization/template.py makes them: gaps, masks of 0."""
    return {
        "template_restype": torch.full((count, tokens), 31),
        "template_distogram": torch.zeros(count, tokens, tokens, 39),
        "template_unit_vector": torch.zeros(count, tokens, tokens, 3),
        "template_pseudo_beta_mask": torch.zeros(count, tokens),
        "template_backbone_frame_mask": torch.zeros(count, tokens),
    }


def peer_batch(batch: dict) -> dict:
    """OpenFold 3's names, without a batch axis. Without templates it has four empty ones."""
    one_hot = torch.nn.functional.one_hot
    batch = empty_templates(len(batch["restype"]), 4) | batch
    tokens = len(batch["restype"])
    count = torch.bincount(
        batch["atom_to_token"], weights=batch["atom_mask"], minlength=tokens
    ).long()
    peer = {key: batch[key] for key in (
        "residue_index", "token_index", "asym_id", "entity_id", "sym_id", "token_bonds", "ref_pos",
        "ref_mask", "ref_charge", "ref_space_uid", "profile", "deletion_mean", "is_protein",
        "is_rna", "is_dna", "is_ligand", "is_atomized", "template_distogram",
        "template_unit_vector", "template_pseudo_beta_mask", "template_backbone_frame_mask",
        "token_mask", "atom_mask", "msa_mask",
    )}  # fmt: skip
    deletion = batch["deletion"]
    return peer | {
        "restype": one_hot(batch["restype"], 32).double(),
        "ref_element": one_hot((batch["ref_element"] - 1).clamp_min(0), 119).double(),
        "ref_atom_name_chars": one_hot(batch["ref_atom_name_chars"], 64).double(),
        "msa": one_hot(batch["msa"], 32).double(), "has_deletion": (deletion > 0).double(),
        "deletion_value": torch.atan(deletion / 3) * 2 / torch.pi,
        "template_restype": one_hot(batch["template_restype"], 32).double(),
        "num_atoms_per_token": count,
        "start_atom_index": batch["token_start"], "atom_to_token_index": batch["atom_to_token"],
        "num_paired_seqs": torch.tensor(1),
    }  # fmt: skip


def drawn(batch: dict, samples: int) -> dict:
    atoms = len(batch["atom_to_token"])
    return {
        "x_noisy": round_f32(torch.randn(samples, atoms, 3) * 20),
        "t_hat": round_f32(torch.rand(samples) * 30 + 0.1),
        "x_pred": round_f32(torch.randn(1, atoms, 3) * 12),
    }


def run(model: OpenFold3, peer: dict, draws: dict, cycles: int, given: GivenDropout,
        real: tuple[int, int]) -> dict:  # fmt: skip
    """The last item's outputs for its real tokens and atoms."""
    with given:
        s_inputs, s, z = model.run_trunk(peer, cycles)
    sampled = {key: value.unsqueeze(1) for key, value in peer.items()}
    trunk = {"si_input": s_inputs.unsqueeze(1), "si_trunk": s.unsqueeze(1),
             "zij_trunk": z.unsqueeze(1)}  # fmt: skip
    heads = model.aux_heads(
        batch=sampled, si_input=trunk["si_input"], use_zij_trunk_embedding=True,
        output={"si_trunk": trunk["si_trunk"], "zij_trunk": trunk["zij_trunk"],
                "atom_positions_predicted": draws["x_pred"]},
    )  # fmt: skip
    n, a = real
    return {
        "s_inputs": s_inputs[-1][:n], "s": s[-1][:n], "z": z[-1][:n, :n],
        "distogram": heads["distogram_logits"][-1, 0][:n, :n],
        **{key: value[-1][:, :a] if value.dim() == 4 else value[-1] for key, value in
           (train if "draw_level" in draws else denoise)(model, sampled, trunk, draws).items()},
        "plddt": heads["plddt_logits"][-1][:, :a], "pae": heads["pae_logits"][-1][:, :n, :n],
        "pde": heads["pde_logits"][-1][:, :n, :n],
        "resolved": heads["experimentally_resolved_logits"][-1][:, :a],
    }  # fmt: skip


def denoise(model: OpenFold3, sampled: dict, trunk: dict, draws: dict) -> dict:
    return {
        "x_denoised": model.diffusion_module(
            batch=sampled, xl_noisy=draws["x_noisy"], token_mask=sampled["token_mask"],
            atom_mask=sampled["atom_mask"], t=draws["t_hat"], use_conditioning=True, **trunk,
        )
    }  # fmt: skip


def train(model: OpenFold3, sampled: dict, trunk: dict, draws: dict) -> dict:
    """The peer keeps its copies of the truth to itself: here they are seen on their way."""
    seen = {}

    def place(xl, atom_mask):
        seen["x_true"] = original(xl=xl, atom_mask=atom_mask)
        return seen["x_true"]

    original = of3_model.centre_random_augmentation
    rotations = augmentation.sample_rotations
    of3_model.centre_random_augmentation = place
    augmentation.sample_rotations = lambda shape, dtype, device: draws["draw_rotation"]
    model.shared.diffusion.no_samples = draws["draw_level"].shape[1]
    truth = {"atom_positions": draws["x_truth"].unsqueeze(1),
             "atom_resolved_mask": draws["resolved"].unsqueeze(1)}  # fmt: skip
    with GivenNormals([draws[key] for key in ("draw_shift", "draw_level", "draw_noise")]):
        out = model._train_diffusion(sampled | {"ground_truth": truth}, **trunk)
    augmentation.sample_rotations = rotations
    of3_model.centre_random_augmentation = original
    return {"x_denoised": out["atom_positions_diffusion"], "x_true": seen["x_true"],
            "t_hat": out["noise_level"]}  # fmt: skip


def write_case(out: Path, name: str, *, tokens, rows, cycles, samples, chains=5, templates=2,
               masked=0, training=False, dropout=False, released=False,
               single=False) -> dict:  # fmt: skip
    """`masked`: the peer runs a batch of two, whose second has so many tokens fewer; it is the
    case. What it holds behind its own tokens and atoms is padding; entries of its alignment are
    closed, and all of its last row."""
    model = build(released, dropout)
    batch = make_batch(make_complex(tokens, chains), rows, templates)
    atoms = len(batch["atom_to_token"])
    real = tokens, atoms
    inputs = [batch]
    if masked:
        smaller = make_batch(make_complex(tokens - masked, chains), rows, templates)
        real = tokens - masked, len(smaller["atom_to_token"])
        assert real[1] < atoms, "another seed, please"
        inputs.append(padded(smaller, tokens, atoms))
    draws, items = [], []
    for one in inputs:
        n, a = real if one is inputs[-1] else (tokens, atoms)
        draws.append(drawn(one, samples))
        if training:
            draws[-1] |= training_draws(samples, atoms, unresolved=0.2)
        one["token_mask"] = (torch.arange(tokens) < n).double()
        one["atom_mask"] = (torch.arange(atoms) < a).double()
        one["msa_mask"] = one["token_mask"].expand(rows, tokens).clone()
        if masked:
            one["msa_mask"][1:] *= (torch.rand(rows - 1, tokens) > 0.2).double()
            one["msa_mask"][-1] = 0
        items.append(peer_batch(one))
    peer = {key: torch.stack([item[key] for item in items]) for key in items[0]}
    drawn_of_all = {key: torch.stack([draw[key] for draw in draws]) for key in draws[0]}
    given = GivenDropout()
    outputs = run(model, peer, drawn_of_all, cycles, given, real)
    more = inputs[-1] | draws[-1]
    if dropout:
        more |= given.tensors()
    write_model_case(
        out / f"{name}.safetensors", model, more, outputs, released,
        single and (lambda cast: run(model, cast(peer), cast(drawn_of_all), cycles, given, real)),
    )  # fmt: skip
    config = {"cycles": cycles, "real_tokens": real[0], "real_atoms": real[1]}
    if released:
        torch.save({k: v.to(SINGLE) for k, v in model.state_dict().items()}, out / "peer.pt")
        config |= {"preset": "initial", "checkpoint": "ours.safetensors"}
    else:
        config |= SIZES | {"max_atoms_per_token": 23}
    return {"class": "openfold3.projects.of3_all_atom.model.OpenFold3", "config": config}


CASES = {
    "model_many_chains": {"tokens": 37, "rows": 5, "cycles": 1, "samples": 2},
    "model_one_chain_no_alignment": {
        "tokens": 21, "rows": 1, "cycles": 3, "samples": 3, "chains": 1,
    },
    "model_no_template": {"tokens": 18, "rows": 3, "cycles": 2, "samples": 2, "templates": 0},
    "model_training": {"tokens": 23, "rows": 3, "cycles": 2, "samples": 4, "training": True},
    "model_masked_rows": {"tokens": 24, "rows": 4, "cycles": 2, "samples": 1, "masked": 5},
    # Of several templates the peer draws the masks together, megafold one after the other.
    "model_dropout": {
        "tokens": 19, "rows": 4, "cycles": 2, "samples": 1, "templates": 1, "dropout": True,
    },
}  # fmt: skip

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    write_model_cases(__doc__, write_case, CASES)
