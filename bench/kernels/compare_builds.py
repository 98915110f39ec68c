# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Two builds of the kernels side by side in one process: is the new one right, and faster?

  python3 compare_builds.py OLD.so NEW.so ROWS.json [--only SUBSTRING] [--seconds 60]

For each shape of bench_evo_attention.py, with an fp32 and a bf16 bias, and for windows of atoms:
the error of each result over that of PyTorch in bf16 (fp64 is the truth; of windows the difference
of the two builds), then times in turns with the L2 cache flushed. SDPA, which wants its bias in q's
dtype, is timed beside the shapes without a mask: with a bias that is bf16 already, and with the
cast of one that is not. No shape is begun after --seconds. build.sh makes the libraries; a variant
of a kernel is another build of it (NVCC_FLAGS=-DNAME=1).
"""

import argparse
import json
import sys
import time

import torch
from bench_evo_attention import SHAPES, Case, errors_of, ours, sdpa, time_in_turns
from library import Kernels

SAMPLES, ATOMS, HEADS, DIM, QUERIES, KEYS = 48, 9216, 4, 32, 32, 128


class Windows:
    """Windows of atoms as algorithm 7 has them, q and dout seen as [window, sample, 32, H, D]."""

    op, shape = "atom_attention", f"A{ATOMS} B{SAMPLES} H{HEADS} D{DIM}"

    def __init__(self, bias_dtype):
        make = torch.Generator("cuda").manual_seed(0)

        def atoms():
            x = torch.randn(1, SAMPLES, ATOMS, HEADS, DIM, generator=make, device="cuda")
            return x.bfloat16()

        def split(x):
            return x[0].view(SAMPLES, -1, QUERIES, HEADS, DIM).transpose(0, 1)

        self.q, self.k, self.v, self.dout = split(atoms()), atoms(), atoms(), split(atoms())
        count = ATOMS // QUERIES
        bias = torch.randn(count, HEADS, QUERIES, KEYS, generator=make, device="cuda")
        self.bias, self.window = bias.to(bias_dtype), ((QUERIES - KEYS) // 2, QUERIES, KEYS)

    def functions(self, kernels):
        out, lse, params = kernels.forward(self.q, self.k, self.v, self.bias, window=self.window)
        workspace = kernels.prepare(params)

        def forward():
            kernels.launch(params, workspace)
            return (out,)

        def both():
            forward()
            return kernels.backward(params, self.dout, self.q, self.k, self.v, self.bias)

        both.keeps = (out, lse, self)  # params hold bare pointers
        return forward, both


def compare_windows(builds, bias_dtype):
    case = Windows(bias_dtype)
    pairs = {name: case.functions(kernels) for name, kernels in builds.items()}
    results = [[t.clone() for f in pair for t in f()] for pair in pairs.values()]
    names = ("out", "dq", "dk", "dv", "dbias")
    off = {
        name: ((b.double() - a.double()).norm() / a.double().norm()).item()
        for name, a, b in zip(names, *results)
    }
    return case, pairs, off


def compare_shape(builds, dims, bias_dtype):
    case = Case(*dims)
    case.bias = case.bias.to(bias_dtype)
    pairs = {name: ours(kernels, case) for name, kernels in builds.items()}
    errors = {name: errors_of(kernels, case) for name, kernels in builds.items()}
    over = {
        what: [errors[name][what][0] / errors[name][what][1] for name in builds]
        for what in errors["new"]
    }
    if case.mask is None:
        pairs["SDPA, bias in bf16"] = sdpa(case)
        if bias_dtype == torch.float32:
            forward, both = pairs["SDPA, bias in bf16"]
            pairs["SDPA and the bias' cast"] = tuple(
                (lambda run=run: (case.bias.bfloat16(), run())) for run in (forward, both)
            )
    return case, pairs, over


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("rows", help="where the rows go")
    parser.add_argument("--only", default="", help="shapes whose op and shape hold this")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=60, help="no shape is begun after these")
    options = parser.parse_args()
    began = time.monotonic()
    builds = {"old": Kernels(options.old), "new": Kernels(options.new)}
    warm = torch.randn(8192, 8192, device="cuda").bfloat16()
    for _ in range(100):  # the clock rises within a fraction of a second of work
        warm @ warm
    rows = []
    for op, shape, *dims in [*SHAPES, (Windows.op, Windows.shape)]:
        for dtype in (torch.float32, torch.bfloat16):
            if options.only not in f"{op} {shape}" or time.monotonic() - began > options.seconds:
                continue
            compare = compare_shape if dims else compare_windows
            arguments = (builds, dims, dtype) if dims else (builds, dtype)
            case, pairs, errors = compare(*arguments)
            print(f"{op} {shape} bias {dtype}: errors {errors}")
            for which, name in enumerate(("fwd", "fwd+bwd")):
                timed = {impl: pair[which] for impl, pair in pairs.items()}
                for run in timed.values():
                    run()
                for impl, times in time_in_turns(timed, options.rounds).items():
                    middle, low, high = (times[len(times) * i // 10] for i in (5, 1, 9))
                    rows.append({"op": op, "shape": shape, "bias": str(dtype), "impl": impl,
                                 "pass": name, "us": middle, "us_p10": low, "us_p90": high,
                                 "errors": errors})  # fmt: skip
                    print(f"  {name:8s} {impl:26s} {middle:9.1f} us [{low:.1f} {high:.1f}]")
            sys.stdout.flush()
            with open(options.rows, "w") as file:
                json.dump(rows, file, indent=1)
            del case, pairs
    return 0


if __name__ == "__main__":
    sys.exit(main())
