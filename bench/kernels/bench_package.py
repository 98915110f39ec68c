# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Times what the Python package adds to the kernels, on one GPU: windows of atoms and the module
TriangleAttention. Needs the package on the path; writes rows for bench/results/<gpu>.json.

  python3 bench_package.py ROWS.json [--commit SHA --trees JSON] [--only SUBSTRING]

--trees: {"paths joined by a comma": SHA-1}, from bench_report.tree_of. As bench_evo_attention.py
in all else, whose timing it uses.
"""

import argparse
import datetime
import json
import sys

import megafold
import torch
from bench_evo_attention import as_graph, autograd, peak_of, saved_of, time_in_turns, version

KERNELS = ["kernels/evo_attention", "kernels/common"]
WINDOW_PATHS = KERNELS
MODULE_PATHS = [*KERNELS, "kernels/layernorm", "python/csrc", "python/megafold/_triangle.py"]
QUERIES, KEYS = 32, 128


class Windows:
    """Algorithm 7's attention: 48 samples, 24 atoms a token, heads of 32."""

    op, paths = "atom_attention", WINDOW_PATHS

    def __init__(self, tokens, samples=48, heads=4, dim=32):
        make = torch.Generator("cuda").manual_seed(0)
        self.atoms, self.samples, self.heads, self.dim = 24 * tokens, samples, heads, dim
        self.shape = f"N{tokens} A{self.atoms} B{samples} H{heads} D{dim}"
        self.windows = self.atoms // QUERIES

        def leaf(*size):
            return torch.randn(*size, generator=make, device="cuda").bfloat16().requires_grad_()

        self.qkvg = leaf(1, samples, self.atoms, 4, heads, dim)
        self.bias = leaf(1, self.windows, heads, QUERIES, KEYS)
        self.dout = leaf(1, samples, self.atoms, heads, dim).detach()
        first = torch.arange(self.windows, device="cuda") * QUERIES + (QUERIES - KEYS) // 2
        index = first[:, None] + torch.arange(KEYS, device="cuda")
        self.inside = (index >= 0) & (index < self.atoms)
        self.index = index.clamp(0, self.atoms - 1).flatten()

    def leaves(self):
        return [self.qkvg, self.bias]

    def ours(self):
        q, k, v, gate = self.qkvg.unbind(3)
        return megafold.ops.atom_attention(q, k, v, bias=self.bias, gate=gate)

    def eager(self, qkvg=None, bias=None):
        """With keys and values gathered, as the peers have it."""
        qkvg, bias = self.qkvg if qkvg is None else qkvg, self.bias if bias is None else bias
        q, k, v, gate = qkvg[0].unbind(2)

        def windows(t, count):
            return t.view(self.samples, self.windows, count, self.heads, self.dim).permute(
                1, 0, 3, 2, 4
            )

        k, v = (windows(t.index_select(1, self.index), KEYS) for t in (k, v))
        scores = windows(q, QUERIES) @ k.mT * self.dim**-0.5 + bias[0][:, None]
        scores = scores.masked_fill(~self.inside[:, None, None, None], -torch.inf)
        out = (scores.softmax(-1) @ v).permute(1, 0, 3, 2, 4).reshape(gate.shape)
        return (out * gate.sigmoid())[None]

    def exact(self):
        leaves = [t.detach().double().requires_grad_() for t in self.leaves()]
        return self.eager(*leaves), leaves

    def shrink(self):
        return Windows(24, 4)

    def functions(self):
        return {
            "megafold": self.ours,
            "PyTorch eager, keys gathered": self.eager,
        }


