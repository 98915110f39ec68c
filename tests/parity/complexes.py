# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Made-up complexes whose residues have real atom lists, so that a peer finds its representative,
centre and frame atoms in them; and whole-model cases made of them."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from vectors import SINGLE, peer_casts_to, round_f32, save


@dataclass
class Residue:
    """Numbers of atoms in the residue's own order. `frame`: N, CA, C or C1', C3', C4'."""

    kind: str
    restype: int
    atoms: int
    center: int
    representative: int
    frame: tuple[int, int, int]


PROTEIN = [
    Residue("protein", code, atoms, 1, 4 if atoms > 4 else 1, (0, 1, 2))
    for code, atoms in ((0, 5), (7, 4), (15, 6), (16, 7), (10, 8), (1, 11))  # A G S T L R
]
RNA = [Residue("rna", 21, 22, 11, 21, (11, 7, 5)), Residue("rna", 23, 20, 11, 13, (11, 7, 5))]
DNA = [Residue("dna", 26, 21, 10, 20, (10, 7, 5)), Residue("dna", 29, 20, 10, 12, (10, 7, 5))]
ATOM = Residue("ligand", 20, 1, 0, 0, (0, 0, 0))
KINDS = ("protein", "rna", "dna", "ligand")


def pick(residues: list[Residue], count: int) -> list[Residue]:
    return [residues[i] for i in torch.randint(0, len(residues), (count,)).tolist()]


