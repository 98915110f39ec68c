# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""EvoAttention and LayerNorm by torch's own operators, forward and backward: what runs where no
kernel takes a call. The attention holds a tensor of size [queries, keys], and is fp32 inside, fp64
for fp64. Needs no autograd, since it runs below it.
"""

from __future__ import annotations

import torch
from torch import Tensor


class _Windows:
    """Turns windows of atoms into batches of rows, and gradients back."""

    def __init__(self, q: Tensor, k: Tensor, first_key: Tensor | None, queries: int, keys: int):
        self.queries, self.keys = queries, keys
        self.count, self.atoms = q.shape[2] // queries, k.shape[2]
        if first_key is None:
            first = torch.arange(self.count, device=q.device) * queries + (queries - keys) // 2
        else:
            first = first_key.long()
        index = first[:, None] + torch.arange(keys, device=q.device)
        self.inside = (index >= 0) & (index < self.atoms)  # [W, keys]
        self.index = index.clamp(0, max(self.atoms - 1, 0)).flatten()

    def split(self, t: Tensor) -> Tensor:
        """[B, R, W * n, ...] -> [B * W, R, n, ...]."""
        return t.unflatten(2, (self.count, -1)).transpose(1, 2).flatten(0, 1)

    def join(self, t: Tensor, batch: int) -> Tensor:
        return t.unflatten(0, (batch, self.count)).transpose(1, 2).flatten(2, 3).contiguous()

    def gather(self, t: Tensor) -> Tensor:
        return self.split(t.index_select(2, self.index))

    def scatter(self, t: Tensor, batch: int) -> Tensor:
        inside = self.inside.repeat(batch, 1)[:, None, :, None, None]
        flat = self.join(t * inside, batch)
        shape = (*flat.shape[:2], self.atoms, *flat.shape[3:])
        return flat.new_zeros(shape).index_add(2, self.index, flat)

    def mask(self, mask: Tensor | None, batch: int, rows: int) -> Tensor:
        inside = self.inside.repeat(batch, 1)[:, None].expand(-1, rows, -1)
        return inside if mask is None else inside & self.gather(mask)


def _prepare(q, k, v, bias, mask, gate, first_key, queries, keys):
    if queries == 0:
        return None, q, k, v, bias, mask, gate
    w = _Windows(q, k, first_key, queries, keys)
    return (
        w,
        w.split(q),
        w.gather(k),
        w.gather(v),
        None if bias is None else bias.flatten(0, 1),
        w.mask(mask, q.shape[0], q.shape[1]),
        None if gate is None else w.split(gate),
    )


def _heads(t: Tensor, wide: torch.dtype) -> Tensor:
    """[B, R, N, H, D] -> [B, R, H, N, D]."""
    return t.transpose(2, 3).to(wide)


def _softmax(q, k, bias, mask, scale, wide) -> tuple[Tensor, Tensor]:
    """P [B, R, H, Nq, Nk] and lse [B, R, H, Nq]; 0 and -inf where a query sees no key."""
    scores = _heads(q, wide) @ _heads(k, wide).mT * scale
    if bias is not None:
        scores = scores + bias.to(wide)[:, None]
    if mask is not None:
        scores = scores.masked_fill(~mask[:, :, None, None], -torch.inf)
    if scores.shape[-1] == 0:
        return scores, scores.new_full(scores.shape[:-1], -torch.inf)
    lse = scores.logsumexp(-1)
    return (scores - lse.masked_fill(lse == -torch.inf, torch.inf)[..., None]).exp(), lse


def forward(q, k, v, bias, mask, gate, first_key, scale, queries, keys):
    """out as q, lse [B, R, H, Nq] fp32 (in windows [B, W, R, H, queries])."""
    dtype, batch = q.dtype, q.shape[0]
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    w, q, k, v, bias, mask, gate = _prepare(q, k, v, bias, mask, gate, first_key, queries, keys)
    p, lse = _softmax(q, k, bias, mask, scale, wide)
    out = (p @ _heads(v, wide)).transpose(2, 3)
    if gate is not None:
        out = out * gate.to(wide).sigmoid()
    out, lse = out.to(dtype), lse.float()
    if w is None:
        return out.contiguous(), lse.contiguous()
    return w.join(out, batch), lse.unflatten(0, (batch, w.count)).contiguous()


def backward(
    dout, q, k, v, bias, mask, gate, first_key, scale, queries, keys, needs_bias, needs_gate
):
    """dq, dk, dv, dbias, dgate; the last two of no element where they are not wanted."""
    dtype, batch, none = q.dtype, q.shape[0], q.new_empty(0)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    bias_like = bias
    w, q, k, v, bias, mask, gate = _prepare(q, k, v, bias, mask, gate, first_key, queries, keys)
    if w is not None:
        dout = w.split(dout)
    p, _ = _softmax(q, k, bias, mask, scale, wide)
    da, dgate = _heads(dout, wide), none
    if gate is not None:
        g = _heads(gate, wide).sigmoid()
        if needs_gate:
            a = p @ _heads(v, wide)
            dgate = (da * a * g * (1 - g)).transpose(2, 3).to(dtype)
            dgate = dgate.contiguous() if w is None else w.join(dgate, batch)
        da = da * g
    dp = da @ _heads(v, wide).mT
    ds = p * (dp - (p * dp).sum(-1, keepdim=True))
    dbias = none
    if needs_bias and bias_like is not None:
        dbias = ds.sum(1).to(bias_like.dtype).reshape(bias_like.shape)
    dq = (ds @ _heads(k, wide) * scale).transpose(2, 3)
    dk = (ds.mT @ _heads(q, wide) * scale).transpose(2, 3)
    dv = (p.mT @ da).transpose(2, 3)
    if w is not None:
        dq, dk, dv = w.join(dq, batch), w.scatter(dk, batch), w.scatter(dv, batch)
    dq, dk, dv = (t.to(dtype).contiguous() for t in (dq, dk, dv))
    return dq, dk, dv, dbias, dgate


def layer_norm(x, weight, bias, eps):
    """y as x; mean and rstd of each row."""
    wide = torch.promote_types(x.dtype, weight.dtype)  # torch takes one dtype for all three
    y, mean, rstd = torch.native_layer_norm(
        x.to(wide), x.shape[-1:], weight.to(wide), bias.to(wide), eps
    )
    statistics = torch.promote_types(x.dtype, torch.float32)
    return y.to(x.dtype), mean.flatten().to(statistics), rstd.flatten().to(statistics)


def layer_norm_backward(dy, x, weight, bias, mean, rstd):
    wide = torch.promote_types(x.dtype, weight.dtype)
    statistics = (*x.shape[:-1], 1)
    found = torch.ops.aten.native_layer_norm_backward(
        dy.to(wide), x.to(wide), x.shape[-1:], mean.view(statistics), rstd.view(statistics),
        weight.to(wide), bias.to(wide), [True, True, True],
    )  # fmt: skip
    return tuple(t.to(like.dtype) for t, like in zip(found, (x, weight, bias)))