class Module:
    """TriangleAttention with its residual, dropout off."""

    op, paths = "triangle_attention", MODULE_PATHS

    def __init__(self, tokens, channels=128, heads=4):
        torch.manual_seed(0)
        self.shape = f"N{tokens} C{channels} H{heads} D{channels // heads}"
        self.module = megafold.nn.TriangleAttention(channels, heads).cuda().bfloat16()
        for p in self.module.parameters():
            torch.nn.init.normal_(p, std=0.1 if p.dim() == 2 else 1.0)
        self.z = torch.randn(1, tokens, tokens, channels, device="cuda").bfloat16().requires_grad_()
        self.mask = torch.rand(1, tokens, tokens, device="cuda") > 0.05
        self.mask.diagonal(0, 1, 2).fill_(True)
        self.dout = torch.randn_like(self.z)

    def leaves(self):
        return [self.z, *self.module.parameters()]

    def ours(self):
        return self.module(self.z, self.mask, residual=True)

    def steps(self, attend, leaves=None):
        z, gamma, beta, projection, bias, out = leaves or self.leaves()
        x = torch.nn.functional.layer_norm(z, z.shape[-1:], gamma, beta)
        q, k, v, gate = (x @ projection.T).unflatten(-1, (4, self.module.heads, -1)).unbind(3)
        q, k, v = (t.transpose(2, 3) for t in (q, k, v))  # [B, R, H, N, D]
        attended = attend(q, k, v, (x @ bias.T).permute(0, 3, 1, 2))
        return z + (attended.transpose(2, 3) * gate.sigmoid()).flatten(-2) @ out.T

    def plain(self, q, k, v, bias):
        scores = q @ k.mT * q.shape[-1] ** -0.5 + bias[:, None]
        scores = scores.masked_fill(~self.mask[:, :, None, None], -torch.inf)
        return scores.softmax(-1) @ v

    def eager(self):
        return self.steps(self.plain)

    def cuequivariance(self):
        import cuequivariance_torch

        def attend(q, k, v, bias):
            return cuequivariance_torch.triangle_attention(
                q.contiguous(), k.contiguous(), v.contiguous(), bias[:, None].float().contiguous(),
                mask=self.mask[:, :, None, None], scale=q.shape[-1] ** -0.5,
            )  # fmt: skip

        return self.steps(attend)

    def exact(self):
        leaves = [t.detach().double().requires_grad_() for t in self.leaves()]
        return self.steps(self.plain, leaves), leaves

    def shrink(self):
        return Module(64)

    def functions(self):
        found = {
            "megafold": self.ours,
            "PyTorch eager": self.eager,
            "torch.compile": torch.compile(self.eager, dynamic=False),
        }
        if version("cuequivariance-torch"):
            name = f"cuEquivariance {version('cuequivariance-torch')}'s core"
            found[name] = self.cuequivariance
        return found


def errors_of(case):
    """Of a small case of the kind, against fp64: {output or leaf: [ours, PyTorch's in bf16]}."""
    small = case.shrink()
    out, leaves = small.exact()
    exact = [out.detach(), *torch.autograd.grad(out, leaves, small.dout.double())]

    def run(function):
        result = function()
        return [result.detach(), *torch.autograd.grad(result, small.leaves(), small.dout)]

    names = ["out", "dqkvg", "dbias"]
    if isinstance(small, Module):
        names = ["out", "dz", *(f"d{name}" for name, _ in small.module.named_parameters())]
    return {
        name: [((x.double() - want).norm() / want.norm()).item() for x in pair]
        for name, want, *pair in zip(names, exact, run(small.ours), run(small.eager))
    }


def bench(case, options, rows):
    forward, both = {}, {}
    for name, function in case.functions().items():
        try:
            pair = autograd(function, case.leaves(), case.dout)
            for run in pair:
                run()
            torch.cuda.synchronize()
            forward[name], both[name] = pair
        except Exception as error:
            if name == "megafold":
                raise
            print(f"{case.op} {case.shape}: {name} does not run: {str(error)[:160]}")
    errors = errors_of(case)
    for which, functions in (("fwd", forward), ("fwd+bwd", both)):
        timed = [(name, False, t) for name, t in time_in_turns(functions, options.rounds).items()]
        # The same from a CUDA graph: what the kernels take, and what is left of an eager call is
        # the host's.
        try:
            graphed = {"megafold": as_graph(functions["megafold"])}
            times = time_in_turns(graphed, options.rounds)["megafold"]
            timed.append(("megafold", True, times))
        except RuntimeError as error:
            print(f"{case.op} {case.shape} {which}: no CUDA graph: {str(error)[:160]}")
        for name, graph, times in timed:
            row = {
                "op": case.op,
                "shape": case.shape,
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
                "sm_mhz": torch.cuda.clock_rate() if version("nvidia-ml-py") else None,
                "versions": {n: version(n) for n in ("torch", "triton") if version(n)},
            }
            if name == "megafold":
                tree = options.trees.get(",".join(case.paths), "")
                row |= {"err": errors, "paths": case.paths, "tree": tree}
            rows.append(row)
            print(
                f"{case.op:20s} {case.shape:24s} {which:8s} {name:34s} {row['us']:9.1f} us "
                f"[{row['us_p10']:.1f} {row['us_p90']:.1f}] peak {row['peak_mib']} saved "
                f"{row['saved_mib']}" + (" graph" if graph else ""),
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rows", help="where the rows go")
    parser.add_argument("--commit", default="", help="the commit that is measured")
    parser.add_argument("--trees", type=json.loads, default={}, help="SHA-1 of each set of paths")
    parser.add_argument("--only", default="", help="shapes whose op and shape hold this")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rows = []
    warm = torch.randn(8192, 8192, device="cuda").bfloat16()
    for _ in range(100):
        warm @ warm
    for make, tokens in ((Module, 384), (Module, 768), (Windows, 384)):
        if options.only not in f"{make.op} N{tokens}":
            continue
        bench(make(tokens), options, rows)
        torch._dynamo.reset()
        torch.cuda.empty_cache()
        with open(options.rows, "w") as file:
            json.dump(rows, file, indent=1)
    print(megafold.dispatch_report())
    return 0


if __name__ == "__main__":
    sys.exit(main())
