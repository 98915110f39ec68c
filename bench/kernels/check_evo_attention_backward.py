# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Checks the Hopper backward of EvoAttention against fp64, beside plain PyTorch in bf16, on a GPU.

  python3 check_evo_attention_backward.py [--small]    (--small: tiny shapes, for compute-sanitizer)

A case passes when dq, dk, dv, dgate and dbias are finite, the norm of the error of each is at
most plain PyTorch's, its worst element at most twice plain PyTorch's worst, and a second run gives
the same bits. Outputs and workspace are filled with NaN before, and so is the memory between the
strided rows of the inputs. Where the gradient is 0 in theory, both bounds leave room for the
rounding of fp32.
"""

import math

import torch
from check_evo_attention import FIRST, STEP, make, unfold
from library import backward_params, forward_params
from reference import check_cases

NAMES = ("dq", "dk", "dv", "dgate", "dbias")


def attention(q, k, v, bias, mask, gate):
    """reference.evo_attention with a finite score at the holes, so that autograd has no NaN.

    In a row without a valid key the weights are set to 0.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    queries, keys, values = (x.transpose(2, 3) for x in (q, k, v))  # [B, R, H, N, D]
    scores = torch.matmul(queries * q.shape[-1] ** -0.5, keys.transpose(-1, -2))
    if bias is not None:
        scores = scores + bias[:, None].to(q.dtype)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, :, None, None, :], -1e30)
    scores = scores.to(wide)
    lse, weights = torch.logsumexp(scores, -1), torch.softmax(scores, -1).to(q.dtype)
    if mask is not None:
        dead = ~mask.any(-1)[:, :, None, None]
        lse = lse.masked_fill(dead, -math.inf)
        weights = weights.masked_fill(dead[..., None], 0.0)
    out = torch.matmul(weights, values).transpose(2, 3)
    return (out if gate is None else out * torch.sigmoid(gate)), lse


def gradients(tensors, mask, dout, dtype, window=None):
    """Gradients of q, k, v, gate and bias (None where there is none) in `dtype`; out and lse.

    `window`: None, or (first, keys): the windows' first atoms and how many keys each has.
    """
    leaves = [None if x is None else x.detach().to(dtype).requires_grad_() for x in tensors]
    q, k, v, gate, bias = leaves
    if window is not None:
        k, v, mask = unfold(k, v, mask, *window)
    out, lse = attention(q, k, v, bias, mask, gate)
    found = iter(torch.autograd.grad(out, [x for x in leaves if x is not None], dout.to(dtype)))
    return [None if x is None else next(found) for x in leaves], out.detach(), lse.detach()


