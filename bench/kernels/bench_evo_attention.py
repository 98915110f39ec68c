# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Times EvoAttention beside its rivals on one GPU and writes rows for bench/results/<gpu>.json.

  python3 bench_evo_attention.py ROWS.json [--commit SHA --tree SHA1] [--only SUBSTRING] [--slow]

All implementations of a shape are timed in turns in one process, the L2 cache flushed before each
run; a row holds the median with p10 and p90. fwd+bwd includes the gradient of the bias.
cuEquivariance and trifast take part where they can be imported; --slow adds PyTorch eager and
torch.compile.
"""

import argparse
import datetime
import gc
import json
import sys
import time
from importlib import metadata

import torch
import torch.nn.functional as F
from library import Kernels
from reference import evo_attention

PATHS = ["kernels/evo_attention", "kernels/common"]
# op, shape as it stands in the rows, B, R, H, N, D, does a key mask take part?
TRIANGLE = [
    ("evo_attention", f"N{n} H4 D32", 1, n, 4, n, 32, True) for n in (384, 768, 256, 512, 640, 385)
]
DIFFUSION = [
    ("diffusion_attention", f"N{n} B48 H16 D48", 1, 48, 16, n, 48, False) for n in (384, 768)
]
PAPER = [("evo_attention", f"N{n} B4 H16 D64", 4, 1, 16, n, 64, False) for n in (384, 768, 1024)]
SHAPES = TRIANGLE[:2] + DIFFUSION + PAPER + TRIANGLE[2:]


def version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


class Case:
    """A shape's inputs: ours token-major [B, R, N, H, D], the rivals' head-major [B R, H, N, D]."""

    def __init__(self, batch, rows, heads, n, dim, masked):
        make = torch.Generator("cuda").manual_seed(0)

        def normal(*size):
            return torch.randn(*size, generator=make, device="cuda")

        self.shape = (batch, rows, heads, n, dim)
        self.q, self.k, self.v, self.dout = (
            normal(batch, rows, n, heads, dim).bfloat16() for _ in range(4)
        )
        self.bias = normal(batch, heads, n, n)
        self.mask = None
        if masked:
            self.mask = torch.rand(batch, rows, n, generator=make, device="cuda") > 0.05

    def rival_inputs(self):
        batch, rows, heads, n, dim = self.shape
        q, k, v, dout = (
            x.transpose(2, 3).reshape(batch * rows, heads, n, dim).contiguous()
            for x in (self.q, self.k, self.v, self.dout)
        )
        return [x.requires_grad_() for x in (q, k, v)], dout


def ours(kernels, case):
    out, lse, params = kernels.forward(case.q, case.k, case.v, case.bias, case.mask)
    workspace = kernels.prepare(params)

    def forward():
        kernels.launch(params, workspace)

    def both():
        forward()
        return kernels.backward(params, case.dout, case.q, case.k, case.v, case.bias)

    def whole():
        return kernels.forward(case.q, case.k, case.v, case.bias, case.mask)

    forward.whole = whole  # what a call allocates: outputs and workspace
    both.saved = (out.numel() * out.element_size() + lse.numel() * 4) / 2**20
    both.keeps = (out, lse, case)  # params hold bare pointers
    return forward, both


def autograd(function, inputs, dout):
    def forward():
        with torch.no_grad():
            return function()

    def both():
        return torch.autograd.grad(function(), inputs, dout)

    both.recorded = function
    return forward, both


def sdpa(case):
    batch, rows, heads, n, _ = case.shape
    (q, k, v), dout = case.rival_inputs()
    bias = case.bias.bfloat16().requires_grad_()

    def attend():
        full = bias[:, None].expand(batch, rows, heads, n, n).reshape(batch * rows, heads, n, n)
        if batch == 1:
            full = bias[0].expand(rows, heads, n, n)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=full)

    return autograd(attend, [q, k, v, bias], dout)


def flex(case):
    from torch.nn.attention.flex_attention import flex_attention

    batch, rows, heads, n, _ = case.shape
    (q, k, v), dout = case.rival_inputs()
    bias = case.bias.bfloat16().requires_grad_()

    def attend(q, k, v, bias):
        return flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: s + bias[b // rows, h, i, j])

    compiled = torch.compile(attend, dynamic=False)
    return autograd(lambda: compiled(q, k, v, bias), [q, k, v, bias], dout)


def eager(case, compiled=False):
    batch, rows, heads, n, dim = case.shape
    (q, k, v), dout = case.rival_inputs()
    bias = case.bias.clone().requires_grad_()

    def attend(q, k, v, bias):
        scores = torch.matmul(q * dim**-0.5, k.transpose(-1, -2)).view(batch, rows, heads, n, n)
        scores = scores + bias[:, None].to(q.dtype)
        if case.mask is not None:
            scores = scores.masked_fill(~case.mask[:, :, None, None], -1e9)
        weights = torch.softmax(scores.float(), -1).to(q.dtype)
        return torch.matmul(weights.view(batch * rows, heads, n, n), v)

    function = torch.compile(attend, dynamic=False) if compiled else attend
    return autograd(lambda: function(q, k, v, bias), [q, k, v, bias], dout)


def cuequivariance(case):
    import cuequivariance_torch

    batch, rows, heads, n, dim = case.shape
    (q, k, v), dout = case.rival_inputs()
    q, k, v = (x.detach().view(batch, rows, heads, n, dim).requires_grad_() for x in (q, k, v))
    bias = case.bias[:, None].clone().requires_grad_()
    mask = torch.ones(batch, rows, 1, 1, n, dtype=torch.bool, device="cuda")
    if case.mask is not None:
        mask = case.mask[:, :, None, None]

    def attend():
        return cuequivariance_torch.triangle_attention(q, k, v, bias, mask=mask, scale=dim**-0.5)

    return autograd(attend, [q, k, v, bias], dout.view(q.shape))


def trifast(case):
    from trifast.torch import triangle_attention

    batch, rows, heads, n, dim = case.shape
    (q, k, v), dout = case.rival_inputs()
    q, k, v, dout = (
        x.detach().view(batch, rows, heads, n, dim).transpose(1, 2).contiguous()
        for x in (q, k, v, dout)
    )
    leaves = [x.requires_grad_() for x in (q, k, v, case.bias.bfloat16())]
    return autograd(lambda: triangle_attention(*leaves, ~case.mask), leaves, dout)


def rivals(case, slow):
    """(name, maker) of those that can take the shape."""
    rows, masked = case.shape[1], case.mask is not None
    yield "SDPA, bias expanded" + (", no mask" if masked else ""), lambda: sdpa(case)
    yield "FlexAttention, learned bias" + (", no mask" if masked else ""), lambda: flex(case)
    if version("cuequivariance-torch") and rows > 1:
        yield f"cuEquivariance {version('cuequivariance-torch')}", lambda: cuequivariance(case)
    if version("trifast") and masked:
        yield f"trifast {version('trifast')}", lambda: trifast(case)
    if slow:
        yield "PyTorch eager", lambda: eager(case)
        yield "torch.compile", lambda: eager(case, compiled=True)


def time_in_turns(functions, rounds):
    """{name: sorted microseconds}; every function has run once before."""
    flush = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    times = {name: [] for name in functions}
    events = []
    for _ in range(rounds):
        for name, function in functions.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            flush.zero_()
            start.record()
            function()
            end.record()
            events.append((name, start, end))
        torch.cuda.synchronize()
    for name, start, end in events:
        times[name].append(1000 * start.elapsed_time(end))
    return {name: sorted(values[1:]) for name, values in times.items()}


def as_graph(function):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def peak_of(function):
    """MiB above the inputs."""
    gc.collect()
    torch.cuda.empty_cache()
    base = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    getattr(function, "whole", function)()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - base) / 2**20


def saved_of(function):
    """MiB that stay between forward and backward above the inputs: output, what autograd keeps."""
    if hasattr(function, "saved"):
        return function.saved
    gc.collect()
    base = torch.cuda.memory_allocated()
    result = function.recorded()
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated() - base
    del result
    return held / 2**20


def errors_of(kernels, case):
    """Relative error norms against fp64 of ours and of plain PyTorch in bf16, of output and each
    gradient, over the first eight rows: rows are alike, and fp64 scores are large."""
    few = slice(0, 8)
    q, k, v, dout = (x[:, few].contiguous() for x in (case.q, case.k, case.v, case.dout))
    mask = None if case.mask is None else case.mask[:, few]

    def by_torch(dtype):
        leaves = [x.detach().to(dtype).requires_grad_() for x in (q, k, v, case.bias)]
        out = evo_attention(*leaves, mask)
        return [out.detach(), *torch.autograd.grad(out, leaves, dout.to(dtype))]

    out, _, params = kernels.forward(q, k, v, case.bias, mask)
    got = [out, *kernels.backward(params, dout, q, k, v, case.bias)]
    names, errors = ("out", "dq", "dk", "dv", "dbias"), {}
    for name, ours, plain, exact in zip(
        names, got, by_torch(torch.bfloat16), by_torch(torch.float64)
    ):
        size = exact.norm()
        errors[name] = [((x.double() - exact).norm() / size).item() for x in (ours, plain)]
    return errors


def bench_shape(kernels, entry, options, rows):
    op, shape, *dims = entry
    case = Case(*dims)
    forward, both = {}, {}
    for name, maker in [("megafold", lambda: ours(kernels, case)), *rivals(case, options.slow)]:
        try:
            pair = maker()
            for function in pair:
                function()
            torch.cuda.synchronize()
            forward[name], both[name] = pair
        except Exception as error:  # a rival that cannot run here must not end the run
            if name == "megafold":
                raise
            print(f"{op} {shape}: {name} does not run: {type(error).__name__} {str(error)[:160]}")
    errors = errors_of(kernels, case)
    clock = torch.cuda.clock_rate() if version("nvidia-ml-py") else None
    versions = {name: version(name) for name in ("torch", "triton") if version(name)}
    for which, functions in (("fwd", forward), ("fwd+bwd", both)):
        timed = [(False, time_in_turns(functions, options.rounds))]
        if which == "fwd" and "megafold" in functions:
            graphed = {"megafold": as_graph(functions["megafold"])}
            timed.append((True, time_in_turns(graphed, options.rounds)))
        for graph, results in timed:
            for name, times in results.items():
                row = {
                    "op": op,
                    "shape": shape,
                    "impl": name,
                    "pass": which,
                    "us": round(times[len(times) // 2], 1),
                    "us_p10": round(times[len(times) // 10], 1),
                    "us_p90": round(times[9 * len(times) // 10], 1),
                    "peak_mib": None if graph else round(peak_of(functions[name]), 1),
                    "saved_mib": round(saved_of(functions[name]), 1) if which != "fwd" else None,
                    "graph": graph,
                    "commit": options.commit,
                    "date": datetime.date.today().isoformat(),
                    "sm_mhz": clock,
                    "versions": versions,
                }
                if name == "megafold":
                    row |= {"err": errors, "paths": PATHS, "tree": options.tree}
                rows.append(row)
                print(
                    f"{op:20s} {shape:18s} {which:8s} {name:38s} {row['us']:9.1f} us "
                    f"[{row['us_p10']:.1f} {row['us_p90']:.1f}]" + (" graph" if graph else ""),
                    flush=True,
                )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rows", help="where the rows go")
    parser.add_argument("--commit", default="", help="the commit that is measured")
    parser.add_argument("--tree", default="", help="SHA-1 of git rev-parse HEAD:PATH of the paths")
    parser.add_argument("--only", default="", help="shapes whose op and shape hold this")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--slow", action="store_true", help="eager and torch.compile too")
    parser.add_argument("--seconds", type=float, default=1e9, help="no shape is begun after these")
    options = parser.parse_args()
    began = time.monotonic()
    kernels, rows = Kernels(), []
    warm = torch.randn(8192, 8192, device="cuda").bfloat16()
    for _ in range(100):  # the clock rises within a fraction of a second of work
        warm @ warm
    for entry in SHAPES:
        if options.only not in f"{entry[0]} {entry[1]}":
            continue
        if time.monotonic() - began > options.seconds:
            print(f"{entry[0]} {entry[1]}: not timed, {options.seconds} s are over")
            continue
        bench_shape(kernels, entry, options, rows)
        torch._dynamo.reset()
        with open(options.rows, "w") as file:
            json.dump(rows, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
