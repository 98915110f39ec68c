# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Trains OpenFold 3's model, on a CPU, from megafold's cache: its trunk and denoiser, few blocks.

    ./dev build && build/cpu/megafold cache build --data data --out cache
    python examples/openfold3_from_cache.py configs/demo_crops.yaml --program build/cpu/megafold \\
        --set data.cache=cache data.crop.tokens=64 data.msa.max_rows=32

needs openfold3 0.5.0 in the Python that runs it, and no part of megafold's own libraries.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import torch
from openfold3.projects.of3_all_atom.config.model_config import model_config
from openfold3.projects.of3_all_atom.model import OpenFold3

# `import megafold.data` where the package is installed; here without it.
_path = Path(__file__).resolve().parents[1] / "python/megafold/data.py"
_spec = importlib.util.spec_from_file_location("megafold_data", _path)
data = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(data)

SIGMA_DATA = 16.0  # Angstrom (AlphaFold 3 SI, Algorithm 20)


def small_model() -> OpenFold3:
    config = model_config.copy_and_resolve_references()
    parts = config.architecture
    parts.pairformer.no_blocks = parts.msa.msa_module.no_blocks = 1
    parts.template.template_pair_stack.no_blocks = 1
    parts.heads.pairformer_embedding.pairformer.no_blocks = 1
    parts.diffusion_module.diffusion_transformer.no_blocks = 2
    return OpenFold3(config).train()


def loss_of(model, features: dict, generator: torch.Generator) -> torch.Tensor:
    """The weighted error of one denoised structure (SI 3.7.1), without alignment to the truth."""
    truth = features.pop("ground_truth")
    peer = {key: value.unsqueeze(0) for key, value in features.items()}
    s_inputs, s, z = model.run_trunk(peer, 1)
    mask = truth["atom_resolved_mask"]
    position = truth["atom_positions"]
    position = (position - (position * mask[:, None]).sum(0) / mask.sum()) * mask[:, None]
    sigma = SIGMA_DATA * torch.exp(-1.2 + 1.5 * torch.randn(1, 1, generator=generator))
    noise = torch.randn(1, 1, *position.shape, generator=generator)
    sampled = {key: value.unsqueeze(1) for key, value in peer.items()}
    denoised = model.diffusion_module(
        batch=sampled, xl_noisy=position + sigma[..., None, None] * noise, t=sigma,
        token_mask=sampled["token_mask"], atom_mask=sampled["atom_mask"],
        si_input=s_inputs.unsqueeze(1), si_trunk=s.unsqueeze(1), zij_trunk=z.unsqueeze(1),
        use_conditioning=True,
    )  # fmt: skip
    weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
    error = ((denoised[0, 0] - position) ** 2).sum(-1)
    return (weight * (error * mask).sum() / (3 * mask.sum())).squeeze()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--set", nargs="*", default=[], help="keys of the config, key=value")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--program", help="megafold; default: the one on PATH")
    options = parser.parse_args()
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(1)
    model = small_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    batches = data.Dataset(
        options.config, set=options.set, count=options.steps, program=options.program
    )
    for step, batch in enumerate(batches, 1):
        loss = loss_of(model, data.openfold3_features(batch), generator)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        assert torch.isfinite(loss) and torch.isfinite(norm), f"visit {batch.visit}: {loss}, {norm}"
        print(f"step {step}: {batch.id}, {len(batch['restype'])} tokens, loss {loss.item():.3f}, "
              f"gradient {norm.item():.3f}", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
