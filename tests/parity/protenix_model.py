# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Golden vectors of Protenix's whole Algorithm 1: input embedder, recycling (the gradient through
the last cycle only), MSA module, Pairformer, distogram and one call of the denoiser.

Run in an environment that holds protenix 2.0.0 and torch:

    LAYERNORM_TYPE=torch python tests/parity/protenix_model.py OUT
    megafold parity OUT

Sizes are small and all weights random; everything is computed in float64 and dropout is off. Two
cases: one cycle with 37 tokens, and three cycles with 21 tokens whose last window of atoms is cut.
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("LAYERNORM_TYPE", "torch")

import torch
from vectors import round_f32, save

# Protenix casts to float32 by name in many places; here every such place is to stay in float64.
F32 = torch.float32
torch.float32 = torch.float64
torch.Tensor.float = torch.Tensor.double

from protenix.model.modules.diffusion import DiffusionModule  # noqa: E402
from protenix.model.modules.embedders import (  # noqa: E402
    InputFeatureEmbedder,
    RelativePositionEncoding,
)
from protenix.model.modules.head import DistogramHead  # noqa: E402
from protenix.model.modules.pairformer import MSAModule, PairformerStack  # noqa: E402
from protenix.model.modules.primitives import LinearNoBias  # noqa: E402
from protenix.model.protenix import Protenix, update_input_feature_dict  # noqa: E402
from protenix.model.triangular.layers import LayerNorm  # noqa: E402

SIZES = {
    "c_s": 48, "c_z": 32, "c_m": 24, "c_atom": 16, "c_atompair": 8, "c_token_input": 24,
    "c_token": 40, "msa_blocks": 2, "pairformer_blocks": 2, "single_heads": 4,
    "diffusion_blocks": 2, "diffusion_heads": 4,
}  # fmt: skip


def build(rows: int) -> Protenix:
    s = SIZES
    c_s, c_z, c_in = s["c_s"], s["c_z"], s["c_token_input"] + 65
    model = Protenix.__new__(Protenix)
    torch.nn.Module.__init__(model)
    model.configs = SimpleNamespace(triangle_multiplicative="torch", triangle_attention="torch")
    model.train_confidence_only = False
    model.template_embedder = SimpleNamespace(n_blocks=0)
    model.input_embedder = InputFeatureEmbedder(s["c_atom"], s["c_atompair"], s["c_token_input"])
    model.relative_position_encoding = RelativePositionEncoding(c_z=c_z)
    every_row = {"train": rows, "test": rows}
    model.msa_module = MSAModule(
        n_blocks=s["msa_blocks"], c_m=s["c_m"], c_z=c_z, c_s_inputs=c_in, msa_dropout=0.0,
        pair_dropout=0.0,
        msa_configs={"enable": True, "strategy": "topk", "sample_cutoff": every_row,
                     "min_size": every_row},
    )  # fmt: skip
    model.pairformer_stack = PairformerStack(
        n_blocks=s["pairformer_blocks"], n_heads=s["single_heads"], c_z=c_z, c_s=c_s, dropout=0.0
    )
    model.diffusion_module = DiffusionModule(
        c_atom=s["c_atom"], c_atompair=s["c_atompair"], c_token=s["c_token"], c_s=c_s, c_z=c_z,
        c_s_inputs=c_in,
        transformer={"n_blocks": s["diffusion_blocks"], "n_heads": s["diffusion_heads"],
                     "drop_path_rate": 0},
    )  # fmt: skip
    model.distogram_head = DistogramHead(c_z=c_z)
    model.linear_no_bias_sinit = LinearNoBias(c_in, c_s)
    model.linear_no_bias_zinit1 = LinearNoBias(c_s, c_z)
    model.linear_no_bias_zinit2 = LinearNoBias(c_s, c_z)
    model.linear_no_bias_token_bond = LinearNoBias(1, c_z)
    model.linear_no_bias_z_cycle = LinearNoBias(c_z, c_z)
    model.linear_no_bias_s = LinearNoBias(c_s, c_s)
    model.layernorm_z_cycle = LayerNorm(c_z)
    model.layernorm_s = LayerNorm(c_s)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            width = parameter[0].numel() if parameter.dim() > 1 else 30
            base = 1.0 if "norm" in name.split(".")[-2] and name.endswith("weight") else 0.0
            with torch.no_grad():
                parameter.copy_(base + torch.randn_like(parameter) / width**0.5)
        with torch.no_grad():  # the Fourier embedding's fixed numbers too
            parameter.copy_(round_f32(parameter))
    return model.train()


