# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""What the package's operators and modules cost the processor that calls them, without a GPU: calls
so small (N = 2, on the CPU) that nothing but the host's part is left.

  python3 bench_host.py

Microseconds of this thread's processor time, the least of twenty medians: other programs on the
machine wait in between and are not counted.
"""

import statistics
import time

import megafold
import torch


def least(function, calls=40, repeats=20):
    medians = []
    for _ in range(repeats):
        times = []
        for _ in range(calls):
            began = time.thread_time_ns()
            function()
            times.append((time.thread_time_ns() - began) / 1000)
        medians.append(statistics.median(times))
    return min(medians)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = megafold.nn.TriangleAttention(16, 2)
    z, mask = torch.randn(1, 2, 2, 16, requires_grad=True), torch.ones(1, 2, 2).bool()
    x = torch.randn(1, 2, 2, 2, 16, requires_grad=True)
    bias = torch.randn(1, 2, 2, 2, requires_grad=True)
    atoms, windows = x[:, :1], torch.randn(1, 1, 2, 32, 128, requires_grad=True)
    cases = {
        "nn.TriangleAttention": (
            lambda: module(z, mask, residual=True),
            [z, *module.parameters()],
        ),
        "ops.evo_attention": (
            lambda: megafold.ops.evo_attention(x, x, x, bias, mask, x),
            [x, bias],
        ),
        "ops.atom_attention": (
            lambda: megafold.ops.atom_attention(atoms, atoms, atoms, windows),
            [x, windows],
        ),
    }
    print(f"{'':22s} {'no grad':>9s} {'forward':>9s} {'with backward':>14s}")
    for name, (function, leaves) in cases.items():
        dout = torch.randn_like(function())

        def without(function=function):
            with torch.no_grad():
                function()

        def both(function=function, leaves=leaves, dout=dout):
            torch.autograd.grad(function(), leaves, dout)

        row = [least(f) for f in (without, function, both)]
        print(f"{name:22s} {row[0]:9.1f} {row[1]:9.1f} {row[2]:14.1f}", flush=True)


if __name__ == "__main__":
    main()
