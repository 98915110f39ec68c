# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""megafold.nn against the algorithm written out."""

import pytest

torch = pytest.importorskip("torch")
megafold = pytest.importorskip("megafold")


def algorithm(module, z, mask, ending):
    """SI algorithms 14 and 15, index by index over i, j, k."""
    x = torch.nn.functional.layer_norm(z, z.shape[-1:], module.norm.weight, module.norm.bias)
    q, k, v, g = (x @ module.projection.weight.T).unflatten(-1, (4, module.heads, -1)).unbind(3)
    b = x @ module.bias.weight.T
    scale = q.shape[-1] ** -0.5
    if not ending:  # a_ijk = q_ij k_ik + b_jk
        scores = (
            torch.einsum("bijhd,bikhd->bhijk", q, k) * scale
            + torch.einsum("bjkh->bhjk", b)[:, :, None]
        )
        scores = scores.masked_fill(~mask[:, None, :, None, :], -torch.inf)
        out = torch.einsum("bhijk,bikhd->bijhd", scores.softmax(-1), v)
    else:  # a_ijk = q_ij k_kj + b_ki
        scores = torch.einsum("bijhd,bkjhd->bhijk", q, k) * scale
        scores = scores + torch.einsum("bkih->bhik", b)[:, :, :, None]
        scores = scores.masked_fill(~mask.transpose(1, 2)[:, None, None], -torch.inf)
        out = torch.einsum("bhijk,bkjhd->bijhd", scores.softmax(-1), v)
    return (g.sigmoid() * out).flatten(-2) @ module.out.weight.T


@pytest.mark.parametrize("ending", [False, True])
def test_triangle_attention_is_the_algorithm(ending):
    torch.manual_seed(0)
    module = megafold.nn.TriangleAttention(12, heads=3, ending=ending).double()
    for p in module.parameters():
        torch.nn.init.normal_(p)
    z = torch.randn(2, 5, 5, 12, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 5, 5) > 0.3
    mask[:, range(5), range(5)] = True
    got, want = module(z, mask), algorithm(module, z, mask, ending)
    assert torch.allclose(got, want, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(got.sum(), [z, *module.parameters()]),
        torch.autograd.grad(want.sum(), [z, *module.parameters()]),
    ):
        assert torch.allclose(a, b, atol=1e-10)
    assert torch.allclose(module(z, mask, residual=True), z + want, atol=1e-12)
    assert torch.allclose(module(z[0], mask[0]), want[0], atol=1e-12)


def test_dropout_is_shared_by_rows_and_only_in_training():
    torch.manual_seed(0)
    for ending in (False, True):
        module = megafold.nn.TriangleAttention(8, heads=2, ending=ending, dropout=0.5)
        torch.nn.init.normal_(module.out.weight)
        z = torch.randn(1, 6, 6, 8)
        dropped = module(z, residual=True) == z
        axis = 2 if ending else 1
        assert torch.equal(dropped.all(axis), dropped.any(axis)) and dropped.any()
        assert not dropped.all()
        assert not (module.eval()(z, residual=True) == z).any()


def test_bad_input():
    module = megafold.nn.TriangleAttention(8, heads=2)
    with pytest.raises(ValueError, match=r"z is \[1, 5, 6, 8\]"):
        module(torch.randn(1, 5, 6, 8))
    with pytest.raises(ValueError, match="2 channels over 4 heads"):
        megafold.nn.TriangleAttention(2, heads=4)
