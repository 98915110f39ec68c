# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""EvoAttention written like its equation: in fp64 the specification, in bf16 plain PyTorch.

And what the checks of the kernels against it have in common.
"""

import argparse
import math
import sys

import torch
from library import Kernels


def evo_attention(q, k, v, bias=None, mask=None, gate=None, scale=None, with_lse=False):
    """q, k, v, gate [B, R, N, H, D], bias [B, H, Nq, Nk], mask [B, R, Nk] bool; out as q.

    Every intermediate is rounded to q's dtype except the softmax (fp32 at least), as PyTorch code
    has it. A row without a valid key gives 0 and lse = -inf.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    queries, keys, values = (x.transpose(2, 3) for x in (q, k, v))  # [B, R, H, N, D]
    scores = torch.matmul(queries * scale, keys.transpose(-1, -2))
    if bias is not None:
        scores = scores + bias[:, None].to(q.dtype)
    if mask is not None:
        hole = ~mask[:, :, None, None, :]
        scores = scores.masked_fill(hole, -math.inf)
        values = values.masked_fill(~mask[:, :, None, :, None], 0.0)
    scores = scores.to(wide)
    lse = torch.logsumexp(scores, -1)
    weights = torch.softmax(scores, -1).to(q.dtype)
    if mask is not None:
        weights = weights.masked_fill(~mask.any(-1)[:, :, None, None, None], 0.0)
    out = torch.matmul(weights, values).transpose(2, 3)
    if gate is not None:
        out = out * torch.sigmoid(gate)
    return (out, lse) if with_lse else out


def evo_attention_by_rows(q, k, v, bias, mask, gate, scale=None, most=2**28):
    """(out, lse) in q's dtype, a few rows at a time: at most `most` scores stand in memory."""
    batch, rows, queries, heads, _ = q.shape
    step = max(1, min(rows, most // max(1, batch * heads * queries * k.shape[2])))
    outs, lses = [], []
    for first in range(0, rows, step):
        part = slice(first, first + step)
        out, lse = evo_attention(
            q[:, part],
            k[:, part],
            v[:, part],
            bias,
            None if mask is None else mask[:, part],
            None if gate is None else gate[:, part],
            scale,
            with_lse=True,
        )
        outs.append(out)
        lses.append(lse)
    return torch.cat(outs, 1), torch.cat(lses, 1)


def check_cases(description, cases, run_case):
    """A check's program: ends with 1 unless all pass.

    cases(small): (shape, kind) of each; run_case(kernels, shape, kind, seed): whether it passes.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    kernels = Kernels()
    done = [run_case(kernels, shape, kind, seed) for seed, (shape, kind) in enumerate(cases(small))]
    print(f"{sum(done)} of {len(done)} cases pass")
    sys.exit(not all(done))
