# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""EvoAttention as torch operators: differentiable, visible to torch.compile, safe in a CUDA graph.

    out = sigmoid(gate) * softmax(scale * q k^T + bias) v         (-inf where a key is masked)

The words are AlphaFold 3's: rows of a pair representation (or diffusion samples) share a bias;
`evo_attention` serves its algorithms 14, 15 and 24, `atom_attention` its windows of atoms (7). For
the backward, only the arguments, the output and one fp32 number a query and head are kept, and the
bias' gradient is summed over rows in a fixed order: the same bits on every run.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from megafold import _composition, _libraries, _node

__all__ = ["atom_attention", "evo_attention"]

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def _shape(t: Tensor | None) -> str:
    return "None" if t is None else f"{list(t.shape)} {str(t.dtype).removeprefix('torch.')}"


def _require(op: str, name: str, t: Tensor, shape: list[int], meaning: str, dtypes, q: Tensor):
    if list(t.shape) != shape:
        raise ValueError(f"{op}: {name} is {_shape(t)}, but {meaning} = {shape} is needed")
    if t.dtype not in dtypes:
        names = " or ".join(str(d).removeprefix("torch.") for d in dict.fromkeys(dtypes))
        raise TypeError(f"{op}: {name} is {_shape(t)}, but {names} is needed")
    if t.device != q.device:
        raise ValueError(f"{op}: {name} is on {t.device}, q on {q.device}")


def _check(op: str, q: Tensor, k: Tensor, v: Tensor, bias, mask, gate, bias_shape, bias_meaning):
    """What both operators ask of their tensors."""
    for name, t in (("q", q), ("k", k), ("v", v)):
        if t.dim() != 5 or t.shape[-1] < 1:
            raise ValueError(f"{op}: {name} is {_shape(t)}, but [B, R, N, H, D] is needed")
    if q.dtype not in _DTYPES:
        raise TypeError(
            f"{op}: q is {_shape(q)}, but float64, float32, bfloat16 or float16 is needed"
        )
    b, r, _, h, d = q.shape
    own = (q.dtype,)
    _require(op, "k", k, [b, r, k.shape[2], h, d], "[B, R, Nk, H, D]", own, q)
    _require(op, "v", v, list(k.shape), "k's shape", own, q)
    if bias is not None:
        wide = own if q.dtype == torch.float64 else (q.dtype, torch.float32)
        _require(op, "bias", bias, bias_shape, bias_meaning, wide, q)
    if mask is not None:
        _require(op, "mask", mask, [b, r, k.shape[2]], "[B, R, Nk]", (torch.bool,), q)
    if gate is not None:
        _require(op, "gate", gate, list(q.shape), "q's shape", own, q)


