# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""The patched peers against themselves: outputs and gradients of their own, unmodified modules.

The limit is measured, not guessed: in each type the patched module may be hardly further from the
same module in float64 than the unpatched one is.
"""

import importlib.metadata
import os
import types

import pytest

torch = pytest.importorskip("torch")
megafold = pytest.importorskip("megafold")


def needs(package):
    # Else Protenix builds an extension with nvcc as it is imported, or waits for who else does.
    os.environ.setdefault("LAYERNORM_TYPE", "torch")
    try:
        importlib.import_module(package)
        importlib.metadata.version(package)
    except ImportError as error:
        pytest.skip(f"{package} is not installed here: {error}")


def openfold3_modules():
    needs("openfold3")
    from openfold3.core.model.layers.attention_pair_bias import (
        AttentionPairBias,
        DiffusionAttentionPairBias,
    )
    from openfold3.core.model.layers.triangular_attention import (
        TriangleAttentionEndingNode,
        TriangleAttentionStartingNode,
    )

    n = 19
    pair_mask = torch.rand(1, n, n) > 0.2
    pair_mask[..., 0] = True
    token_mask = torch.rand(1, n) > 0.2
    token_mask[..., 0] = True
    z, s, a = torch.randn(1, n, n, 16), torch.randn(1, n, 24), torch.randn(1, n, 32)
    yield "start", TriangleAttentionStartingNode(16, 8, 2), (z, pair_mask), {}
    yield "end", TriangleAttentionEndingNode(16, 8, 2), (z, pair_mask), {}
    yield (
        "end, bias transposed",
        TriangleAttentionEndingNode(16, 8, 2),
        (z, pair_mask),
        {"transpose_bias": True},
    )
    yield "single", AttentionPairBias(32, 32, 32, 24, 16, 16, 2), (a, z, token_mask), {}
    samples = torch.randn(1, 3, n, 32)
    yield (
        "diffusion",
        DiffusionAttentionPairBias(32, 32, 32, 24, 16, 16, 2),
        (
            samples,
            z[:, None],
            s[:, None],
            token_mask[:, None],
        ),
        {},
    )


def protenix_modules():
    needs("protenix")
    from protenix.model.modules.transformer import AttentionPairBias
    from protenix.model.triangular.triangular import (
        TriangleAttentionEndingNode,
        TriangleAttentionStartingNode,
    )

    n = 19
    pair_mask = torch.rand(n, n) > 0.2
    pair_mask[..., 0] = True
    z = torch.randn(n, n, 16)
    yield "start", TriangleAttentionStartingNode(16, 8, 2), (z, pair_mask), {}
    yield "end", TriangleAttentionEndingNode(16, 8, 2), (z, pair_mask), {}
    yield (
        "single",
        AttentionPairBias(has_s=False, n_heads=2, c_a=32, c_z=16),
        (
            torch.randn(n, 32),
            None,
            z,
        ),
        {},
    )
    yield (
        "diffusion",
        AttentionPairBias(has_s=True, n_heads=2, c_a=32, c_s=24, c_z=16),
        (
            torch.randn(3, n, 32),
            torch.randn(3, n, 24),
            z[None],
        ),
        {},
    )


PEERS = {"openfold3": openfold3_modules, "protenix": protenix_modules}


def run(module, inputs, options, dtype):
    """[output, gradient of every floating input and parameter], in float64 for comparison.

    bfloat16 is what both packages make of it: float32 weights under autocast.
    """
    mixed = dtype == torch.bfloat16
    dtype = torch.float32 if mixed else dtype
    module = module.to(dtype)
    module.zero_grad(set_to_none=True)
    leaves = []
    for x in inputs:
        if isinstance(x, torch.Tensor) and x.is_floating_point():
            x = x.to(dtype).clone().requires_grad_()
        elif isinstance(x, torch.Tensor):
            x = x.to(dtype)  # masks are numbers in both packages
        leaves.append(x)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        out = module(*leaves, **options)
    generator = torch.Generator().manual_seed(5)
    out.backward(torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype))
    gradients = [x.grad for x in leaves if isinstance(x, torch.Tensor) and x.requires_grad]
    gradients += [p.grad for p in module.parameters()]
    return [out.detach().double()] + [None if g is None else g.double() for g in gradients]


def error(a, b):
    """Error norm beside the exact result's; NaN never passes."""
    value = ((a - b).norm() / b.norm().clamp_min(1e-30)).item()
    return value if value == value else float("inf")


@pytest.mark.parametrize("package", PEERS)
def test_patched_equals_unpatched(package):
    torch.manual_seed(3)
    for name, module, inputs, options in PEERS[package]():
        for p in module.parameters():  # final layers start at 0, and would hide everything
            torch.nn.init.normal_(p, std=0.3)
        # Protenix casts q and k to float32 whatever comes, so the exact values are the patched
        # ones; the float32 comparison is then the one of two independent codes.
        with megafold.patch(package):
            exact = run(module, inputs, options, torch.float64)
        for dtype, floor in ((torch.float32, 2e-6), (torch.bfloat16, 0)):
            own = run(module, inputs, options, dtype)
            with megafold.patch(package) as patched:
                ours = run(module, inputs, options, dtype)
            assert any("megafold" in calls for calls in patched.report().values()), patched.report()
            errors = []
            for index, (o, p, e) in enumerate(zip(ours, own, exact)):
                assert (o is None) == (p is None) == (e is None), (name, index)
                # A shift of all scores of a row changes nothing: such gradients are rounding alone.
                if o is None or e.norm() < 1e-9:
                    continue
                errors.append((error(o, e), error(p, e)))
                if dtype == torch.float32:
                    assert errors[-1][1] < 1e-5, (name, index, "the package's own code", errors[-1])
                # Tensors of some twenty numbers: single errors scatter, their mean does not.
                assert errors[-1][0] <= 2 * errors[-1][1] + floor, (name, dtype, index, errors[-1])
            mean_ours, mean_own = (sum(e) / len(errors) for e in zip(*errors))
            assert mean_ours <= 1.1 * mean_own + floor, (name, dtype, mean_ours, mean_own)


@pytest.mark.parametrize("package", PEERS)
def test_leaving_restores_the_packages_own_code(package):
    needs(package)
    patched = megafold.patch(package)
    owners = [(owner, original) for owner, original in patched._originals]
    assert all(owner.forward is not original for owner, original in owners)
    with pytest.raises(megafold.PatchError, match="already"):
        megafold.patch(package)
    assert all(owner.forward is not original for owner, original in owners)
    patched.restore()
    patched.restore()
    assert all(owner.forward is original for owner, original in owners)


def test_unknown_packages_and_versions_are_refused_by_name(monkeypatch):
    with pytest.raises(ValueError, match="boltz.*openfold3, protenix"):
        megafold.patch("boltz")
    import sys

    module = sys.modules[megafold.patch.__module__]
    metadata = types.SimpleNamespace(
        version=lambda _: "9.9.9", PackageNotFoundError=importlib.metadata.PackageNotFoundError
    )
    monkeypatch.setattr(module.importlib, "metadata", metadata)
    with pytest.raises(megafold.PatchError, match=r"openfold3 9\.9\.9.*0\.5\.0"):
        megafold.patch("openfold3")
