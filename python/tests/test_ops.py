# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""The operators of the installed package: numbers, gradients, what torch asks of an operator, and
what users see when they are wrong. With a GPU, all of it there too."""

import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
megafold = pytest.importorskip("megafold")
from megafold import _composition, ops  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def example(device="cpu", dtype=torch.float64, b=2, r=3, nq=5, nk=7, h=2, d=16, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.to(device, dtype).requires_grad_()

    mask = torch.rand((b, r, nk), generator=generator) > 0.3
    mask[0, 1:2] = False
    return {
        "q": draw(b, r, nq, h, d),
        "k": draw(b, r, nk, h, d),
        "v": draw(b, r, nk, h, d),
        "bias": draw(b, h, nq, nk),
        "mask": mask.to(device),
        "gate": draw(b, r, nq, h, d),
    }


def windows(device="cpu", dtype=torch.float64, atoms=44, b=1, r=2, h=2, d=16):
    args = example(device, dtype, b, r, atoms, atoms, h, d)
    count = -(-atoms // 32)
    bias = torch.randn(b, count, h, 32, 128, dtype=torch.float64)
    args["bias"] = bias.to(device, dtype).requires_grad_()
    return args


def plain(q, k, v, bias=None, mask=None, gate=None, scale=None):
    """The formula by torch, differentiable, in fp64."""
    q, k, v = (t.double().transpose(2, 3) for t in (q, k, v))
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias.double()[:, None]
    if mask is not None:
        closed = ~mask[:, :, None, None]
        empty = closed.all(-1, keepdim=True)
        scores = scores.masked_fill(closed & ~empty, -torch.inf).masked_fill(empty, 0)
    weights = scores.softmax(-1)
    if mask is not None:
        weights = weights.masked_fill(empty, 0)
    out = (weights @ v).transpose(2, 3)
    return out if gate is None else out * gate.double().sigmoid()


def gradients(f, args, dout):
    leaves = {
        name: t.detach().clone().requires_grad_(t.is_floating_point()) if t is not None else None
        for name, t in args.items()
    }
    out = f(**leaves)
    wanted = [t for t in leaves.values() if t is not None and t.requires_grad]
    return [out.detach(), *torch.autograd.grad(out, wanted, dout.to(out.dtype))]


def error(got, want):
    assert torch.equal(got.isnan(), want.isnan())
    return ((got.double() - want.double()).norm() / want.double().norm()).item()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("left_out", ["", "bias", "mask", "gate", "bias mask gate"])
def test_equals_the_formula_in_fp64(device, left_out):
    args = example(device)
    for name in left_out.split():
        args[name] = None
    dout = torch.randn_like(args["q"])
    for got, want in zip(gradients(ops.evo_attention, args, dout), gradients(plain, args, dout)):
        assert error(got, want) < 1e-13


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n,d", [(33, 16), (64, 24), (97, 32), (130, 48)])
def test_error_is_that_of_the_dtype(device, dtype, n, d):
    args = example(device, dtype, 1, 4, n, n, 2, d)
    dout = torch.randn_like(args["q"])
    wide = {k: t.double() if t.is_floating_point() else t for k, t in args.items()}

    def in_dtype(q, k, v, bias, mask, gate):
        # As a framework runs it: every result rounded to the dtype.
        q, k, v = (t.transpose(2, 3) for t in (q, k, v))
        scores = q @ k.mT * q.shape[-1] ** -0.5 + bias[:, None]
        closed = ~mask[:, :, None, None]
        empty = closed.all(-1, keepdim=True)
        scores = scores.masked_fill(closed & ~empty, -torch.inf).masked_fill(empty, 0)
        weights = scores.softmax(-1).masked_fill(empty, 0)
        return (weights @ v).transpose(2, 3) * gate.sigmoid()

    exact = gradients(plain, wide, dout.double())
    ours = gradients(ops.evo_attention, args, dout)
    theirs = gradients(in_dtype, args, dout)
    unit = torch.finfo(dtype).eps / 2
    # On a GPU fp32 products are TF32.
    slack = 2e-3 if device == "cuda" and dtype == torch.float32 else 4 * unit
    for got, known, want in zip(ours, theirs, exact):
        assert error(got, want) <= error(known, want) + slack


@pytest.mark.parametrize("device", DEVICES)
def test_a_row_without_keys_is_zero_and_so_are_its_gradients(device):
    args = example(device, torch.float32)
    out, dq, dk, dv, dbias, dgate = gradients(ops.evo_attention, args, torch.ones_like(args["q"]))
    for t in (out, dq, dk, dv, dgate):
        assert (t[0, 1] == 0).all() and (t[0, 0] != 0).any()
    assert not dbias.isnan().any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("atoms", [20, 64, 150])
@pytest.mark.parametrize("shifted", [False, True])
def test_windows_equal_gathered_keys(device, atoms, shifted):
    args = windows(device, atoms=atoms)
    count = -(-atoms // 32)
    first = torch.arange(count, device=device) * 32 - 48
    if shifted:
        first = first.clamp(max=max(atoms - 128, 0)).clamp(min=0)
    index = first[:, None] + torch.arange(128, device=device)
    inside = (index >= 0) & (index < atoms)

    def gathered(q, k, v, bias, mask, gate):
        def split(t):
            pad = (0, 0, 0, 0, 0, count * 32 - atoms)
            return torch.nn.functional.pad(t, pad).unflatten(2, (count, 32)).transpose(1, 2)[0]

        def gather(t):
            t = t.index_select(2, index.clamp(0, atoms - 1).flatten())
            return t.unflatten(2, (count, 128)).transpose(1, 2)[0]

        open_keys = gather(mask) & inside[:, None]
        out = plain(split(q), gather(k), gather(v), bias[0], open_keys, split(gate))
        return out.transpose(0, 1).flatten(1, 2)[None, :, :atoms]

    def ours(**a):
        return ops.atom_attention(**a, first_key=first if shifted else None)

    dout = torch.randn_like(args["q"])
    for got, want in zip(gradients(ours, args, dout), gradients(gathered, args, dout)):
        assert error(got, want) < 1e-13


def test_gradcheck():
    args = example(b=1, r=2, nq=3, nk=4, h=2, d=3)
    assert torch.autograd.gradcheck(ops.evo_attention, tuple(args.values()))
    args = windows(atoms=5, r=1, h=1, d=2)
    args["bias"] = torch.randn(1, 2, 1, 4, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *a: ops.atom_attention(*a, window=(4, 8)), tuple(args.values())
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(device, dtype):
    utils = (
        "test_schema",
        "test_autograd_registration",
        "test_faketensor",
        "test_aot_dispatch_dynamic",
    )
    args = example(device, dtype)
    forward = (*args.values(), 0.25)
    torch.library.opcheck(torch.ops.megafold.evo_attention, forward, test_utils=utils)
    torch.library.opcheck(
        torch.ops.megafold.evo_attention,
        (args["q"].transpose(0, 1), args["k"].transpose(0, 1), args["v"].transpose(0, 1), None,
         None, None, 0.25),
        test_utils=utils,
    )  # fmt: skip
    q, k, v, bias, mask, gate = (t.detach() for t in args.values())
    out, lse = torch.ops.megafold.evo_attention(q, k, v, bias, mask, gate, 0.25)
    for needs in (True, False):
        torch.library.opcheck(
            torch.ops.megafold.evo_attention_backward,
            (torch.randn_like(q), q, k, v, bias, mask, gate, out, lse, 0.25, needs, needs),
            test_utils=utils,
        )
    args = windows(device, dtype, atoms=64)
    first = torch.zeros(2, dtype=torch.int32, device=device)
    torch.library.opcheck(
        torch.ops.megafold.atom_attention, (*args.values(), first, 0.25, 32, 128), test_utils=utils
    )
    q, k, v, bias, mask, gate = (t.detach() for t in args.values())
    out, lse = torch.ops.megafold.atom_attention(q, k, v, bias, mask, gate, first, 0.25, 32, 128)
    torch.library.opcheck(
        torch.ops.megafold.atom_attention_backward,
        (
            torch.randn_like(q),
            q,
            k,
            v,
            bias,
            mask,
            gate,
            first,
            out,
            lse,
            0.25,
            32,
            128,
            True,
            True,
        ),
        test_utils=utils,
    )


@pytest.mark.parametrize("device", DEVICES)
def test_no_graph_break_under_compile(device):
    args = example(device, torch.float32)
    args["mask"] = args["mask"].clone()

    def step(**a):
        return ops.evo_attention(**a).square().sum()

    # aot_eager: traces forward and backward as the compiler would, without needing a C++ compiler.
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    dout = torch.ones((), device=device)
    for got, want in zip(gradients(compiled, args, dout), gradients(step, args, dout)):
        assert torch.equal(got, want)


@pytest.mark.parametrize("device", DEVICES)
def test_one_compilation_serves_all_lengths(device):
    compiled = torch.compile(
        lambda **a: ops.evo_attention(**a).square().sum(), fullgraph=True, backend="aot_eager",
        dynamic=True,
    )  # fmt: skip
    dout = torch.ones((), device=device)
    for n in (5, 9, 13):
        args = example(device, torch.float32, 2, 3, n, n + 2)
        want = gradients(lambda **a: ops.evo_attention(**a).square().sum(), args, dout)
        for got, known in zip(gradients(compiled, args, dout), want):
            assert torch.equal(got, known)
    windowed = torch.compile(
        lambda **a: ops.atom_attention(**a).square().sum(), fullgraph=True, backend="aot_eager",
        dynamic=True,
    )  # fmt: skip
    for atoms in (44, 70):
        args = windows(device, torch.float32, atoms)
        want = gradients(lambda **a: ops.atom_attention(**a).square().sum(), args, dout)
        for got, known in zip(gradients(windowed, args, dout), want):
            assert torch.equal(got, known)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_in_a_cuda_graph():
    args = {k: t.detach() for k, t in example("cuda", torch.bfloat16, 1, 8, 64, 64, 4, 32).items()}
    leaves = {k: t.requires_grad_(t.is_floating_point()) for k, t in args.items()}
    wanted = [t for t in leaves.values() if t.requires_grad]

    def step():
        return torch.autograd.grad(ops.evo_attention(**leaves).float().square().sum(), wanted)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            eager = step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for t in captured:
        t.fill_(float("nan"))
    graph.replay()
    for got, want in zip(captured, eager):
        assert torch.equal(got, want)


@pytest.mark.parametrize("device", DEVICES)
def test_two_runs_give_the_same_bits(device):
    args = example(device, torch.bfloat16, 2, 9, 70, 70, 3, 32)
    dout = torch.randn_like(args["q"])
    first, second = (gradients(ops.evo_attention, args, dout) for _ in range(2))
    for a, b in zip(first, second):
        assert torch.equal(a, b)


@pytest.mark.parametrize("device", DEVICES)
def test_results_go_where_the_caller_wants_them(device):
    """The _out operators write gradients side by side, as a projection's, and in any strides."""
    dtype = torch.float64 if device == "cpu" else torch.bfloat16
    d = 32
    z = torch.randn(1, 9, 9, 4, 2, d, dtype=dtype, device=device)
    q, k, v, gate = (t.transpose(1, 2) for t in z.unbind(3))
    bias = torch.randn(1, 2, 9, 9, dtype=dtype, device=device)
    mask = torch.rand(1, 9, 9, device=device) > 0.3
    out, lse = torch.ops.megafold.evo_attention(q, k, v, bias, mask, gate, 0.25)
    into = torch.full((1, 9, 9, 2, d), torch.nan, dtype=dtype, device=device).transpose(1, 2)
    lse_into = torch.full_like(lse, torch.nan)
    torch.ops.megafold.evo_attention_out(q, k, v, bias, mask, gate, 0.25, into, lse_into)
    assert torch.equal(into, out) and torch.equal(lse_into, lse)
    dout = torch.randn_like(out)
    arguments = (dout, q, k, v, bias, mask, gate, out, lse, 0.25)
    wanted = torch.ops.megafold.evo_attention_backward(*arguments, True, True)
    side_by_side = torch.full_like(z, torch.nan)
    dq, dk, dv, dgate = (t.transpose(1, 2) for t in side_by_side.unbind(3))
    dbias = torch.full_like(bias, torch.nan)
    torch.ops.megafold.evo_attention_backward_out(*arguments, dq, dk, dv, dbias, dgate)
    for got, want in zip((dq, dk, dv, dbias, dgate), wanted):
        assert torch.equal(got, want)
    with pytest.raises(RuntimeError, match="dq has the shape"):
        torch.ops.megafold.evo_attention_backward_out(*arguments, dq[:, :8], dk, dv, dbias, dgate)