def make_complex(tokens: int, chains: int = 5) -> dict[str, torch.Tensor]:
    """A Batch's facts by its names. Of many chains two are copies of each other, the others RNA,
    DNA and a ligand. One chain: protein alone."""
    if chains == 1:
        parts = [(1, 1, pick(PROTEIN, tokens))]
    else:
        copy = pick(PROTEIN, max(2, tokens // 4))
        rest = tokens - 2 * len(copy)
        rna, dna = pick(RNA, rest // 4), pick(DNA, rest // 4)
        ligand = [ATOM] * (rest - len(rna) - len(dna))
        parts = [(1, 1, copy), (1, 2, copy), (2, 1, rna), (3, 1, dna), (4, 1, ligand)]
    rows: dict[str, list] = {k: [] for k in (
        "asym_id", "entity_id", "sym_id", "residue_index", "restype", "center_atom",
        "representative_atom", "frame_atom_index", "has_frame", "atom_to_token", "token_start",
    )}  # fmt: skip
    kinds = []
    atoms = 0
    for asym, (entity, copy_number, residues) in enumerate(parts, start=1):
        for index, residue in enumerate(residues, start=1):
            token = len(kinds)
            kinds.append(residue.kind)
            rows["asym_id"].append(asym)
            rows["entity_id"].append(entity)
            rows["sym_id"].append(copy_number)
            rows["residue_index"].append(1 if residue is ATOM else index)
            rows["restype"].append(residue.restype)
            rows["center_atom"].append(atoms + residue.center)
            rows["representative_atom"].append(atoms + residue.representative)
            rows["frame_atom_index"].append([atoms + place for place in residue.frame])
            rows["has_frame"].append(int(residue is not ATOM))
            rows["atom_to_token"] += [token] * residue.atoms
            rows["token_start"].append(atoms)
            atoms += residue.atoms
    facts = {key: torch.tensor(value) for key, value in rows.items()}
    facts["token_index"] = torch.arange(tokens)
    for kind in KINDS:
        facts[f"is_{kind}"] = torch.tensor([int(k == kind) for k in kinds])
    facts["is_atomized"] = facts["is_ligand"].clone()
    return facts


def make_batch(facts: dict, rows: int, templates: int = 0) -> dict[str, torch.Tensor]:
    """Adds what the trunk reads: conformers, alignment, bonds, templates."""
    tokens, atoms = len(facts["restype"]), len(facts["atom_to_token"])
    bonds = torch.zeros(tokens, tokens)
    bonds[1, tokens - 1] = bonds[tokens - 1, 1] = 1
    batch = dict(facts) | {
        "token_bonds": bonds, "ref_pos": torch.randn(atoms, 3) * 3,
        "ref_mask": (torch.rand(atoms) > 0.1).double(),
        "ref_element": torch.randint(1, 60, (atoms,)),
        "ref_charge": torch.randint(-1, 2, (atoms,)).double(),
        "ref_atom_name_chars": torch.randint(0, 64, (atoms, 4)),
        "ref_space_uid": torch.where(
            facts["is_ligand"][facts["atom_to_token"]] > 0, tokens, facts["atom_to_token"]
        ),
        "msa": torch.randint(0, 32, (rows, tokens)),
        "deletion": torch.randint(0, 4, (rows, tokens)).double(),
        "profile": torch.rand(tokens, 32), "deletion_mean": torch.rand(tokens),
    }  # fmt: skip
    if templates:
        distances = torch.nn.functional.one_hot(
            torch.randint(0, 39, (templates, tokens, tokens)), 39
        )
        batch |= {
            "template_restype": torch.randint(0, 32, (templates, tokens)),
            "template_distogram": distances.double(),
            "template_unit_vector": torch.randn(templates, tokens, tokens, 3),
            "template_pseudo_beta_mask": (torch.rand(templates, tokens) > 0.2).double(),
            "template_backbone_frame_mask": (torch.rand(templates, tokens) > 0.2).double(),
        }
    return {k: round_f32(v) if v.is_floating_point() else v for k, v in batch.items()}


def padded(batch: dict, tokens: int, atoms: int) -> dict[str, torch.Tensor]:
    """The same with zeros behind it, up to so many tokens and atoms."""

    def grown(key: str, value: torch.Tensor) -> torch.Tensor:
        shape = list(value.shape)
        if key.startswith("ref_") or key == "atom_to_token":
            shape[0] = atoms
        elif key in ("msa", "deletion", "profile") or key.startswith("template_"):
            first = 0 if key == "profile" else 1
            pairs = key in ("template_distogram", "template_unit_vector")
            for dimension in (1, 2) if pairs else (first,):
                shape[dimension] = tokens
        else:
            shape[0] = tokens
            if key == "token_bonds":
                shape[1] = tokens
        out = torch.zeros(shape, dtype=value.dtype)
        out[tuple(slice(0, n) for n in value.shape)] = value
        return out

    return {key: grown(key, value) for key, value in batch.items()}


def closed_behind(batch: dict, drawn: dict, tokens: int) -> dict[str, torch.Tensor]:
    """The case with so many closed tokens behind it, 3 closed atoms each, and 2 closed rows of the
    alignment. What is drawn there is not 0: nothing may read it."""
    real_tokens, real_atoms = len(batch["restype"]), len(batch["atom_to_token"])
    rows = len(batch["msa"])
    atoms = real_atoms + 3 * tokens
    out = padded(batch, real_tokens + tokens, atoms)
    more = torch.randint(0, 32, (2, real_tokens + tokens))
    out["msa"] = torch.cat([out["msa"], more])
    out["deletion"] = torch.cat([out["deletion"], more.double()])
    is_token = (torch.arange(real_tokens + tokens) < real_tokens).double()
    out |= {"token_mask": is_token, "atom_mask": (torch.arange(atoms) < real_atoms).double(),
            "msa_mask": torch.cat([is_token.expand(rows, -1), 0 * more])}  # fmt: skip
    for key in ("x_noisy", "x_pred"):
        behind = round_f32(torch.randn(len(drawn[key]), 3 * tokens, 3) * 20)
        drawn = drawn | {key: torch.cat([drawn[key], behind], 1)}
    return out | drawn


def fill(model: torch.nn.Module, scale: float = 1.0) -> None:
    """Random weights everywhere: initialisation leaves zeros, and zeros hide errors. The fixed
    numbers of the Fourier embedding are rounded alone."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                width = parameter[0].numel() if parameter.dim() > 1 else 30
                is_norm = "norm" in name.split(".")[-2] and name.endswith("weight")
                noise = torch.randn_like(parameter) * (scale / width**0.5)
                parameter.copy_((1.0 if is_norm and parameter.dim() == 1 else 0.0) + noise)
            parameter.copy_(round_f32(parameter))
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(round_f32(buffer))


class GivenDropout:
    """While active, every mask that torch's dropout draws is kept. Active again, the same masks are
    used in their order."""

    def __init__(self):
        self.masks: list[torch.Tensor] = []
        self.known = iter(())

    def __enter__(self):
        self.original = torch.nn.functional.dropout  # the layers call it too
        self.known = iter(tuple(self.masks))

        def dropout(x, p=0.5, training=True, inplace=False):
            if not training or p == 0:
                return x
            mask = next(self.known, None)
            if mask is None:
                mask = round_f32((torch.rand_like(x) >= p).double() / (1 - p))
                self.masks.append(mask)
            return x * mask.to(x.dtype)

        torch.nn.functional.dropout = dropout
        return self

    def __exit__(self, *_):
        torch.nn.functional.dropout = self.original

    def tensors(self) -> dict[str, torch.Tensor]:
        """By the names that megafold reads, [positions, channels] each: rows share it in all calls
        but a pair block's last, whose columns do (a peer turns the pairs around for that one)."""
        return {
            f"in.dropout_{i:03}": mask.reshape(-1, mask.shape[-1])
            for i, mask in enumerate(self.masks)
        }


def some(names: list[str]) -> set[str]:
    """Of parameters that differ only in the numbers of their blocks, the first and the last."""
    by_kind: dict[str, list[str]] = {}
    for name in names:
        kind = ".".join("#" if word.isdigit() else word for word in name.split("."))
        by_kind.setdefault(kind, []).append(name)
    return {name for group in by_kind.values() for name in (group[0], group[-1])}


def training_draws(samples: int, atoms: int, unresolved: float) -> dict[str, torch.Tensor]:
    """A truth and what a training step draws for it: each copy's place, level and noise."""
    rotation, _ = torch.linalg.qr(torch.randn(samples, 3, 3))
    rotation = rotation * torch.det(rotation).sign().view(-1, 1, 1)
    resolved = (torch.rand(atoms) >= unresolved).double()
    return {
        "x_truth": round_f32(torch.randn(atoms, 3) * 10) * resolved.unsqueeze(-1),
        "resolved": resolved, "draw_rotation": round_f32(rotation),
        "draw_shift": round_f32(torch.randn(samples, 3)),
        "draw_level": round_f32(torch.randn(samples)),
        "draw_noise": round_f32(torch.randn(samples, atoms, 3)),
    }  # fmt: skip


class GivenNormals:
    """While active, torch.randn and randn_like give these, in this order and in any shape."""

    def __init__(self, values: list[torch.Tensor]):
        self.values = iter(values)

    def __enter__(self):
        self.originals = torch.randn, torch.randn_like
        torch.randn = lambda *shape, size=None, **_: self.give(size or shape)
        torch.randn_like = lambda like, **_: self.give(like.shape)
        return self

    def give(self, shape) -> torch.Tensor:
        flat = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return next(self.values).reshape(flat)

    def __exit__(self, *_):
        torch.randn, torch.randn_like = self.originals


class ReluInputs:
    """While active, the inputs of every ReLU are kept."""

    def __enter__(self):
        self.inputs: list[torch.Tensor] = []
        self.original = torch.nn.functional.relu

        def relu(x, inplace=False):
            self.inputs.append(x.detach().clone())
            return self.original(x)

        torch.nn.functional.relu = relu
        return self

    def __exit__(self, *_):
        torch.nn.functional.relu = self.original

    def nearest(self) -> float:
        """To 0 but not 0, by the largest of its tensor."""
        return min(float(x[x != 0].abs().min() / x.abs().max()) for x in self.inputs)

    def turned(self, others: "ReluInputs") -> int:
        """How many are on the other side of 0 there."""
        pairs = zip(self.inputs, others.inputs, strict=True)
        return sum(int((a.sign() * b.sign() < 0).sum()) for a, b in pairs)


def in_single(value):
    """A dictionary's or a tensor's float64 as float32."""
    if isinstance(value, dict):
        return {key: in_single(one) for key, one in value.items()}
    floating = isinstance(value, torch.Tensor) and value.dtype == torch.double
    return value.to(SINGLE) if floating else value


def errors_of_single(model, run, outputs: dict, cotangents: dict) -> dict:
    """How far the peer's own float32 is from its float64, whose gradients `model` holds, measured
    as in src/cli/parity.cpp. `run(cast)` gives the outputs anew, its inputs through `cast`."""
    trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    exact = {name: value.grad for name, value in trained if value.grad is not None}
    with torch.no_grad(), torch.random.fork_rng(), ReluInputs() as relu:
        run(lambda value: value)
    model.zero_grad(set_to_none=True)
    model.to(SINGLE)
    for module in model.modules():
        if getattr(module, "precision", None) == torch.double:
            module.precision = SINGLE
    peer_casts_to(SINGLE)
    torch.set_default_dtype(SINGLE)
    with torch.random.fork_rng(), ReluInputs() as relu_of_single:  # the next case's draws stay
        single = run(in_single)
    sum((value * cotangents[key].to(SINGLE)).sum() for key, value in single.items()).backward()
    peer_casts_to(torch.double)
    torch.set_default_dtype(torch.double)
    assert all(value.dtype == SINGLE for value in single.values()), "a part stayed in float64"

    def error(ours, golden, scale):
        return float((ours.detach().double() - golden.detach()).abs().max() / scale)

    largest = max(float(value.abs().max()) for value in exact.values())
    gradients = {}
    for name, value in trained:
        if name in exact:
            own = float(exact[name].abs().max())
            gradients[name] = error(
                value.grad, exact[name], largest if own < 1e-9 * largest else own
            )
    worst = max(gradients, key=gradients.get)
    return {
        "outputs": max(error(single[key], value, float(value.detach().abs().max()))
                       for key, value in outputs.items()),
        "parameters": gradients[worst], "worst": worst, "nearest_relu": relu.nearest(),
        "relus_turned": relu.turned(relu_of_single), "gradients": gradients,
    }  # fmt: skip


def write_model_case(path: Path, model, inputs: dict, outputs: dict, released=False,
                     run_again=None):  # fmt: skip
    """`released`: the weights stay in a file of their own, and gradients of some parameters do.
    `run_again(cast)` gives the outputs anew: what the peer's float32 is worth goes to single.json
    beside the file."""
    tensors = {key if "." in key else f"in.{key}": value for key, value in inputs.items()}
    cotangents = {key: round_f32(torch.randn_like(value)) for key, value in outputs.items()}
    loss = sum((value * cotangents[key]).sum() for key, value in outputs.items())
    for key, value in outputs.items():
        tensors |= {f"cot.{key}": cotangents[key], f"out.{key}": value.detach()}
    loss.backward()
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    kept = some(trained) if released else set(trained)
    for key, value in model.named_parameters():
        if not released:
            kind = "param." if value.requires_grad else "buffer."
            tensors[kind + key] = value.detach().to(SINGLE)
        if key in kept:
            gradient = torch.zeros_like(value) if value.grad is None else value.grad
            tensors[f"grad_param.{key}"] = gradient.to(SINGLE)
    if not released:
        for key, value in model.named_buffers():
            if value.is_floating_point() and key != "version_tensor":
                tensors[f"buffer.{key}"] = value.to(SINGLE)
    save(tensors, path)
    if run_again:
        kept_in = path.parent / "single.json"
        known = json.loads(kept_in.read_text()) if kept_in.exists() else {}
        known[path.stem] = errors_of_single(model, run_again, outputs, cotangents)
        kept_in.write_text(json.dumps(known, indent=1))
