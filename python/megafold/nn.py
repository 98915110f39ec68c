# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Modules of AlphaFold 3 over megafold's operators."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from megafold import _triangle

__all__ = ["TriangleAttention"]


class TriangleAttention(nn.Module):
    """Triangle attention (SI algorithms 14 and 15): LayerNorm, q, k, v, bias and gate projections,
    attention, gate, output projection, and on demand dropout and residual.

    Args:
        channels: C of the pair representation.
        heads: H.
        head_width: D; C // H when None.
        ending: around the ending node (algorithm 15) instead of the starting one (14).
        transposed_bias: for the ending node, the bias as the supplement writes it, b_ki: projected
            from the transposed pair representation. False: b_ik, as the released code and
            OpenFold 3's pair block have it. Without effect on the starting node.
        dropout: probability of dropping an element of the update, drawn once a channel for all rows
            (for the ending node: all columns); only in training and only with `residual`.

    Shape:
        z [B, N, N, C] or [N, N, C]; mask likewise without C, bool or 0/1, True: the pair exists.
        Returns z's shape: the update, or z + update with `residual=True`.

    One autograd node that keeps z and nothing else for the backward (_triangle.py). Under
    torch.autocast the norm runs in z's dtype and what follows in autocast's.

    The parameters are `norm`, `projection` (q, k, v, gate: [4 H D, C]), `bias` [H, C] and `out`
    [C, H D], none but the norm with biases.

    Example:
        >>> module = megafold.nn.TriangleAttention(128, heads=4)
        >>> z = torch.randn(1, 64, 64, 128)
        >>> module(z, torch.ones(1, 64, 64, dtype=torch.bool), residual=True).shape
        torch.Size([1, 64, 64, 128])
    """

    def __init__(
        self,
        channels: int,
        heads: int = 4,
        head_width: int | None = None,
        *,
        ending: bool = False,
        transposed_bias: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        width = channels // heads if head_width is None else head_width
        if width < 1:
            raise ValueError(f"TriangleAttention: {channels} channels over {heads} heads")
        self.heads, self.ending, self.transposed_bias = heads, ending, transposed_bias
        self.dropout = dropout
        self.norm = nn.LayerNorm(channels)
        self.projection = nn.Linear(channels, 4 * heads * width, bias=False)
        self.bias = nn.Linear(channels, heads, bias=False)
        self.out = nn.Linear(heads * width, channels, bias=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.projection.weight[3 * heads * width :].data)

    def forward(self, z: Tensor, mask: Tensor | None = None, *, residual: bool = False) -> Tensor:
        if z.dim() == 3:
            return self(z[None], None if mask is None else mask[None], residual=residual)[0]
        if z.dim() != 4 or z.shape[1] != z.shape[2]:
            raise ValueError(f"TriangleAttention: z is {list(z.shape)}, but [B, N, N, C] is needed")
        keep = None
        if residual and self.training and self.dropout > 0:
            b, n, _, c = z.shape
            keep = z.new_empty((b, n, 1, c) if self.ending else (b, 1, n, c), dtype=self._dtype(z))
            keep.bernoulli_(1 - self.dropout).div_(1 - self.dropout)
        weights = (w.weight.to(self._dtype(z)) for w in (self.projection, self.bias, self.out))
        return _triangle.triangle_attention(
            z.contiguous(), self.norm.weight.to(z.dtype), self.norm.bias.to(z.dtype), *weights,
            None if mask is None else mask.bool(), keep, self.heads, self.ending,
            self.transposed_bias, residual, self.norm.eps,
        )  # fmt: skip

    @staticmethod
    def _dtype(z: Tensor) -> torch.dtype:
        """Of everything behind the norm: z's, or that of torch.autocast."""
        kind = z.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else z.dtype