def test_any_strides():
    z = torch.randn(1, 6, 6, 4, 2, 8, dtype=torch.float64)
    q, k, v, gate = (t.transpose(1, 2) for t in z.unbind(3))
    bias = torch.randn(1, 6, 6, 2, dtype=torch.float64).permute(0, 3, 1, 2)
    assert (
        error(ops.evo_attention(q, k, v, bias, None, gate), plain(q, k, v, bias, None, gate))
        < 1e-14
    )
    q, k, v = (torch.randn(1, 2, 5, 8, 2, dtype=torch.float64).mT for _ in range(3))
    assert error(ops.evo_attention(q, k, v), plain(q, k, v)) < 1e-14  # D not contiguous
    q, k, v = (
        torch.randn(1, 1, 5, 2, 8, dtype=torch.float64).expand(3, 4, 5, 2, 8) for _ in range(3)
    )
    assert error(ops.evo_attention(q, k, v), plain(q, k, v)) < 1e-14


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_empty(device, dtype):
    def leaf(*shape):
        return torch.randn(shape, device=device, dtype=dtype, requires_grad=True)

    for shape in ((0, 2, 3, 1, 32), (1, 0, 3, 1, 32), (1, 2, 0, 1, 32), (1, 2, 3, 0, 32)):
        q, k = leaf(*shape), leaf(shape[0], shape[1], 4, shape[3], 32)
        bias = leaf(shape[0], shape[3], shape[2], 4)
        out = ops.evo_attention(q, k, k, bias, gate=q)
        assert out.shape == shape
        out.sum().backward()
        assert k.grad.shape == k.shape and (k.grad == 0).all()
        assert bias.grad.shape == bias.shape and (bias.grad == 0).all()
        if shape[2] == 0:
            atoms = ops.atom_attention(q, q, q, leaf(shape[0], 0, shape[3], 32, 128))
            assert atoms.shape == shape
    # Queries without any key: 0, and zero gradients.
    q, none, bias = leaf(1, 2, 3, 1, 32), leaf(1, 2, 0, 1, 32), leaf(1, 1, 3, 0)
    out = ops.evo_attention(q, none, none, bias, gate=q)
    assert (out == 0).all()
    out.sum().backward()
    assert (q.grad == 0).all() and none.grad.shape == none.shape and bias.grad.shape == bias.shape


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("b,r", [(1, 66000), (66000, 1), (33001, 2)])
def test_more_rows_than_a_grid_has_blocks_along_an_axis(device, b, r):
    d = 16 if device == "cpu" else 32
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    args = example(device, dtype, b, r, 2, 3, 1, d)
    args["bias"] = args["bias"].detach()[:1].expand(b, -1, -1, -1)
    dout = torch.randn_like(args["q"])
    wide = {k: t.detach().double() if t.is_floating_point() else t for k, t in args.items()}
    got, want = gradients(ops.evo_attention, args, dout), gradients(plain, wide, dout.double())
    for ours, exact in zip(got, want):
        assert error(ours, exact) < (1e-6 if device == "cpu" else 0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_more_than_2_to_the_31_elements(dtype):
    """Rows 0, the middle and the last of 4,352 alone give what they give among the others."""
    n, h, d = 4352, 4, 32
    make = torch.Generator("cuda").manual_seed(0)
    x = torch.randn(1, n, n, h, d, generator=make, device="cuda", dtype=dtype)
    assert x.numel() > 2**31
    bias = torch.randn(1, h, n, n, generator=make, device="cuda")
    out, lse = torch.ops.megafold.evo_attention(x, x, x, bias, None, None, 0.2)
    grads = torch.ops.megafold.evo_attention_backward(
        x, x, x, x, bias, None, None, out, lse, 0.2, True, False
    )
    for row in (0, n // 2, n - 1):
        one = x[:, row : row + 1]
        alone, lse_alone = torch.ops.megafold.evo_attention(one, one, one, bias, None, None, 0.2)
        # Another kernel, so another rounding of each: seen 2.4e-3 (bf16).
        assert error(out[:, row : row + 1], alone) < 5e-3
        assert error(lse[:, row : row + 1], lse_alone) < 1e-4
        one_grads = torch.ops.megafold.evo_attention_backward(
            one, one, one, one, bias, None, None, alone, lse_alone, 0.2, False, False
        )
        for whole, part in zip(grads[:3], one_grads[:3]):
            assert error(whole[:, row : row + 1], part) < 1e-2
    assert not grads[3].isnan().any()


@pytest.mark.parametrize("device", DEVICES)
def test_broadcast_gradients_and_arguments(device):
    """What autograd hands over after sum() and mean(): tensors of one element, all strides 0."""
    dtype = torch.float64 if device == "cpu" else torch.float32
    args = example(device, dtype, 2, 3, 9, 9, 2, 32)
    wide = {k: t.detach().double() if t.is_floating_point() else t for k, t in args.items()}
    for dout in (
        torch.ones((), device=device, dtype=dtype).expand(args["q"].shape),
        torch.randn(2, 3, 1, 2, 32, device=device, dtype=dtype).expand(args["q"].shape),
        torch.randn(2, 3, 9, 2, 33, device=device, dtype=dtype)[..., 1:],
    ):
        got = gradients(ops.evo_attention, args, dout)
        for ours, exact in zip(got, gradients(plain, wide, dout.double())):
            assert error(ours, exact) < (1e-13 if device == "cpu" else 5e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_only_some_arguments_want_gradients(device):
    args = {k: t.detach() for k, t in example(device, torch.float32).items()}
    for name in ("q", "k", "v", "bias", "gate"):
        leaf = args[name].clone().requires_grad_()
        out = ops.evo_attention(**{**args, name: leaf})
        out.sum().backward()
        assert leaf.grad.shape == leaf.shape and not leaf.grad.isnan().any()
    with torch.inference_mode():
        assert not ops.evo_attention(**args).requires_grad


@pytest.mark.parametrize("device", DEVICES)
def test_under_checkpointing_and_autocast(device):
    args = example(device, torch.float32)
    mask = args.pop("mask")
    names, leaves = list(args), list(args.values())

    def step(*tensors):
        return ops.evo_attention(**dict(zip(names, tensors)), mask=mask)

    want = torch.autograd.grad(step(*leaves).square().sum(), leaves)
    again = checkpoint(step, *leaves, use_reentrant=False)
    for a, b in zip(torch.autograd.grad(again.square().sum(), leaves), want):
        assert torch.equal(a, b)
    with torch.autocast(device, torch.bfloat16):  # an operator of its arguments' dtype
        assert step(*leaves).dtype == torch.float32


@pytest.mark.parametrize("device", DEVICES)
def test_windows_of_odd_difference_begin_alike_everywhere(device):
    q = torch.randn(1, 1, 11, 1, 16, device=device)
    for window in ((4, 7), (5, 8), (4, 2), (3, 1)):
        count = -(-11 // window[0])
        first = torch.arange(count, device=device) * window[0] + (window[0] - window[1]) // 2
        by_default = ops.atom_attention(q, q, q, window=window)
        assert torch.equal(by_default, ops.atom_attention(q, q, q, window=window, first_key=first))
        padded = torch.nn.functional.pad(q, (0, 0, 0, 0, 0, count * window[0] - 11))
        by_torch = _composition.forward(padded, q, q, None, None, None, None, 0.25, *window)[0]
        assert error(by_default, by_torch[:, :, :11]) < (1e-6 if device == "cpu" else 5e-3)


def test_bad_input_says_what_was_met():
    a = {k: t.detach() for k, t in example().items()}
    with pytest.raises(ValueError, match=r"q is \[3, 5, 2, 16\] float64, but \[B, R, N, H, D\]"):
        ops.evo_attention(a["q"][0], a["k"], a["v"])
    with pytest.raises(
        ValueError, match=r"bias is \[2, 2, 7, 5\].*\[B, H, Nq, Nk\] = \[2, 2, 5, 7\]"
    ):
        ops.evo_attention(a["q"], a["k"], a["v"], a["bias"].mT)
    with pytest.raises(TypeError, match=r"mask is .* float32, but bool is needed"):
        ops.evo_attention(a["q"], a["k"], a["v"], mask=a["mask"].float())
    with pytest.raises(TypeError, match="k is .* float32, but float64 is needed"):
        ops.evo_attention(a["q"], a["k"].float(), a["v"])
    with pytest.raises(TypeError, match="q is .* int64"):
        ops.evo_attention(*(a[n].long() for n in "qkv"))
    with pytest.raises(ValueError, match="window is"):
        ops.atom_attention(a["q"], a["q"], a["q"], window=(0, 8))
    with pytest.raises(ValueError, match=r"first_key is \[3\].*\[1\] integers"):
        ops.atom_attention(a["q"], a["q"], a["q"], first_key=torch.zeros(3, dtype=torch.int32))
    # The operators themselves refuse what would read outside of memory.
    with pytest.raises(RuntimeError, match=r"bias has the shape \[2, 2, 7, 5\]"):
        torch.ops.megafold.evo_attention(a["q"], a["k"], a["v"], a["bias"].mT, None, None, 1.0)


def test_a_second_derivative_is_an_error():
    q = example()["q"]
    (first,) = torch.autograd.grad(ops.evo_attention(q, q, q).sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(first.sum(), q)


def test_report_counts_what_ran():
    megafold.dispatch_report(reset=True)
    a = {k: t.detach() for k, t in example().items()}
    for _ in range(3):
        ops.evo_attention(**a)
    (count,) = megafold.dispatch_report()
    assert (count.operation, count.implementation, count.calls) == ("evo_attention", "cpu", 3)
    assert "3 calls" in str(megafold.dispatch_report(reset=True))
    assert str(megafold.dispatch_report()) == "nothing ran yet"


def test_the_fall_back_computes_the_same():
    for atoms in (None, 64):
        args = example(b=2) if atoms is None else windows(atoms=atoms, b=2)
        queries, keys = (0, 0) if atoms is None else (32, 128)
        a = [t.detach() for t in args.values()]
        scale, dout = 0.25, torch.randn_like(a[0])
        if atoms is None:
            out, lse = torch.ops.megafold.evo_attention(*a, scale)
            grads = torch.ops.megafold.evo_attention_backward(dout, *a, out, lse, scale, True, True)
        else:
            out, lse = torch.ops.megafold.atom_attention(*a, None, scale, queries, keys)
            grads = torch.ops.megafold.atom_attention_backward(
                dout, *a, None, out, lse, scale, queries, keys, True, True
            )
        by_torch = _composition.forward(*a, None, scale, queries, keys)
        assert error(by_torch[0], out) < 1e-14 and torch.allclose(by_torch[1], lse)
        back = _composition.backward(dout, *a, None, scale, queries, keys, True, True)
        for got, want in zip(back, grads):
            assert got.is_contiguous() and error(got, want) < 1e-13


def test_imports_without_gpu_and_compiler():
    code = "import megafold; print(megafold.has_cuda(), megafold.dispatch_report())"
    environment = {"CUDA_VISIBLE_DEVICES": "", "PATH": "/nonexistent"}
    if "PYTHONPATH" in os.environ:  # where the package is not installed but only lies somewhere
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "nothing ran yet" in result.stdout
