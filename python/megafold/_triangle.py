# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Triangle attention from the pair representation to the update, as one autograd node.

    x = LayerNorm(z);  q, k, v, g = x W_qkvg;  b = x W_b
    y = z + keep * (sigmoid(g) * attention(q, k, v, b)) W_out       (SI algorithms 14 and 15)

The node keeps z and the weights and nothing else: normalisation, projections and attention are
computed again in the backward. Between its steps lie as few tensors as may be: the gradients of q,
k, v and the gate are written side by side, as the projection made them, so that one product takes
them back to x; the bias leaves its product head by head, as the attention reads it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from megafold import _libraries

_ops = torch.ops.megafold

# What both operators get: tensors, then numbers.
_INPUTS = (
    "Tensor z, Tensor norm_weight, Tensor norm_bias, Tensor projection, Tensor bias, Tensor out, "
    "Tensor? mask, Tensor? keep, int heads, bool ending, bool transposed_bias, bool residual, "
    "float eps"
)
_library = torch.library.Library("megafold", "FRAGMENT")
_library.define(f"triangle_attention({_INPUTS}) -> Tensor")
_library.define(
    f"triangle_attention_backward(Tensor dy, {_INPUTS}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def _by_kernel(z: Tensor) -> bool:
    """Where ours runs; else torch's: fp64 and wide rows on a GPU, or no GPU kernels at all."""
    if z.device.type == "cpu":
        return True
    return _libraries.has_cuda() and z.dtype != torch.float64 and z.shape[-1] <= 1024


def _norm(z, weight, bias, eps):
    if _by_kernel(z):
        return _ops.layer_norm(z.contiguous(), weight, bias, eps)
    return torch.native_layer_norm(z, z.shape[-1:], weight, bias, eps)


class _Steps:
    """The forward up to the attention's output, which the backward runs once more."""

    def __init__(
        self, z, norm_weight, norm_bias, projection, bias, mask, heads, ending, tbias, eps
    ):
        normal, self.mean, self.rstd = _norm(z, norm_weight, norm_bias, eps)
        self.x = normal.to(projection.dtype)
        packed = self.x @ projection.T  # [B, N, N, 4 H D]
        self.ending = ending
        self.q, self.k, self.v, self.gate = self.slots(packed.unflatten(-1, (4, heads, -1)))
        # Head-major at once: [B, H, N, N].
        b = (bias @ self.x.flatten(1, 2).mT).unflatten(-1, z.shape[1:3])
        self.bias = b.mT if ending and tbias else b
        self.mask = mask.mT if ending and mask is not None else mask
        self.scale = self.q.shape[-1] ** -0.5
        # In z's layout, whichever node it is.
        heads_out = packed.new_empty((*z.shape[:3], heads, self.q.shape[-1]))
        self.flat = heads_out.flatten(-2)
        self.attended = heads_out.transpose(1, 2) if ending else heads_out
        self.lse = z.new_empty((z.shape[0], z.shape[1], heads, z.shape[2]), dtype=torch.float32)
        _ops.evo_attention_out(*self.arguments(), self.scale, self.attended, self.lse)

    def slots(self, packed: Tensor):
        """q, k, v and gate of [B, N, N, 4, H, D]; the ending node's rows are z's columns."""
        return ((t.transpose(1, 2) if self.ending else t) for t in packed.unbind(3))

    def arguments(self):
        return self.q, self.k, self.v, self.bias, self.mask, self.gate


def _forward(z, norm_weight, norm_bias, projection, bias, out, mask, keep, heads, ending, tbias,
             residual, eps):  # fmt: skip
    s = _Steps(z, norm_weight, norm_bias, projection, bias, mask, heads, ending, tbias, eps)
    update = s.flat @ out.T
    if keep is not None:
        return torch.addcmul(z, update, keep) if residual else update * keep
    return z + update if residual else update


def _norm_backward(dx, z, weight, bias, mean, rstd, eps):
    if _by_kernel(z):
        return _ops.layer_norm_backward(
            dx.to(z.dtype), z.contiguous(), weight, bias, mean, rstd, eps
        )
    return torch.ops.aten.native_layer_norm_backward(
        dx.to(z.dtype), z, z.shape[-1:], mean, rstd, weight, bias, [True, True, True]
    )


def _backward(dy, z, norm_weight, norm_bias, projection, bias, out, mask, keep, heads, ending,
              tbias, residual, eps):  # fmt: skip
    s = _Steps(z, norm_weight, norm_bias, projection, bias, mask, heads, ending, tbias, eps)
    dupdate = (dy if keep is None else dy * keep).to(out.dtype)
    rows = dupdate.flatten(0, 2)
    dout = rows.T @ s.flat.flatten(0, 2)
    dflat = (rows @ out).view(s.flat.shape)
    dattended = dflat.unflatten(-1, (heads, -1))
    packed = s.x.new_empty((*z.shape[:3], 4, heads, s.q.shape[-1]))
    dq, dk, dv, dgate = s.slots(packed)
    dbias_of = s.bias.new_empty(s.bias.shape)
    _ops.evo_attention_backward_out(
        dattended.transpose(1, 2) if ending else dattended,
        *s.arguments(), s.attended, s.lse, s.scale, dq, dk, dv, dbias_of, dgate,
    )  # fmt: skip
    del s.q, s.k, s.v, s.gate, dflat, dattended
    dpacked = packed.flatten(0, 2).flatten(1)  # [B N N, 4 H D]
    db = (dbias_of.mT if ending and tbias else dbias_of).flatten(2)  # [B, H, N N]
    x = s.x.flatten(1, 2)
    dx = (dpacked @ projection).view(x.shape)
    dx.baddbmm_(db.mT, bias.expand(len(z), -1, -1))
    dprojection = dpacked.T @ x.flatten(0, 1)
    dbias = (db @ x).sum(0)
    dz, dnorm_weight, dnorm_bias = _norm_backward(
        dx.view(z.shape), z, norm_weight, norm_bias, s.mean, s.rstd, eps
    )
    if residual:
        dz += dy
    return dz, dnorm_weight, dnorm_bias, dprojection, dbias, dout


for _key in ("CPU", "CUDA"):
    _library.impl("triangle_attention", _forward, _key)
    _library.impl("triangle_attention_backward", _backward, _key)


@torch.library.register_fake("megafold::triangle_attention")
def _(z, norm_weight, norm_bias, projection, bias, out, mask, keep, heads, ending, tbias, residual,
      eps):  # fmt: skip
    wide = torch.promote_types(z.dtype, out.dtype) if residual else out.dtype
    return z.new_empty(z.shape, dtype=wide)


@torch.library.register_fake("megafold::triangle_attention_backward")
def _(dy, z, norm_weight, norm_bias, projection, bias, out, mask, keep, *numbers):
    return tuple(t.new_empty(t.shape) for t in (z, norm_weight, norm_bias, projection, bias, out))


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:8])
    ctx.numbers = inputs[8:]


def _node_backward(ctx, dy):
    found = _ops.triangle_attention_backward(dy.contiguous(), *ctx.saved_tensors, *ctx.numbers)
    return (*found, *(None,) * 7)


torch.library.register_autograd(
    "megafold::triangle_attention", _node_backward, setup_context=_setup
)


def _once(ctx, *_):
    raise RuntimeError("megafold's triangle attention is differentiable once")


torch.library.register_autograd("megafold::triangle_attention_backward", _once)
