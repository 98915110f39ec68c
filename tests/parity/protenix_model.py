# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Golden vectors of Protenix's whole Algorithm 1: input embedder, recycling with templates (the
gradient through the last cycle only), MSA module, Pairformer, distogram, one call of the denoiser,
and the confidence head on a given structure.

Run in an environment that holds protenix 2.0.0 and torch:

    LAYERNORM_TYPE=torch python tests/parity/protenix_model.py OUT [--seed N]
    megafold parity OUT

Sizes are small, all weights random, everything in float64. Cases: one cycle, several chains; three
cycles of one chain without an alignment or templates, whose last window of atoms is cut; the same
function with masked tokens, atoms and rows behind the real ones; several samples of a training
step, its draws given; dropout with the masks it drew. With --released the model has its released
sizes, and its weights stand beside the case in peer.pt as torch saves a state dict.
"""

import os
from pathlib import Path

os.environ.setdefault("LAYERNORM_TYPE", "torch")

import torch
from complexes import (
    GivenDropout,
    GivenNormals,
    closed_behind,
    fill,
    make_batch,
    make_complex,
    training_draws,
    write_model_case,
)
from vectors import SINGLE, peer_casts_to, round_f32, write_model_cases

peer_casts_to(torch.double)

from protenix.config.config import parse_configs  # noqa: E402
from protenix.model import utils  # noqa: E402
from protenix.model.generator import sample_diffusion_training  # noqa: E402
from protenix.model.modules.embedders import RelativePositionEncoding  # noqa: E402
from protenix.model.protenix import Protenix, update_input_feature_dict  # noqa: E402

from configs.configs_base import configs as base_configs  # noqa: E402
from configs.configs_data import data_configs  # noqa: E402
from configs.configs_model_type import model_configs  # noqa: E402

SIZES = {
    "c_s": 48, "c_z": 32, "c_m": 24, "c_atom": 16, "c_atompair": 8, "c_token_input": 24,
    "c_token": 40, "msa_blocks": 2, "pairformer_blocks": 2, "single_heads": 16,
    "diffusion_blocks": 2, "diffusion_heads": 4, "template_blocks": 1, "c_template": 16,
    "confidence_blocks": 1, "template_multiplication_width": 128, "template_attention_width": 32,
}  # fmt: skip


def configuration(released: bool):
    config = parse_configs(
        {**base_configs, "data": data_configs}, arg_str="", fill_required_with_null=True
    )
    config.update(model_configs["protenix_base_default_v1.0.0"])
    model, s = config.model, SIZES
    config.triangle_multiplicative = config.triangle_attention = "torch"
    for part in model.values():  # a forward run again in the backward would draw other masks
        if hasattr(part, "update") and "blocks_per_ckpt" in part:
            part.blocks_per_ckpt = None
    if released:
        return config
    c_in = s["c_token_input"] + 65
    config.c_s, config.c_z, config.c_s_inputs = s["c_s"], s["c_z"], c_in
    common = {"c_s": s["c_s"], "c_z": s["c_z"], "c_s_inputs": c_in, "c_m": s["c_m"],
              "c_atom": s["c_atom"], "c_atompair": s["c_atompair"]}  # fmt: skip
    for part in model.values():
        if hasattr(part, "update"):
            part.update({key: value for key, value in common.items() if key in part})
    model.input_embedder.c_token = s["c_token_input"]
    model.diffusion_module.c_token = s["c_token"]
    model.template_embedder.update({"n_blocks": 1, "c": s["c_template"]})
    model.msa_module.n_blocks = model.pairformer.n_blocks = 2
    model.pairformer.n_heads = s["single_heads"]
    model.confidence_head.n_blocks = 1
    model.diffusion_module.transformer.update({"n_blocks": 2, "n_heads": s["diffusion_heads"]})
    return config


def build(released: bool, dropout: bool) -> Protenix:
    config = configuration(released)
    if not dropout:
        config.model.template_embedder.dropout = 0.0
        config.model.msa_module.update({"msa_dropout": 0.0, "pair_dropout": 0.0})
        config.model.pairformer.dropout = 0.0
    # Every row of the alignment, in its order.
    config.data.msa.update({"strategy": "topk", "sample_cutoff": {"train": 64, "test": 64},
                            "min_size": {"train": 64, "test": 64}})  # fmt: skip
    model = Protenix(config).double().train()
    fill(model, 0.3 if released else 1.0)
    return model


def peer_features(batch: dict) -> dict:
    one_hot = torch.nn.functional.one_hot
    deletion, place = batch["deletion"], torch.arange(len(batch["atom_to_token"]))
    first = batch["token_start"][batch["atom_to_token"]]
    peer = dict(batch) | {
        "atom_to_token_idx": batch["atom_to_token"], "atom_to_tokatom_idx": place - first,
        "restype": one_hot(batch["restype"], 32).double(),
        "ref_element": one_hot(batch["ref_element"] - 1, 128).double(),
        "ref_atom_name_chars": one_hot(batch["ref_atom_name_chars"], 64).double(),
        "has_deletion": (deletion > 0).double(),
        "deletion_value": torch.atan(deletion / 3) * 2 / torch.pi,
        "distogram_rep_atom_mask": torch.zeros_like(place).index_fill(
            0, batch["representative_atom"], 1
        ),
    }  # fmt: skip
    if "template_restype" in batch:
        pairs = {key: batch[key] for key in ("template_pseudo_beta_mask",
                                             "template_backbone_frame_mask")}  # fmt: skip
        peer |= {key: m.unsqueeze(-1) * m.unsqueeze(-2) for key, m in pairs.items()}
        peer["template_aatype"] = batch["template_restype"]
    RelativePositionEncoding(c_z=8).generate_relp(peer)
    peer["relp"] = peer["relp"].double()
    return update_input_feature_dict(peer)


def run(model: Protenix, peer: dict, drawn: dict, cycles: int, given: GivenDropout) -> dict:
    with given:
        s_inputs, s, z = model.get_pairformer_output(peer, N_cycle=cycles)
    heads = model.confidence_head(
        input_feature_dict=peer, s_inputs=s_inputs.detach(), s_trunk=s.detach(),
        z_trunk=z.detach(), pair_mask=None, x_pred_coords=drawn["x_pred"],
    )  # fmt: skip
    trunk = {"input_feature_dict": peer, "s_inputs": s_inputs, "s_trunk": s, "z_trunk": z,
             "pair_z": None, "p_lm": None, "c_l": None}  # fmt: skip
    return {
        "s_inputs": s_inputs, "s": s, "z": z, "distogram": model.distogram_head(z),
        **(train if "draw_level" in drawn else denoise)(model, trunk, drawn),
        **dict(zip(("plddt", "pae", "pde", "resolved"), heads)),
    }  # fmt: skip


def denoise(model: Protenix, trunk: dict, drawn: dict) -> dict:
    return {
        "x_denoised": model.diffusion_module(
            x_noisy=drawn["x_noisy"], t_hat_noise_level=drawn["t_hat"], **trunk
        )
    }


def train(model: Protenix, trunk: dict, drawn: dict) -> dict:
    original = utils.uniform_random_rotation
    utils.uniform_random_rotation = lambda N_sample: drawn["draw_rotation"]
    with GivenNormals([drawn[key] for key in ("draw_shift", "draw_level", "draw_noise")]):
        x_true, x_denoised, t_hat = sample_diffusion_training(
            noise_sampler=model.train_noise_sampler, denoise_net=model.diffusion_module,
            label_dict={"coordinate": drawn["x_truth"], "coordinate_mask": drawn["resolved"]},
            N_sample=len(drawn["draw_level"]), **trunk,
        )  # fmt: skip
    utils.uniform_random_rotation = original
    return {"x_denoised": x_denoised, "x_true": x_true, "t_hat": t_hat}


def write_case(out: Path, name: str, *, tokens, rows, cycles, samples, chains=5, templates=2,
               masked=0, training=False, dropout=False, released=False,
               single=False) -> dict:  # fmt: skip
    """`masked`: the peer, which knows no padding, runs the case as it is; megafold's has so many
    tokens, atoms and rows of the alignment behind it that its masks close."""
    model = build(released, dropout)
    batch = make_batch(make_complex(tokens, chains), rows, templates)
    peer = peer_features(batch)
    atoms = len(batch["atom_to_token"])
    drawn = {"x_pred": round_f32(torch.randn(1, atoms, 3) * 12)}
    if training:  # an unresolved atom has noise alone there, and is 0 here: all are resolved
        drawn |= training_draws(samples, atoms, unresolved=0)
    else:
        drawn |= {"x_noisy": round_f32(torch.randn(samples, atoms, 3) * 20),
                  "t_hat": round_f32(torch.rand(samples) * 30 + 0.1)}  # fmt: skip
    given = GivenDropout()
    outputs = run(model, peer, drawn, cycles, given)
    more = closed_behind(batch, drawn, masked) if masked else (batch | drawn)
    if dropout:
        more |= given.tensors()
    write_model_case(
        out / f"{name}.safetensors", model, more, outputs, released,
        single and (lambda cast: run(model, cast(peer), cast(drawn), cycles, given)),
    )  # fmt: skip
    config = {"cycles": cycles, "real_tokens": tokens, "real_atoms": atoms}
    if released:
        torch.save({k: v.to(SINGLE) for k, v in model.state_dict().items()}, out / "peer.pt")
        config |= {"preset": "initial", "checkpoint": "ours.safetensors"}
    else:
        config |= SIZES
    return {"class": "protenix.model.protenix.Protenix", "config": config}


CASES = {
    "model_many_chains": {"tokens": 37, "rows": 5, "cycles": 1, "samples": 2},
    "model_one_chain_no_alignment": {
        "tokens": 21, "rows": 1, "cycles": 3, "samples": 3, "chains": 1, "templates": 0,
    },
    "model_masked_rows": {"tokens": 19, "rows": 4, "cycles": 2, "samples": 1, "masked": 5},
    "model_training": {"tokens": 23, "rows": 3, "cycles": 2, "samples": 4, "training": True},
    "model_dropout": {
        "tokens": 19, "rows": 4, "cycles": 2, "samples": 1, "templates": 1, "dropout": True,
    },
}  # fmt: skip

if __name__ == "__main__":
    write_model_cases(__doc__, write_case, CASES)
