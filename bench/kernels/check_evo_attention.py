# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Checks the Hopper forward of EvoAttention against fp64, beside plain PyTorch in bf16, on a GPU.

  python3 check_evo_attention.py [--small]      (--small: a few tiny shapes, for compute-sanitizer)

A case passes when, for out and lse, NaN and Inf stand where the reference has them, the norm of
the error is at most plain PyTorch's, its worst element at most twice plain PyTorch's worst, and a
second run gives the same bits. Outputs and workspace are filled with NaN before, and so is
everything that must not be read: masked keys' k and v, and the memory between strided rows.
"""

import math

import torch
from library import forward_params
from reference import check_cases, evo_attention_by_rows


def make(shape, kind, generator):
    """The tensors of one case. shape: B R H Nq Nk D; kind: a set of words."""
    batch, rows, heads, queries, keys, dim = shape

    def normal(*size):
        return torch.randn(*size, generator=generator, device="cuda")

    spread = 6.0 if "wide" in kind else 1.0
    if "projection" in kind:  # [B, R, N, 4, H, D]: q, k, v and gate side by side
        together = normal(batch, rows, queries, 4, heads, dim).bfloat16()
        q, k, v, gate = together.unbind(3)
    else:
        # One more head than is used stays NaN: nothing may read past a head's D.
        def padded(count):
            x = torch.full((batch, rows, count, heads + 1, dim), math.nan, device="cuda").bfloat16()
            x[..., :heads, :] = normal(batch, rows, count, heads, dim).bfloat16()
            return x[..., :heads, :]

        q, k, v, gate = padded(queries), padded(keys), padded(keys), padded(queries)
    if "window" in kind:  # windows of atoms: all of them read the same k and v
        k, v = (padded(batch * STEP)[:1] for _ in range(2))
    q = q * spread if spread != 1.0 else q
    gate = gate if "gate" in kind else None
    bias = None if "nobias" in kind else normal(batch, heads, queries, keys)
    if bias is not None:
        if "wide" in kind:
            bias = bias * 40
        if "low" in kind:  # some queries far below every other score: softmax does not care
            bias[:, :, ::3] -= 3e4
        if "hidden" in kind:  # a mask in the bias, for all keys of some queries too
            hidden = torch.rand(bias.shape, generator=generator, device="cuda") > 0.5
            bias.masked_fill_(hidden, -1e9)
            bias[:, :, 1::5] = -1e9
        if "bias16" in kind:
            bias = bias.bfloat16()
        if "ending" in kind:  # as a transposed view
            bias = bias.transpose(2, 3).contiguous().transpose(2, 3)
    mask = None
    if "mask" in kind:
        batches, tokens = k.shape[0], k.shape[2]
        mask = torch.rand(batches, rows, tokens, generator=generator, device="cuda") > 0.2
        mask[:, 0] = False  # a row without a valid key
        if rows > 1:
            mask[:, -1, keys // 2 :] = False
        if "projection" not in kind:
            k.masked_fill_(~mask[..., None, None], math.nan)
            v.masked_fill_(~mask[..., None, None], math.nan)
    return q, k, v, bias, mask, gate


FIRST, STEP = -48, 32  # of the windows of atoms: window b's key j is atom FIRST + b STEP + j


def unfold(k, v, mask, first, keys):
    """k, v [1, R, A, H, D] and mask [1, R, A] or None as [B, R, Nk, ..], one batch a window.

    `first` [B]: the windows' first atoms.
    """
    tokens, windows = k.shape[2], len(first)
    atom = first[:, None] + torch.arange(keys, device="cuda")
    inside, atom = (atom >= 0) & (atom < tokens), atom.clamp(0, tokens - 1)
    k, v = (x[0][:, atom].transpose(0, 1) for x in (k, v))  # [R, B, Nk, H, D] before
    valid = inside[:, None].expand(windows, k.shape[1], keys)
    if mask is not None:
        valid = valid & mask[0][:, atom].transpose(0, 1)
    return k, v, valid


def run_case(kernels, shape, kind, seed):
    generator = torch.Generator("cuda").manual_seed(seed)
    q, k, v, bias, mask, gate = make(shape, kind, generator)
    batch, rows, queries, heads, dim = q.shape
    window = (FIRST, STEP, shape[4]) if "window" in kind else None
    results = []
    for _ in range(2):
        out = torch.full((batch, rows, queries, heads, dim), math.nan, device="cuda").bfloat16()
        lse = torch.full((batch, rows, heads, queries), math.nan, device="cuda")
        params = forward_params(q, k, v, bias, mask, gate, None, out, lse, window)
        workspace = kernels.prepare(params)
        workspace.fill_(0xFF)
        kernels.launch(params, workspace)
        torch.cuda.synchronize()
        results.append((out, lse))
    if window is not None:
        first = torch.arange(batch, device="cuda") * STEP + FIRST
        k, v, mask = unfold(k, v, mask, first, shape[4])
    exact = evo_attention_by_rows(
        *(x if x is None else x.double() for x in (q, k, v, bias)),
        mask,
        gate if gate is None else gate.double(),
    )
    plain = evo_attention_by_rows(q, k, v, bias, mask, gate)
    # ForwardQueue::count, where the shared kernel ran
    redone = workspace[:12].view(torch.int32)[2].item() if len(workspace) else "all"
    text, good = [], True
    for name, ours, again, want, theirs in zip(("out", "lse"), *results, exact, plain, strict=True):
        finite = torch.isfinite(want)
        if not torch.equal(torch.isfinite(ours), finite) or not torch.equal(
            ours.isneginf(), want.isneginf()
        ):
            wrong = (torch.isfinite(ours) != finite).sum().item()
            text.append(f"{name}: NaN or Inf differ in {wrong} of {ours.numel()}")
            good = False
            continue
        if not torch.equal(ours, again):
            text.append(f"{name}: two runs differ")
            good = False
        error = torch.where(finite, ours.double() - want, 0.0)
        error_plain = torch.where(finite & torch.isfinite(theirs), theirs.double() - want, 0.0)
        size = torch.where(finite, want, 0.0).norm().item() or 1.0
        norm, norm_plain = error.norm().item() / size, error_plain.norm().item() / size
        worst, worst_plain = error.abs().max().item(), error_plain.abs().max().item()
        fine = norm <= norm_plain and worst <= 2 * worst_plain
        good = good and fine
        text.append(
            f"{name} {norm:.2e} (plain {norm_plain:.2e}) worst {worst:.2e} ({worst_plain:.2e})"
            + ("" if fine else " <-- TOO LARGE")
        )
    name = " ".join(sorted(kind))
    print(
        f"{'ok  ' if good else 'FAIL'} {shape} {name}: {'; '.join(text)}; redone {redone}",
        flush=True,
    )
    return good


def cases(small):
    """(shape, kind): B R H Nq Nk D."""
    if small:
        for dim in (32, 48, 64):
            for rows in (1, 5):
                yield (1, rows, 2, 129, 97, dim), {"mask", "gate"}
        yield (2, 3, 1, 65, 130, 32), {"wide", "mask"}
        yield (2, 3, 2, 65, 130, 48), {"wide", "mask", "bias16"}
        yield (3, 2, 2, 32, 128, 32), {"window", "mask", "gate"}
        yield (4, 2, 2, 32, 128, 32), {"window", "mask", "wide"}
        return
    for dim in (32, 48, 64):
        yield (1, 4, 1, 64, 64, dim), {"nobias"}
        yield (1, 4, 1, 128, 128, dim), set()
    for n in (1, 2, 15, 16, 17, 31, 63, 64, 65, 97, 127, 128, 129, 203, 384, 500, 768):
        for dim in (32, 48, 64):
            rows = 6 if n < 500 else 3
            yield (1, rows, 4, n, n, dim), {"mask", "gate"}
    for dim in (32, 48, 64):
        yield (2, 7, 3, 200, 333, dim), {"mask", "bias16"}
        yield (3, 1, 4, 333, 200, dim), {"mask", "gate"}
        yield (2, 5, 4, 160, 160, dim), {"projection", "mask", "gate"}
        yield (2, 5, 4, 160, 160, dim), {"projection", "ending", "gate"}
        yield (2, 5, 4, 190, 190, dim), {"wide", "mask", "gate"}
        yield (2, 1, 4, 190, 190, dim), {"wide"}
        yield (1, 9, 4, 300, 300, dim), {"low", "mask"}
        yield (1, 4, 2, 1000, 2111, dim), {"mask"}
        for rows in (1, 4):
            yield (2, rows, 2, 200, 328, dim), {"mask", "bias16", "gate"}
            yield (2, rows, 2, 200, 200, dim), {"hidden", "bias16"}
            yield (2, rows, 2, 200, 200, dim), {"hidden"}
            yield (2, rows, 2, 136, 190, dim), {"wide", "bias16", "mask"}
            yield (1, rows, 3, 384, 384, dim), {"bias16"}
            yield (2, rows, 2, 100, 100, dim), {"ending", "bias16", "mask"}
            yield (2, rows, 2, 100, 101, dim), {"nobias", "mask"}
            yield (7, rows, 4, 32, 128, dim), {"window", "gate"}
            yield (9, rows, 4, 32, 128, dim), {"window", "mask", "bias16"}
            yield (8, rows, 3, 17, 100, dim), {"window", "mask", "gate"}
            yield (8, rows, 3, 32, 128, dim), {"window", "mask", "wide"}
            yield (5, rows, 2, 32, 128, dim), {"window", "hidden", "mask"}
    yield (4, 1, 16, 384, 384, 64), set()
    yield (4, 1, 2, 769, 769, 64), {"mask"}
    yield (1, 384, 4, 384, 384, 32), {"mask"}
    yield (1, 48, 16, 384, 384, 48), set()


if __name__ == "__main__":
    check_cases(__doc__, cases, run_case)
