# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""megafold.nn against the algorithm written out."""

import copy

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


DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


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
        assert not torch.equal(dropped.all(3), dropped.any(3))  # each channel for itself
        assert not (module.eval()(z, residual=True) == z).any()


def by_steps(module, z, mask):
    """The module as a framework runs it, operator by operator in z's dtype; with the residual."""
    x = torch.nn.functional.layer_norm(z, z.shape[-1:], module.norm.weight, module.norm.bias)
    q, k, v, g = (x @ module.projection.weight.T).unflatten(-1, (4, module.heads, -1)).unbind(3)
    b = (x @ module.bias.weight.T).permute(0, 3, 1, 2)
    if module.ending:
        q, k, v, g, mask = (t.transpose(1, 2) for t in (q, k, v, g, mask))
        b = b.mT if module.transposed_bias else b
    scores = torch.einsum("brihd,brjhd->brhij", q, k) * q.shape[-1] ** -0.5 + b[:, None]
    scores = scores.masked_fill(~mask[:, :, None, None], -torch.inf)
    out = torch.einsum("brhij,brjhd->brihd", scores.softmax(-1), v) * g.sigmoid()
    out = out.flatten(-2) @ module.out.weight.T
    return z + (out.transpose(1, 2) if module.ending else out)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ending,transposed_bias", [(False, True), (True, True), (True, False)])
def test_error_is_no_more_than_the_steps_in_bfloat16(device, ending, transposed_bias):
    torch.manual_seed(1)
    module = megafold.nn.TriangleAttention(
        128, heads=4, ending=ending, transposed_bias=transposed_bias
    )
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.1 if p.dim() == 2 else 1.0)
    module = module.to(device, torch.bfloat16)
    exact = copy.deepcopy(module).double()
    z = torch.randn(1, 40, 40, 128, device=device).bfloat16()
    mask = torch.rand(1, 40, 40, device=device) > 0.2
    mask[:, range(40), range(40)] = True
    dy = torch.randn_like(z)

    def run(f, module, z, dy):
        z = z.detach().requires_grad_()
        y = f(module, z)
        return [y.detach(), *torch.autograd.grad(y, [z, *module.parameters()], dy)]

    want = run(lambda m, z: by_steps(m, z, mask), exact, z.double(), dy.double())
    known = run(lambda m, z: by_steps(m, z, mask), module, z, dy)
    got = run(lambda m, z: m(z, mask, residual=True), module, z, dy)
    again = run(lambda m, z: m(z, mask, residual=True), module, z, dy)
    # Seen: 0.72 to 0.80 of the steps' error in y and dz on a CPU. A weight's gradient sums over
    # all pairs, and what that leaves of the roundings scatters: 0.13 to 1.7 by weight, node, draw.
    # On an H200 it is worse, up to 3.4 (docs/kernels/operators.md): to be mended, then 2.
    most = 2 if device == "cpu" else 4
    names = ["y", "dz", *(f"d{name}" for name, _ in module.named_parameters())]
    off = {n: ((a.double() - c).norm(), (b.double() - c).norm(), c.norm())
           for n, a, b, c in zip(names, got, known, want)}  # fmt: skip
    print(f"{device}, error over the steps': ", {n: f"{a / b:.2f}" for n, (a, b, _) in off.items()})
    for name, a, d in zip(names, got, again):
        assert torch.equal(a, d), f"{name} differs between two runs"
        ours, steps, size = off[name]
        factor = 1.05 if name in ("y", "dz") else most
        assert ours <= factor * steps + 2**-10 * size, name


def test_keeps_nothing_but_z_and_the_weights():
    module = megafold.nn.TriangleAttention(16, heads=2)
    z = torch.randn(1, 6, 6, 16, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        module(z, torch.ones(1, 6, 6), residual=True)
    weights = {p.data_ptr() for p in module.parameters()}
    others = [t for t in kept if t.data_ptr() not in weights and t.dtype != torch.bool]
    assert [t.data_ptr() for t in others] == [z.data_ptr()]


@pytest.mark.parametrize("device", DEVICES)
def test_the_node_is_an_operator_like_torch_wants_it(device):
    torch.manual_seed(0)
    module = megafold.nn.TriangleAttention(16, heads=2, ending=True).to(device, torch.float64)
    for p in module.parameters():
        torch.nn.init.normal_(p)
    z = torch.randn(1, 6, 6, 16, device=device, dtype=torch.float64, requires_grad=True)
    keep = (torch.rand(1, 6, 1, 16, device=device) > 0.25).double()
    weights = (module.norm.weight, module.norm.bias, module.projection.weight, module.bias.weight)
    utils = ("test_schema", "test_autograd_registration", "test_faketensor",
             "test_aot_dispatch_dynamic")  # fmt: skip
    torch.library.opcheck(
        torch.ops.megafold.triangle_attention,
        (z, *weights, module.out.weight, torch.ones(1, 6, 6, device=device).bool(), keep, 2, True,
         True, True, 1e-5),
        test_utils=utils,
    )  # fmt: skip
    compiled = torch.compile(
        lambda z: module(z, residual=True).square().sum(), fullgraph=True,
        backend="aot_eager",
    )  # fmt: skip
    got = torch.autograd.grad(compiled(z), z)[0]
    want = torch.autograd.grad(module(z, residual=True).square().sum(), z)[0]
    assert torch.equal(got, want)


@pytest.mark.parametrize("ending", [False, True])
def test_gradcheck(ending):
    torch.manual_seed(0)
    module = megafold.nn.TriangleAttention(4, heads=2, ending=ending).double()
    for p in module.parameters():
        torch.nn.init.normal_(p)
    z = torch.randn(1, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    keep = torch.rand(1, 3, 1, 4, dtype=torch.float64)
    mask = torch.rand(1, 3, 3) > 0.3
    weights = (module.norm.weight, module.norm.bias, module.projection.weight, module.bias.weight)

    def node(*tensors):
        return torch.ops.megafold.triangle_attention(
            *tensors, mask, keep, 2, ending, True, True, 1e-5
        )

    assert torch.autograd.gradcheck(node, (z, *weights, module.out.weight))


def test_autocast_leaves_the_norm_in_fp32():
    module = megafold.nn.TriangleAttention(16, heads=2)
    for p in module.parameters():
        torch.nn.init.normal_(p)
    z = torch.randn(1, 6, 6, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        update, sum_of_both = module(z), module(z, residual=True)
    assert update.dtype == torch.bfloat16 and sum_of_both.dtype == torch.float32
    sum_of_both.sum().backward()
    assert z.grad.dtype == torch.float32
    assert (update.float() - module(z)).norm() < 0.05 * module(z).norm()


def test_bad_input():
    module = megafold.nn.TriangleAttention(8, heads=2)
    with pytest.raises(ValueError, match=r"z is \[1, 5, 6, 8\]"):
        module(torch.randn(1, 5, 6, 8))
    with pytest.raises(ValueError, match="2 channels over 4 heads"):
        megafold.nn.TriangleAttention(2, heads=4)
