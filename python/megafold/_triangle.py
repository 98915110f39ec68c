# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Triangle attention from the pair representation to the update, as one autograd node.

    x = LayerNorm(z);  q, k, v, g = x W_qkvg;  b = x W_b
    y = z + keep * (sigmoid(g) * attention(q, k, v, b)) W_out       (SI algorithms 14 and 15)

The node keeps z and the weights and nothing else: normalisation, projections and attention are
computed again in the backward. The steps are in csrc/triangle_attention.cpp; here is what torch
asks of an operator.
"""

from __future__ import annotations

import torch

from megafold import _node, ops  # noqa: F401  (ops: what runs where no kernel does)

_ops = torch.ops.megafold


@torch.library.register_fake("megafold::triangle_attention")
def _(z, norm_weight, norm_bias, projection, bias, out, mask, keep, heads, ending, transposed_bias,
      residual, eps):  # fmt: skip
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


triangle_attention = _node.node("triangle_attention", _setup, _node_backward)
_node.differentiable_once("triangle_attention_backward", "triangle attention")