def run_case(kernels, shape, kind, seed):
    generator = torch.Generator("cuda").manual_seed(seed)
    q, k, v, bias, mask, gate = make(shape, kind - {"mask"}, generator)
    batch, rows, queries, heads, dim = q.shape
    keys, window, first = shape[4], None, None
    if "window" in kind:
        first = torch.arange(batch, device="cuda") * STEP + FIRST
        if "inside" in kind:  # as OpenFold 3 shifts them
            first = first.clamp(0, k.shape[2] - keys)
        window = (first, keys)
    batches, tokens = k.shape[0], k.shape[2]
    if "mask" in kind:
        mask = torch.rand(batches, rows, tokens, generator=generator, device="cuda") > 0.2
        mask[:, 0] = False  # a row without a valid key
        if rows > 1:
            mask[:, -1, keys // 2 :] = False
    if "onekey" in kind:  # P = 1 there, and dS = 0
        mask = torch.ones(batch, rows, keys, device="cuda", dtype=torch.bool)
        mask[:, 0] = False
        mask[:, 0, keys // 2] = True
    dout = torch.randn(q.shape, generator=generator, device="cuda").bfloat16()
    tensors = (q, k, v, gate, bias)
    exact, out, lse = gradients(tensors, mask, dout, torch.float64, window)
    plain, _, _ = gradients(tensors, mask, dout, torch.bfloat16, window)
    out, lse = out.bfloat16().contiguous(), lse.float().contiguous()
    place = None if window is None else (FIRST, STEP, keys)
    forward = forward_params(q, k, v, bias, mask, gate, None, out, lse, place)
    if "inside" in kind:
        first = first.int()
        forward.key_first = first.data_ptr()
    results = []
    for _ in range(2):
        ours = [None if x is None else torch.full_like(x, math.nan) for x in (q, k, v, gate)]
        ours.append(None if bias is None else torch.full(bias.shape, math.nan, device="cuda"))
        if bias is not None:
            ours[-1] = ours[-1].to(bias.dtype)
        params = backward_params(forward, dout, *ours)
        workspace = kernels.prepare(params)
        workspace.fill_(0xFF)
        kernels.launch(params, workspace)
        torch.cuda.synchronize()
        results.append(ours)
    text, good = [], True
    for name, first, again, want, theirs in zip(NAMES, *results, exact, plain, strict=True):
        if first is None:
            continue
        error, error_plain = first.double() - want, theirs.double() - want
        size = want.norm().item() or 1.0
        norm, norm_plain = error.norm().item(), error_plain.norm().item()
        worst, worst_plain = error.abs().max().item(), error_plain.abs().max().item()
        finite = torch.isfinite(first).all().item()
        fine = (
            finite
            and norm <= norm_plain + 1e-6 * dout.double().norm().item()
            and worst <= 2 * worst_plain + 1e-5
        )
        same = torch.equal(first, again)
        good = good and fine and same
        verdict = ("" if fine else " <-- WRONG") + ("" if same else " <-- VARIES")
        text.append(
            f"{name} {norm / size:.2e} (plain {norm_plain / size:.2e}) worst {worst:.2e} "
            f"({worst_plain:.2e}){verdict}"
        )
    kinds = " ".join(sorted(kind))
    print(f"{'ok  ' if good else 'FAIL'} {shape} {kinds}: {'; '.join(text)}", flush=True)
    return good


def cases(small):
    """(shape, kind): B R H Nq Nk D."""
    if small:
        for dim in (32, 48, 64):
            for rows in (1, 5, 9):
                yield (1, rows, 2, 129, 97, dim), {"mask", "gate"} if rows == 5 else {"mask"}
        yield (5, 3, 2, 32, 128, 32), {"window", "mask", "gate"}
        yield (6, 2, 1, 32, 128, 32), {"window", "inside"}
        return
    for n in (1, 2, 15, 16, 17, 31, 63, 64, 65, 97, 127, 128, 129, 203, 384, 500):
        for dim in (32, 48, 64):
            # Few rows (at most 4, or 2) and many take different ways; so do gate and none.
            for rows, kind in (
                (1, {"mask", "gate"}),
                (2, set()),
                (7, {"mask", "bias16"}),
                (13, {"mask", "gate"}),
            ):
                yield (1 if n > 300 else 2, rows, 3, n, n, dim), kind
    for dim in (32, 48, 64):
        yield (1, 6, 2, 130, 70, dim), {"nobias", "mask"}
        yield (2, 7, 3, 200, 333, dim), {"mask", "bias16"}
        yield (3, 1, 4, 333, 200, dim), {"gate"}
        yield (2, 5, 4, 160, 160, dim), {"projection", "mask", "gate"}
        yield (2, 9, 4, 160, 160, dim), {"projection", "ending"}
        yield (2, 5, 4, 190, 190, dim), {"wide", "mask", "gate"}
        yield (1, 5, 2, 70, 70, dim), {"onekey"}
        yield (1, 5, 2, 70, 70, dim), {"onekey", "gate"}
        yield (1, 3, 2, 1000, 2111, dim), {"mask"}
        yield (1, 12, 2, 768, 768, dim), {"mask"}
    for rows in (1, 4, 48):
        yield (7, rows, 4, 32, 128, 32), {"window", "gate"}
        yield (8, rows, 4, 32, 128, 32), {"window", "inside"}
        yield (9, rows, 4, 32, 128, 32), {"window", "mask", "bias16", "inside"}
        yield (40, rows, 2, 32, 128, 32), {"window", "wide", "mask", "gate"}
    yield (1, 2, 4, 32, 128, 32), {"window", "nobias"}
    yield (9, 3, 3, 17, 100, 32), {"window", "mask", "gate"}
    yield (288, 5, 4, 32, 128, 32), {"window", "mask"}
    yield (1, 200, 4, 384, 384, 32), {"mask"}
    yield (1, 48, 16, 384, 384, 48), set()
    yield (4, 1, 16, 384, 384, 64), set()


if __name__ == "__main__":
    check_cases(__doc__, cases, run_case)
