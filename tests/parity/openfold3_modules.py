# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Golden vectors of OpenFold 3's modules, losses, schedule and sampler.

Run in an environment that holds openfold3 0.5.0 and torch:

    python tests/parity/openfold3_modules.py OUT
    megafold parity OUT --dialect openfold3

Sizes are small and all weights random; everything is computed in float64 and dropout is off. The
file format is that of protenix_model.py; `--seed` gives other numbers, `--tokens` another length.
"""

from pathlib import Path

import torch
from ml_collections import ConfigDict
from openfold3.core.loss import confidence as confidence_loss
from openfold3.core.loss import diffusion as diffusion_loss
from openfold3.core.model.feature_embedders import input_embedders
from openfold3.core.model.heads import prediction_heads
from openfold3.core.model.latent.msa_module import MSAModuleStack
from openfold3.core.model.latent.pairformer import PairFormerBlock, PairFormerStack
from openfold3.core.model.latent.template_module import TemplateEmbedderAllAtom
from openfold3.core.model.layers import attention_pair_bias as apb
from openfold3.core.model.layers import triangular_attention as triangle
from openfold3.core.model.layers import triangular_multiplicative_update as multiplication
from openfold3.core.model.layers.diffusion_conditioning import DiffusionConditioning
from openfold3.core.model.layers.diffusion_transformer import DiffusionTransformer
from openfold3.core.model.layers.msa import MSAPairWeightedAveraging
from openfold3.core.model.layers.outer_product_mean import OuterProductMean
from openfold3.core.model.layers.sequence_local_atom_attention import (
    AtomAttentionDecoder,
    AtomAttentionEncoder,
)
from openfold3.core.model.layers.transition import ConditionedTransitionBlock, SwiGLUTransition
from openfold3.core.model.primitives.normalization import AdaLN
from openfold3.core.model.structure import diffusion_module as structure
from openfold3.core.utils.relpos import relpos_complex
from vectors import begin, round_f32, save, write_manifest

PAIR = {
    "c_z": 32, "c_hidden_mul": 24, "c_hidden_pair_att": 8, "no_heads_pair": 4,
    "transition_type": "swiglu", "transition_n": 2, "pair_dropout": 0.0,
    "fuse_projection_weights": False, "inf": 1e9,
}  # fmt: skip
SINGLE = PAIR | {"c_s": 48, "c_hidden_pair_bias": 12, "no_heads_pair_bias": 4}
ATOMS = {
    "c_atom": 16, "c_atom_pair": 8, "c_hidden": 4, "no_heads": 4, "no_blocks": 2,
    "n_transition": 2, "n_query": 32, "n_key": 128,
}  # fmt: skip
REFERENCE = {"element": 119, "name_chars": 256}
IDS = ("asym_id", "residue_index", "entity_id", "sym_id", "token_index")
ATOM_KEYS = (
    "ref_pos", "ref_charge", "ref_mask", "ref_element", "ref_atom_name_chars", "ref_space_uid",
    "atom_to_token_idx",
)  # fmt: skip


class Cases:
    """Builds cases and writes them with their gradients."""

    def __init__(self, out: Path, tokens: int):
        self.out, self.tokens, self.manifest = out, tokens, {}
        self.atom_to_token = torch.arange(tokens).repeat_interleave(
            1 + torch.randint(0, 10, (tokens,))
        )
        self.atoms = len(self.atom_to_token)
        self.x_true = round_f32(torch.randn(self.atoms, 3) * 8)

    def values(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        return round_f32(torch.randn(*shape) * scale)

    def mask(self, *shape: int) -> torch.Tensor:
        mask = (torch.rand(*shape) > 0.2).double()
        if len(shape) == 2 and shape[0] == shape[1]:
            mask.fill_diagonal_(1.0)  # no row without a key
        else:
            mask[..., 0] = 1.0
        return mask

    def module(self, module: torch.nn.Module) -> torch.nn.Module:
        module = module.double()
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                width = parameter[0].numel() if parameter.dim() > 1 else 30
                base = 1.0 if "norm" in name.split(".")[-2:][0] and name.endswith("weight") else 0.0
                parameter.copy_(round_f32(base + torch.randn_like(parameter) / width**0.5))
            for buffer in module.buffers():
                buffer.copy_(round_f32(buffer))
        return module.eval()

    def write(self, name, kind, config, module, inputs, call, grad=()):
        """`call(inputs)` gives the outputs; `grad` names the inputs whose gradient is kept."""
        leaves = {key: value.clone().requires_grad_(key in grad) for key, value in inputs.items()}
        outputs = call(leaves)
        tensors = {f"in.{key}": value for key, value in inputs.items()}
        loss = 0
        for key, value in outputs.items():
            tensors[f"out.{key}"] = value.detach()
            if value.requires_grad:
                cotangent = round_f32(torch.randn_like(value))
                tensors[f"cot.{key}"] = cotangent
                loss = loss + (value * cotangent).sum()
        if isinstance(loss, torch.Tensor):
            loss.backward()
        for key in grad:
            tensors[f"grad_in.{key}"] = leaves[key].grad
        for key, value in module.named_parameters() if module else ():
            tensors[f"param.{key}"] = value.detach().float()
            gradient = torch.zeros_like(value) if value.grad is None else value.grad
            tensors[f"grad_param.{key}"] = gradient.float()
        for key, value in module.named_buffers() if module else ():
            tensors[f"buffer.{key}"] = value.float()
        save(tensors, self.out / f"{name}.safetensors")
        self.manifest[name] = {"class": kind, "config": ConfigDict(config).to_dict()}

    # ------------------------------------------------------------------------------ batches

    def ids(self) -> dict:
        tokens = self.tokens
        asym = 1 + (torch.arange(tokens) > tokens // 2).long()
        return {
            "asym_id": asym, "residue_index": torch.arange(tokens) // 2 + 1,
            "entity_id": torch.ones(tokens).long(), "sym_id": asym.clone(),
            "token_index": torch.arange(tokens),
        }  # fmt: skip

    def atom_inputs(self) -> dict:
        one_hot, atoms = torch.nn.functional.one_hot, self.atoms
        return {
            "ref_pos": self.values(atoms, 3, scale=3.0),
            "ref_charge": torch.randint(-1, 2, (atoms,)).double(),
            "ref_mask": (torch.rand(atoms) > 0.1).double(),
            "ref_element": one_hot(torch.randint(0, 60, (atoms,)), 119).double(),
            "ref_atom_name_chars": one_hot(torch.randint(0, 64, (atoms, 4)), 64).double(),
            "ref_space_uid": self.atom_to_token.clone(),
            "atom_to_token_idx": self.atom_to_token,
        }

    def batch(self, inputs: dict, skip=()) -> dict:
        """A batch of one, with the masks and counts that the classes look for."""
        batch = {k: v.unsqueeze(0) for k, v in inputs.items() if k not in skip}
        batch["token_mask"] = torch.ones(1, self.tokens)
        batch["atom_mask"] = torch.ones(1, self.atoms)
        batch["atom_to_token_index"] = self.atom_to_token.unsqueeze(0)
        batch["num_atoms_per_token"] = torch.bincount(self.atom_to_token).unsqueeze(0)
        return batch


def plain(module, *order, out, extra=None):
    """A call with inputs in this order, a batch axis of one, and no other arguments."""

    def call(inputs):
        result = module(*(inputs[key].unsqueeze(0) for key in order), **(extra or {}))
        results = result if isinstance(result, tuple) else (result,)
        return {key: value.squeeze(0) for key, value in zip(out, results)}

    return call


def trunk_cases(cases: Cases) -> None:
    n, rows = cases.tokens, 7
    pair = {"z": cases.values(n, n, 32), "mask": cases.mask(n, n)}
    for name, kind in (("tri_mul_out", "Outgoing"), ("tri_mul_in", "Incoming")):
        kind = f"TriangleMultiplication{kind}"
        module = cases.module(getattr(multiplication, kind)(c_z=32, c_hidden=24))
        cases.write(name, kind, {"c_z": 32, "c_hidden": 24}, module, pair,
                    plain(module, "z", "mask", out=["z"]), ["z"])  # fmt: skip
    config = {"c_in": 32, "c_hidden": 8, "no_heads": 4}
    square = {"x": cases.values(n, n, 32), "mask": cases.mask(n, n)}
    square["mask"] = square["mask"] * square["mask"].t()
    start = cases.module(triangle.TriangleAttention(**config))
    cases.write("tri_att_start", "TriangleAttention", config, start, square,
                plain(start, "x", "mask", out=["x"]), ["x"])  # fmt: skip
    end = cases.module(triangle.TriangleAttentionEndingNode(**config))
    cases.write("tri_att_end_class", "TriangleAttentionEndingNode", config, end, square,
                plain(end, "x", "mask", out=["x"]), ["x"])  # fmt: skip

    single = {"a": cases.values(n, 48), "z": pair["z"], "mask": cases.mask(n)}
    config = {"c_q": 48, "c_k": 48, "c_v": 48, "c_s": 48, "c_z": 32, "c_hidden": 12, "no_heads": 4}
    module = cases.module(apb.AttentionPairBias(**config, inf=1e9))
    cases.write("attention_pair_bias", "AttentionPairBias", config, module, single,
                plain(module, "a", "z", "mask", out=["a"]), ["a", "z"])  # fmt: skip

    module = cases.module(SwiGLUTransition(c_in=32, n=4))
    inputs = {"x": cases.values(n, 5, 32), "mask": cases.mask(n, 5)}
    cases.write("transition", "SwiGLUTransition", {"c_in": 32, "n": 4}, module, inputs,
                plain(module, "x", "mask", out=["x"]), ["x"])  # fmt: skip

    msa = {"m": cases.values(rows, n, 24), "mask": cases.mask(rows, n)}
    config = {"c_m": 24, "c_z": 32, "c_hidden": 8}
    module = cases.module(OuterProductMean(**config))
    cases.write("outer_product_mean", "OuterProductMean", config, module, msa,
                plain(module, "m", "mask", out=["z"]), ["m"])  # fmt: skip
    config = {"c_in": 24, "c_hidden": 8, "c_z": 32, "no_heads": 4}
    module = cases.module(MSAPairWeightedAveraging(**config))
    inputs = {"m": msa["m"], "z": pair["z"], "mask": cases.mask(n, n)}
    cases.write("msa_pair_weighted_averaging", "MSAPairWeightedAveraging", config, module, inputs,
                plain(module, "m", "z", "mask", out=["m"]), ["m", "z"])  # fmt: skip

    inputs = {"s": cases.values(n, 48), "z": pair["z"], "single_mask": cases.mask(n)}
    inputs["pair_mask"] = torch.maximum(square["mask"], torch.eye(n))
    order = ("s", "z", "single_mask", "pair_mask")
    module = cases.module(PairFormerBlock(**SINGLE))
    cases.write("pairformer_block", "PairFormerBlock", SINGLE, module, inputs,
                plain(module, *order, out=["s", "z"]), ["s", "z"])  # fmt: skip
    config = SINGLE | {"no_blocks": 2, "blocks_per_ckpt": None}
    module = cases.module(PairFormerStack(**config))
    cases.write("pairformer_stack", "PairFormerStack", config, module, inputs,
                plain(module, *order, out=["s", "z"]), ["s", "z"])  # fmt: skip
    config = PAIR | {
        "c_m": 24, "c_hidden_msa_att": 8, "c_hidden_opm": 8, "no_heads_msa": 4, "no_blocks": 2,
        "msa_dropout": 0.0, "opm_first": True, "blocks_per_ckpt": None, "eps": 1e-3,
    }  # fmt: skip
    module = cases.module(MSAModuleStack(**config))
    inputs = {"m": msa["m"], "z": pair["z"], "msa_mask": msa["mask"],
              "pair_mask": inputs["pair_mask"]}  # fmt: skip
    call = plain(module, "m", "z", "msa_mask", "pair_mask", out=["z"])
    cases.write("msa_module_stack", "MSAModuleStack", config, module, inputs, call, ["m", "z"])

    ids = cases.ids()
    cases.write("relative_position_encoding", "relpos_complex", {}, None, ids,
                lambda x: {"relp": relpos_complex(x, 32, 2).double()})  # fmt: skip


def template_case(cases: Cases) -> None:
    n, count = cases.tokens, 2
    config = {
        "c_t": 16, "c_z": 32,
        "template_pair_embedder": {"c_aatype": 32, "c_dgram": 39, "c_in": 32, "c_out": 16},
        "template_pair_stack": {
            "blocks_per_ckpt": None, "c_hidden_tri_att": 8, "c_hidden_tri_mul": 24, "c_t": 16,
            "ckpt_per_template": False, "dropout_rate": 0.0, "fuse_projection_weights": False,
            "inf": 1e9, "no_blocks": 2, "no_heads": 2, "pair_transition_n": 2,
            "transition_type": "swiglu", "tri_mul_first": True,
        },
    }  # fmt: skip
    module = cases.module(TemplateEmbedderAllAtom(ConfigDict(config)))
    one_hot = torch.nn.functional.one_hot
    pair_mask = cases.mask(n, n)
    inputs = {
        "template_pseudo_beta_mask": cases.mask(count, n),
        "template_backbone_frame_mask": cases.mask(count, n),
        "template_distogram": one_hot(torch.randint(0, 39, (count, n, n)), 39).double(),
        "template_unit_vector": cases.values(count, n, n, 3),
        "template_aatype": torch.randint(0, 32, (count, n)),
        "asym_id": cases.ids()["asym_id"],
        "z": cases.values(n, n, 32),
        "pair_mask": pair_mask * pair_mask.t(),
    }

    def call(x):
        batch = {k: v.unsqueeze(0) for k, v in x.items() if k.startswith(("template", "asym"))}
        batch["template_restype"] = one_hot(x["template_aatype"], 32).double().unsqueeze(0)
        return {"u": module(batch, x["z"].unsqueeze(0), x["pair_mask"].unsqueeze(0)).squeeze(0)}

    cases.write("template_embedder", "TemplateEmbedderAllAtom", config, module, inputs, call, ["z"])


def atom_cases(cases: Cases) -> None:
    n, a, samples = cases.tokens, cases.atoms, 2
    windows = -(-a // 32)
    config = {"c_q": 16, "c_k": 16, "c_v": 16, "c_s": 16, "c_z": 4, "c_hidden": 4, "no_heads": 4,
              "n_query": 32, "n_key": 128}  # fmt: skip
    module = cases.module(apb.CrossAttentionPairBias(**config, inf=1e9))
    inputs = {"a": cases.values(a, 16), "s": cases.values(a, 16),
              "z": cases.values(windows, 32, 128, 4), "mask": torch.ones(a)}  # fmt: skip
    cases.write("cross_attention_pair_bias", "CrossAttentionPairBias", config, module, inputs,
                plain(module, "a", "z", "s", "mask", out=["a"]), ["a", "s", "z"])  # fmt: skip

    config = ATOMS | {"c_token": 24, "add_noisy_pos": False, "c_atom_ref": ConfigDict(REFERENCE)}
    module = cases.module(AtomAttentionEncoder(**config))
    inputs = cases.atom_inputs()

    def encode(x):
        ai, q, c, p = module(cases.batch(x))
        return {"a": ai[0], "q": q[0], "c": c[0], "p": p[0][:1, :8]}

    cases.write("atom_attention_encoder_nocoord", "AtomAttentionEncoder", config, module, inputs,
                encode)  # fmt: skip

    config = ATOMS | {"c_token": 40, "add_noisy_pos": True, "c_s": 48, "c_z": 32,
                      "c_atom_ref": ConfigDict(REFERENCE)}  # fmt: skip
    with_coordinates = cases.module(AtomAttentionEncoder(**config))
    inputs = cases.atom_inputs() | {
        "r_l": cases.values(samples, a, 3), "s": cases.values(n, 48), "z": cases.values(n, n, 32),
    }  # fmt: skip

    def encode_coordinates(x):
        batch = {k: v.unsqueeze(0) for k, v in cases.batch(x, ("r_l", "s", "z")).items()}
        ai, q, c, p = with_coordinates(
            batch, x["r_l"].unsqueeze(0), x["s"][None, None], x["z"][None, None]
        )
        return {"a": ai[0], "q": q[0], "c": c[0], "p": p[0][:, :1, :8]}

    cases.write("atom_attention_encoder_coord", "AtomAttentionEncoder", config, with_coordinates,
                inputs, encode_coordinates, ["r_l", "s", "z"])  # fmt: skip

    config = ATOMS | {"c_token": 40, "c_atom_pair": 4}
    decoder = cases.module(AtomAttentionDecoder(**config))
    inputs = {
        "a": cases.values(samples, n, 40), "q_skip": cases.values(samples, a, 16),
        "c_skip": cases.values(samples, a, 16),
        "p_skip": cases.values(1, windows, 32, 128, 4),
        "atom_to_token_idx": cases.atom_to_token,
    }  # fmt: skip

    def decode(x):
        batch = {k: v.unsqueeze(0) for k, v in cases.batch({}).items()}
        out = decoder(batch, x["a"].unsqueeze(0), x["q_skip"].unsqueeze(0),
                      x["c_skip"].unsqueeze(0), x["p_skip"].unsqueeze(0))  # fmt: skip
        return {"r": out.squeeze(0)}

    cases.write("atom_attention_decoder", "AtomAttentionDecoder", config, decoder, inputs, decode,
                ["a", "q_skip", "c_skip", "p_skip"])  # fmt: skip

    config = {"c_s_input": 89, "c_s": 48, "c_z": 32, "c_token": 24, "c_atom": 16, "c_atom_pair": 8}
    embedder = cases.module(
        input_embedders.InputEmbedderAllAtom(
            c_s_input=89, c_s=48, c_z=32, max_relative_idx=32, max_relative_chain=2,
            atom_attn_enc=ConfigDict(ATOMS | {"c_token": 24, "c_atom_ref": ConfigDict(REFERENCE)}),
        )
    )  # fmt: skip
    bonds = torch.zeros(n, n)
    bonds[1, 5] = bonds[5, 1] = 1
    inputs = cases.atom_inputs() | cases.ids() | {
        "restype": round_f32(torch.rand(n, 32)), "profile": round_f32(torch.rand(n, 32)),
        "deletion_mean": round_f32(torch.rand(n)), "token_bonds": bonds,
    }  # fmt: skip
    cases.write("input_embedder", "InputEmbedderAllAtom", config, embedder, inputs,
                lambda x: dict(zip(("s_inputs", "s", "z"),
                                   (v[0] for v in embedder(cases.batch(x))))))  # fmt: skip


def diffusion_cases(cases: Cases) -> None:
    n, a, samples = cases.tokens, cases.atoms, 2
    config = {"c_q": 40, "c_k": 40, "c_v": 40, "c_s": 48, "c_z": 32, "c_hidden": 10, "no_heads": 4}
    module = cases.module(apb.DiffusionAttentionPairBias(**config, inf=1e9))
    inputs = {"a": cases.values(n, 40), "s": cases.values(n, 48), "z": cases.values(n, n, 32),
              "mask": cases.mask(n)}  # fmt: skip
    cases.write("attention_pair_bias_adaln", "DiffusionAttentionPairBias", config, module, inputs,
                plain(module, "a", "z", "s", "mask", out=["a"]), ["a", "s", "z"])  # fmt: skip
    module = cases.module(AdaLN(c_a=40, c_s=48))
    cases.write("adaln", "AdaLN", {"c_a": 40, "c_s": 48}, module,
                {k: inputs[k] for k in ("a", "s")},
                plain(module, "a", "s", out=["a"]), ["a", "s"])  # fmt: skip
    module = cases.module(ConditionedTransitionBlock(c_a=40, c_s=48, n=2))
    cases.write("conditioned_transition", "ConditionedTransitionBlock",
                {"c_a": 40, "c_s": 48, "n": 2}, module, {k: inputs[k] for k in ("a", "s", "mask")},
                plain(module, "a", "s", "mask", out=["a"]), ["a", "s"])  # fmt: skip

    config = {"c_a": 40, "c_s": 48, "c_z": 32, "c_hidden": 10, "no_heads": 4, "no_blocks": 2,
              "n_transition": 2, "n_query": None, "n_key": None, "inf": 1e9}  # fmt: skip
    transformer = cases.module(DiffusionTransformer(**config))
    stack = {"a": cases.values(samples, n, 40), "s": cases.values(samples, n, 48),
             "z": cases.values(1, n, n, 32), "mask": cases.mask(n)}  # fmt: skip
    cases.write("diffusion_transformer", "DiffusionTransformer", config, transformer, stack,
                lambda x: {"a": transformer(x["a"], x["s"], x["z"], x["mask"].expand(samples, n))},
                ["a", "s", "z"])  # fmt: skip

    config = {"c_s_input": 89, "c_s": 48, "c_z": 32, "c_fourier_emb": 32, "max_relative_idx": 32,
              "max_relative_chain": 2, "sigma_data": 16.0}  # fmt: skip
    conditioning = cases.module(DiffusionConditioning(**config))
    inputs = cases.ids() | {
        "t_hat": round_f32(torch.rand(samples) * 30 + 0.1), "s_inputs": cases.values(n, 89),
        "s_trunk": cases.values(n, 48), "z_trunk": cases.values(n, n, 32),
    }  # fmt: skip

    def condition(x):
        batch = {k: v.unsqueeze(0) for k, v in cases.batch(x, inputs.keys() - set(IDS)).items()}
        s, z = conditioning(
            batch, x["t_hat"].unsqueeze(0), x["s_inputs"][None, None], x["s_trunk"][None, None],
            x["z_trunk"][None, None], use_conditioning=True,
        )  # fmt: skip
        return {"s": s.squeeze(0), "z": z.view(n, n, 32)}

    cases.write("diffusion_conditioning", "DiffusionConditioning", config, conditioning, inputs,
                condition, ["s_inputs", "s_trunk", "z_trunk"])  # fmt: skip

    atoms = {k: v for k, v in ATOMS.items() if k != "no_blocks"} | {"no_blocks": 1, "c_token": 40}
    whole = {
        "diffusion_module": {"c_s": 48, "c_token": 40, "sigma_data": 16.0},
        "diffusion_conditioning": config,
        "atom_attn_enc": atoms | {"c_s": 48, "c_z": 32, "c_atom_ref": ConfigDict(REFERENCE)},
        "diffusion_transformer": transformer_config(),
        "atom_attn_dec": atoms,
    }
    module = cases.module(structure.DiffusionModule(ConfigDict(whole)))
    inputs = cases.atom_inputs() | inputs | {"x_noisy": cases.values(samples, a, 3, scale=20.0)}
    left = ("t_hat", "s_inputs", "s_trunk", "z_trunk", "x_noisy")

    def denoise(x):
        batch = {k: v.unsqueeze(0) for k, v in cases.batch(x, left).items()}
        out = module(
            batch, x["x_noisy"].unsqueeze(0), batch["token_mask"], batch["atom_mask"],
            x["t_hat"].unsqueeze(0), x["s_inputs"][None, None], x["s_trunk"][None, None],
            x["z_trunk"][None, None], use_conditioning=True,
        )  # fmt: skip
        return {"x_denoised": out.squeeze(0)}

    cases.write("diffusion_module", "DiffusionModule", whole, module, inputs, denoise,
                ["x_noisy", "s_inputs", "s_trunk", "z_trunk"])  # fmt: skip


def transformer_config() -> dict:
    return {"c_a": 40, "c_s": 48, "c_z": 32, "c_hidden": 10, "no_heads": 4, "no_blocks": 2,
            "n_transition": 2, "n_query": None, "n_key": None, "inf": 1e9}  # fmt: skip


def loss_cases(cases: Cases) -> None:
    n, a, samples = cases.tokens, cases.atoms, 2
    kind = torch.randint(0, 4, (n,))
    bonds = torch.zeros(n, n)
    i, j = (kind == 3).nonzero()[0], (kind != 3).nonzero()[0]
    bonds[i, j] = bonds[j, i] = 1
    inputs = {
        "x_true": cases.x_true, "x_pred": round_f32(cases.x_true + torch.randn(samples, a, 3)),
        "coord_mask": (torch.rand(a) > 0.1).double(), "atom_to_token_idx": cases.atom_to_token,
        "is_protein": (kind == 0).long(), "is_dna": (kind == 1).long(),
        "is_rna": (kind == 2).long(), "is_ligand": (kind == 3).long(), "token_bonds": bonds,
        "t_hat": round_f32(torch.rand(samples) * 30 + 0.1),
    }  # fmt: skip

    def batch_of(x):
        batch = {k: v.unsqueeze(0) for k, v in cases.batch(
            {k: x[k].unsqueeze(0) for k in ("is_protein", "is_dna", "is_rna", "is_ligand",
                                            "token_bonds")}).items()}  # fmt: skip
        for key in ("is_protein", "is_dna", "is_rna", "is_ligand", "token_bonds"):
            batch[key] = x[key][None, None]
        batch["ground_truth"] = {
            "atom_positions": x["x_true"][None, None],
            "atom_resolved_mask": x["coord_mask"][None, None],
        }
        one = torch.ones(1, 1)
        batch["loss_weights"] = {"mse": one, "bond": one, "smooth_lddt": one}
        return batch

    ones = torch.ones(1, 1, n)
    three = {"dna_weight": 5.0, "rna_weight": 5.0, "ligand_weight": 10.0}

    def write(name, call):
        cases.write(name, name, {}, None, inputs, call, ["x_pred"])

    write("mse_loss", lambda x: {"loss": diffusion_loss.mse_loss(
        x["x_pred"][None], batch_of(x), ones, **three, eps=1e-8)[0]})  # fmt: skip
    write("bond_loss", lambda x: {"loss": diffusion_loss.bond_loss(
        x["x_pred"][None], batch_of(x), eps=1e-8)[0]})  # fmt: skip
    write("smooth_lddt_loss", lambda x: {"loss": diffusion_loss.smooth_lddt_loss(
        x["x_pred"][None], batch_of(x), ones, eps=1e-8)[0]})  # fmt: skip
    write("diffusion_loss", lambda x: {"loss": diffusion_loss.diffusion_loss(
        batch_of(x), x["x_pred"][None], x["t_hat"][None], 16.0)[0].squeeze()})  # fmt: skip
    aligned = {"x": inputs["x_pred"], "x_target": cases.values(samples, a, 3, scale=8.0),
               "weight": round_f32(torch.rand(a) + 0.5), "mask": inputs["coord_mask"]}  # fmt: skip
    cases.write("weighted_rigid_align", "weighted_rigid_align", {}, None, aligned,
                lambda x: {"x_aligned": diffusion_loss.weighted_rigid_align(
                    x["x"], x["x_target"], x["weight"].expand(samples, a),
                    x["mask"].expand(samples, a), eps=1e-8)})  # fmt: skip
    resolved = {"logits": cases.values(samples, a, 2), "coord_mask": inputs["coord_mask"]}
    cases.write("resolved_loss", "all_atom_experimentally_resolved_loss", {}, None, resolved,
                lambda x: {"loss": confidence_loss.all_atom_experimentally_resolved_loss(
                    {"ground_truth": {"atom_resolved_mask": x["coord_mask"].expand(samples, a)},
                     "atom_mask": torch.ones(samples, a)}, x["logits"], 2, 1e-8)},
                ["logits"])  # fmt: skip


def head_cases(cases: Cases) -> None:
    n = cases.tokens
    inputs = {"z": cases.values(n, n, 32)}
    for name, kind in (("distogram", "DistogramHead"), ("pae", "PredictedAlignedErrorHead"),
                       ("pde", "PredictedDistanceErrorHead")):  # fmt: skip
        module = cases.module(getattr(prediction_heads, kind)(c_z=32, c_out=16))
        cases.write(f"{name}_head", kind, {"c_z": 32, "c_out": 16}, module, inputs,
                    plain(module, "z", out=["logits"]), ["z"])  # fmt: skip
    schedule = structure.create_noise_schedule
    settings = {"sigma_data": 16.0, "s_max": 160.0, "s_min": 4e-4, "p": 7}
    cases.write("noise_schedule", "create_noise_schedule", {}, None, {}, lambda _: {
        f"t{k}": schedule(k, **settings, dtype=torch.float64, device="cpu") for k in (20, 200)
    })  # fmt: skip


def main() -> None:
    options = begin(__doc__, tokens=17)
    cases = Cases(options.out, options.tokens)
    for part in (trunk_cases, template_case, atom_cases, diffusion_cases, loss_cases, head_cases):
        part(cases)
    write_manifest(options.out, cases.manifest)


if __name__ == "__main__":
    main()