def evo_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Attention with a bias that rows share, a key mask and a gate.

    Args:
        q: [B, R, Nq, H, D]. B batches; R rows (or diffusion samples) that share the batch's bias; H
            heads of width D. float64, float32, bfloat16 or float16.
        k, v: [B, R, Nk, H, D], of q's dtype; as many keys as you like.
        bias: [B, H, Nq, Nk], of q's dtype or float32, added to the scores.
        mask: [B, R, Nk] bool, True: the key may be attended. A row without any gives 0 and zero
            gradients, where torch's softmax gives NaN.
        gate: [B, R, Nq, H, D], of q's dtype, before its sigmoid.
        scale: of the scores; 1 / sqrt(D) when None.

    Returns:
        [B, R, Nq, H, D] in q's dtype, contiguous.

    Every tensor may have any strides; q, k, v and gate are read without a copy where D is
    contiguous, so slices of one projection and transposed views (the ending node of triangle
    attention) cost nothing. Gradients flow to q, k, v, bias and gate, once: a second derivative is
    an error.

    Raises:
        ValueError: shapes or devices that do not go together; the message has both.
        TypeError: a dtype that is not taken.

    Example:
        >>> z = torch.randn(1, 64, 64, 3, 4, 32)          # q, k, v side by side: [B, R, N, 3, H, D]
        >>> bias = torch.randn(1, 4, 64, 64)
        >>> mask = torch.rand(1, 64, 64) > 0.1
        >>> megafold.ops.evo_attention(*z.unbind(3), bias=bias, mask=mask).shape
        torch.Size([1, 64, 64, 4, 32])
    """
    bias_shape = [q.shape[0], q.shape[3], q.shape[2], k.shape[2]] if q.dim() == k.dim() == 5 else []
    _check("evo_attention", q, k, v, bias, mask, gate, bias_shape, "[B, H, Nq, Nk]")
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    return _evo_attention(q, k, v, bias, mask, gate, scale)[0]


def atom_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    scale: float | None = None,
    *,
    window: tuple[int, int] = (32, 128),
    first_key: Tensor | None = None,
) -> Tensor:
    """`evo_attention` in windows of atoms, without gathering keys.

    The queries of window w are the atoms w * 32 .. w * 32 + 31; its keys are the 128 atoms around
    their middle, those before the first and after the last atom being masked.

    Args:
        q, k, v, gate: [B, R, A, H, D] for A atoms, dtypes as in evo_attention.
        bias: [B, W, H, 32, 128] for W = ceil(A / 32) windows.
        mask: [B, R, A] bool, True: the atom may be attended.
        scale: of the scores; 1 / sqrt(D) when None.
        window: queries and keys of a window.
        first_key: [W] integers that never decrease: each window's first key, for conventions that
            shift the windows at the ends inside, as OpenFold 3 does.

    Returns:
        [B, R, A, H, D] in q's dtype.

    Raises:
        ValueError, TypeError: as evo_attention.

    Example:
        >>> x = torch.randn(1, 48, 1000, 3, 4, 32)        # 48 diffusion samples, 1000 atoms
        >>> bias = torch.randn(1, 32, 4, 32, 128)
        >>> megafold.ops.atom_attention(*x.unbind(3), bias=bias).shape
        torch.Size([1, 48, 1000, 4, 32])
    """
    op = "atom_attention"
    queries, keys = (int(n) for n in window)
    if queries < 1 or keys < 1:
        raise ValueError(f"{op}: window is {window}, but two positive numbers are needed")
    if q.dim() != 5 or q.shape != k.shape:
        raise ValueError(f"{op}: q is {_shape(q)}, k is {_shape(k)}; one shape [B, R, A, H, D]")
    atoms = q.shape[2]
    windows = -(-atoms // queries)
    bias_shape = [q.shape[0], windows, q.shape[3], queries, keys]
    _check(op, q, k, v, bias, mask, gate, bias_shape, "[B, W, H, queries, keys]")
    if first_key is not None:
        if list(first_key.shape) != [windows] or first_key.is_floating_point():
            raise ValueError(
                f"{op}: first_key is {_shape(first_key)}, but [{windows}] integers are needed"
            )
        first_key = first_key.to(device=q.device, dtype=torch.int32)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    # The kernels' windows are whole: queries behind the last atom are computed and dropped.
    missing = windows * queries - atoms
    if missing:
        q = torch.nn.functional.pad(q, (0, 0, 0, 0, 0, missing))
        gate = None if gate is None else torch.nn.functional.pad(gate, (0, 0, 0, 0, 0, missing))
    out = _atom_attention(q, k, v, bias, mask, gate, first_key, scale, queries, keys)[0]
    return out[:, :, :atoms] if missing else out


# ---- shapes for the compiler ------------------------------------------------------------------


def _empty(like: Tensor | None, wanted: bool, other: Tensor) -> Tensor:
    return like.new_empty(like.shape) if like is not None and wanted else other.new_empty(0)


@torch.library.register_fake("megafold::evo_attention")
def _(q, k, v, bias, mask, gate, scale):
    b, r, n, h, _ = q.shape
    return q.new_empty(q.shape), q.new_empty((b, r, h, n), dtype=torch.float32)


@torch.library.register_fake("megafold::atom_attention")
def _(q, k, v, bias, mask, gate, first_key, scale, window_queries, window_keys):
    b, r, n, h, _ = q.shape
    lse = (b, n // window_queries, r, h, window_queries)
    return q.new_empty(q.shape), q.new_empty(lse, dtype=torch.float32)


@torch.library.register_fake("megafold::evo_attention_backward")
def _(dout, q, k, v, bias, mask, gate, out, lse, scale, needs_bias, needs_gate):
    return (
        q.new_empty(q.shape),
        k.new_empty(k.shape),
        v.new_empty(v.shape),
        _empty(bias, needs_bias, q),
        _empty(gate, needs_gate, q),
    )


@torch.library.register_fake("megafold::atom_attention_backward")
def _(
    dout, q, k, v, bias, mask, gate, first_key, out, lse, scale, window_queries, window_keys,
    needs_bias, needs_gate,
):  # fmt: skip
    return (
        q.new_empty(q.shape),
        k.new_empty(k.shape),
        v.new_empty(v.shape),
        _empty(bias, needs_bias, q),
        _empty(gate, needs_gate, q),
    )


# ---- autograd ---------------------------------------------------------------------------------


def _setup(ctx, inputs, output, tensors: int):
    """Saves the first `tensors` arguments, out and lse; keeps the numbers behind them."""
    out, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.set_materialize_grads(False)  # or lse's gradient is made and filled with zeros
    ctx.save_for_backward(*inputs[:tensors], out, lse)
    ctx.numbers = inputs[tensors:]


def _evo_setup(ctx, inputs, output):
    _setup(ctx, inputs, output, 6)


def _atom_setup(ctx, inputs, output):
    _setup(ctx, inputs, output, 7)


def _evo_backward(ctx, dout, _dlse):
    if dout is None:
        return (None,) * 7
    needs_bias, needs_gate = ctx.needs_input_grad[3], ctx.needs_input_grad[5]
    dq, dk, dv, dbias, dgate = torch.ops.megafold.evo_attention_backward(
        dout, *ctx.saved_tensors, *ctx.numbers, needs_bias, needs_gate
    )
    return dq, dk, dv, dbias if needs_bias else None, None, dgate if needs_gate else None, None


def _atom_backward(ctx, dout, _dlse):
    if dout is None:
        return (None,) * 10
    needs_bias, needs_gate = ctx.needs_input_grad[3], ctx.needs_input_grad[5]
    dq, dk, dv, dbias, dgate = torch.ops.megafold.atom_attention_backward(
        dout, *ctx.saved_tensors, *ctx.numbers, needs_bias, needs_gate
    )
    dbias, dgate = dbias if needs_bias else None, dgate if needs_gate else None
    return dq, dk, dv, dbias, None, dgate, None, None, None, None


_evo_attention = _node.node("evo_attention", _evo_setup, _evo_backward)
_atom_attention = _node.node("atom_attention", _atom_setup, _atom_backward)
for _name in ("evo_attention_backward", "atom_attention_backward"):
    _node.differentiable_once(_name, "attention")


# ---- where no kernel takes a call -------------------------------------------------------------

# The compiled operators call these when every kernel refused.
_fallback = torch.library.Library("megafold", "FRAGMENT")
_fallback.define(
    "attention_by_torch(Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? mask, Tensor? gate, "
    "Tensor? first_key, float scale, int window_queries, int window_keys) -> (Tensor, Tensor)"
)
_fallback.define(
    "attention_by_torch_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor? bias, "
    "Tensor? mask, Tensor? gate, Tensor? first_key, float scale, int window_queries, "
    "int window_keys, bool needs_bias, bool needs_gate) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_fallback.define(
    "layer_norm_by_torch(Tensor x, Tensor weight, Tensor bias, float eps) "
    "-> (Tensor, Tensor, Tensor)"
)
_fallback.define(
    "layer_norm_by_torch_backward(Tensor dy, Tensor x, Tensor weight, Tensor bias, Tensor mean, "
    "Tensor rstd) -> (Tensor, Tensor, Tensor)"
)
for _key in ("CPU", "CUDA"):
    _fallback.impl("attention_by_torch", _composition.forward, _key)
    _fallback.impl("attention_by_torch_backward", _composition.backward, _key)
    _fallback.impl("layer_norm_by_torch", _composition.layer_norm, _key)
    _fallback.impl("layer_norm_by_torch_backward", _composition.layer_norm_backward, _key)

if not _libraries.has_cuda():
    # CUDA tensors work in an installation without GPU kernels too, slowly, and are counted.
    _REASON = ("this installation has no GPU kernels (_cuda.so)",)

    def _evo_by_torch(q, k, v, bias, mask, gate, scale):
        _libraries.count_by_torch("evo_attention", _REASON)
        return _composition.forward(q, k, v, bias, mask, gate, None, scale, 0, 0)

    def _evo_by_torch_backward(
        dout, q, k, v, bias, mask, gate, out, lse, scale, needs_bias, needs_gate
    ):
        _libraries.count_by_torch("evo_attention backward", _REASON)
        return _composition.backward(
            dout, q, k, v, bias, mask, gate, None, scale, 0, 0, needs_bias, needs_gate
        )

    def _atom_by_torch(q, k, v, bias, mask, gate, first_key, scale, queries, keys):
        _libraries.count_by_torch("atom_attention", _REASON)
        return _composition.forward(q, k, v, bias, mask, gate, first_key, scale, queries, keys)

    def _atom_by_torch_backward(
        dout, q, k, v, bias, mask, gate, first_key, out, lse, scale, queries, keys, needs_bias,
        needs_gate,
    ):  # fmt: skip
        _libraries.count_by_torch("atom_attention backward", _REASON)
        return _composition.backward(
            dout, q, k, v, bias, mask, gate, first_key, scale, queries, keys, needs_bias, needs_gate
        )

    def _evo_by_torch_out(q, k, v, bias, mask, gate, scale, out, lse):
        for to, found in zip((out, lse), _evo_by_torch(q, k, v, bias, mask, gate, scale)):
            to.copy_(found)

    def _evo_by_torch_backward_out(
        dout, q, k, v, bias, mask, gate, out, lse, scale, dq, dk, dv, dbias, dgate
    ):
        found = _evo_by_torch_backward(
            dout, q, k, v, bias, mask, gate, out, lse, scale, dbias is not None, dgate is not None
        )
        for to, gradient in zip((dq, dk, dv, dbias, dgate), found):
            if to is not None:
                to.copy_(gradient)

    def _norm_by_torch(x, weight, bias, eps):
        _libraries.count_by_torch("layer_norm", _REASON)
        return _composition.layer_norm(x, weight, bias, eps)

    def _norm_by_torch_backward(dy, x, weight, bias, mean, rstd, _eps):
        _libraries.count_by_torch("layer_norm backward", _REASON)
        return _composition.layer_norm_backward(dy, x, weight, bias, mean, rstd)

    _fallback.impl("layer_norm", _norm_by_torch, "CUDA")
    _fallback.impl("layer_norm_backward", _norm_by_torch_backward, "CUDA")
    _fallback.impl("evo_attention_out", _evo_by_torch_out, "CUDA")
    _fallback.impl("evo_attention_backward_out", _evo_by_torch_backward_out, "CUDA")
    _fallback.impl("evo_attention", _evo_by_torch, "CUDA")
    _fallback.impl("evo_attention_backward", _evo_by_torch_backward, "CUDA")
    _fallback.impl("atom_attention", _atom_by_torch, "CUDA")
    _fallback.impl("atom_attention_backward", _atom_by_torch_backward, "CUDA")