def features(tokens: int, rows: int) -> tuple[dict, dict]:
    """What megafold reads (a Batch), and Protenix's dictionary of the same."""
    atom_to_token = torch.arange(tokens).repeat_interleave(1 + torch.randint(0, 9, (tokens,)))
    atoms = len(atom_to_token)
    asym = 1 + (torch.arange(tokens) > tokens // 2).long()
    restype = torch.randint(0, 31, (tokens,))
    msa = torch.randint(0, 32, (rows, tokens))
    deletion = torch.randint(0, 4, (rows, tokens)).double()
    bonds = torch.zeros(tokens, tokens)
    bonds[1, 5] = bonds[5, 1] = 1
    batch = {
        "residue_index": torch.arange(tokens) // 2 + 1, "token_index": torch.arange(tokens),
        "asym_id": asym, "entity_id": torch.ones(tokens).long(), "sym_id": asym.clone(),
        "restype": restype, "token_bonds": bonds, "atom_to_token": atom_to_token,
        "ref_pos": torch.randn(atoms, 3) * 3, "ref_mask": (torch.rand(atoms) > 0.1).double(),
        "ref_element": torch.randint(1, 60, (atoms,)),
        "ref_charge": torch.randint(-1, 2, (atoms,)).double(),
        "ref_atom_name_chars": torch.randint(0, 64, (atoms, 4)),
        "ref_space_uid": atom_to_token.clone(), "msa": msa, "deletion": deletion,
        "profile": torch.rand(tokens, 32), "deletion_mean": torch.rand(tokens),
    }  # fmt: skip
    for key, value in batch.items():
        if value.is_floating_point():
            batch[key] = round_f32(value)
    one_hot = torch.nn.functional.one_hot
    peer = dict(batch)
    peer["atom_to_token_idx"] = atom_to_token
    peer["restype"] = one_hot(restype, 32).double()
    peer["ref_element"] = one_hot(batch["ref_element"] - 1, 128).double()
    peer["ref_atom_name_chars"] = one_hot(batch["ref_atom_name_chars"], 64).double()
    peer["has_deletion"] = (deletion > 0).double()
    peer["deletion_value"] = torch.atan(deletion / 3) * 2 / torch.pi
    RelativePositionEncoding(c_z=8).generate_relp(peer)
    peer["relp"] = peer["relp"].double()
    return batch, update_input_feature_dict(peer)


def write_case(out: Path, name: str, tokens: int, rows: int, cycles: int, samples: int) -> dict:
    model = build(rows)
    batch, peer = features(tokens, rows)
    atoms = len(batch["atom_to_token"])
    x_noisy = round_f32(torch.randn(samples, atoms, 3) * 20)
    t_hat = round_f32(torch.rand(samples) * 30 + 0.1)
    s_inputs, s, z = model.get_pairformer_output(peer, N_cycle=cycles)
    outputs = {
        "s_inputs": s_inputs, "s": s, "z": z, "distogram": model.distogram_head(z),
        "x_denoised": model.diffusion_module(
            x_noisy=x_noisy, t_hat_noise_level=t_hat, input_feature_dict=peer, s_inputs=s_inputs,
            s_trunk=s, z_trunk=z, pair_z=None, p_lm=None, c_l=None),
    }  # fmt: skip
    tensors = {f"in.{key}": value for key, value in batch.items()}
    tensors |= {"in.x_noisy": x_noisy, "in.t_hat": t_hat}
    loss = 0
    for key, value in outputs.items():
        cotangent = round_f32(torch.randn_like(value))
        loss = loss + (value * cotangent).sum()
        tensors |= {f"cot.{key}": cotangent, f"out.{key}": value.detach()}
    loss.backward()
    for key, value in model.named_parameters():
        tensors[("param." if value.requires_grad else "buffer.") + key] = value.detach().to(F32)
        if value.requires_grad:
            gradient = torch.zeros_like(value) if value.grad is None else value.grad
            tensors[f"grad_param.{key}"] = gradient.to(F32)
    save(tensors, out / f"{name}.safetensors")
    return {"class": "protenix.model.protenix.Protenix", "config": SIZES | {"cycles": cycles}}


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: protenix_model.py OUT")
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(1)
    manifest = {
        "model_one_cycle": write_case(out, "model_one_cycle", 37, 5, 1, 2),
        "model_three_cycles": write_case(out, "model_three_cycles", 21, 7, 3, 3),
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1))


if __name__ == "__main__":
    main()
