# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Random calls of both operators against the formula in fp64: any shape, layout, dtype, mask.

A seed is a case. What may be wrong is not guessed: the error norm of each result stays near that of
the same formula run by torch in the same dtype, and a floor covers what cancels. The floor is the
size of the terms before they cancel, times half a unit of the dtype.

MEGAFOLD_FUZZ=first:last runs other seeds; a failure names its own.
"""

import os
import random

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("megafold")
from megafold import ops  # noqa: E402

WINDOW = (32, 128)


def seeds():
    first, last = (int(x) for x in os.environ.get("MEGAFOLD_FUZZ", "0:60").split(":"))
    return range(first, last)


class Case:
    """Everything about a call, drawn from a seed. `bases` are leaves; `views()` makes arguments."""

    def __init__(self, seed, device):
        self.device, self.pick = device, random.Random(seed)
        pick, gpu = self.pick, device == "cuda"
        self.generator = torch.Generator().manual_seed(seed)
        self.atoms = pick.random() < 0.25
        types = [torch.float32, torch.bfloat16, torch.float16]
        self.dtype = pick.choice([*types, torch.bfloat16] if gpu else [*types, torch.float64])
        widths = [16, 24, 32, 32, 48, 64, 128] if gpu else [1, 8, 16, 24, 32, 33, 48, 64, 128]
        self.d, self.h = pick.choice(widths), pick.choice([1, 2, 3, 4, 5])
        self.b, self.r = pick.choice([1, 1, 2, 3]), pick.choice([1, 2, 3, 4, 5, 7, 9, 17])
        lengths = [1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 97]
        if gpu:
            lengths += [127, 128, 129, 130, 192, 203, 256, 385]
        self.nq = pick.choice(lengths)
        self.nk = pick.choice([self.nq, self.nq, pick.choice(lengths)])
        if self.atoms:
            self.nq = self.nk = pick.choice([1, 20, 32, 33, 64, 97, 150, 260])
        self.layout = pick.choice(
            ["apart", "projection", "ending", "head major", "odd", "expanded"]
        )
        self.scale = pick.choice([None, None, None, 0.3, -0.2, 0.0])
        self.spread = pick.choice([0.5, 1.0, 3.0])
        self.mask_kind = pick.choice(["none", "holes", "holes", "empty row", "one key", "expanded"])
        self.has_gate = pick.random() < 0.6
        self.bias_kind = pick.choice(
            ["none", "plain", "plain", "token major", "expanded", "odd", "wide", "-inf"]
        )
        if self.bias_kind == "-inf":  # a row that both close is NaN in every framework
            self.mask_kind = "none"
        self.bias_dtype = self.dtype
        if self.dtype in (torch.bfloat16, torch.float16) and pick.random() < 0.5:
            self.bias_dtype = torch.float32
        self.dout_kind = pick.choice(["plain", "expanded", "summed", "head major", "odd"])
        self.shifted = pick.random() < 0.4
        self.bases, self.wanted = {}, {}
        self.draw()

    def __str__(self):
        hidden = ("pick", "generator", "bases", "wanted", "mask", "dout", "first_key")
        return ", ".join(f"{k}={v}" for k, v in vars(self).items() if k not in hidden)

    def normal(self, *shape, dtype=None):
        x = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return x.to(self.device, dtype or self.dtype)

    def leaf(self, name, *shape, dtype=None, factor=1.0):
        # Some leaves want no gradient; the first always does.
        wanted = name in ("q", "all") or self.pick.random() < 0.75
        x = (self.normal(*shape, dtype=dtype) * factor).detach().requires_grad_(wanted)
        self.bases[name] = x

    def draw(self):
        b, r, h, d, nq, nk = self.b, self.r, self.h, self.d, self.nq, self.nk
        if self.layout in ("projection", "ending") and nq == nk:
            shape = (b, nq, r, 4, h, d) if self.layout == "ending" else (b, r, nq, 4, h, d)
            self.leaf("all", *shape, factor=self.spread)
        else:
            for name, n in (("q", nq), ("k", nk), ("v", nk), ("gate", nq)):
                if name == "gate" and not self.has_gate:
                    continue
                if self.layout == "head major":
                    shape = (b, r, h, n, d)
                elif self.layout == "expanded":
                    shape = (b, 1, n, h, d)
                elif self.layout == "odd":
                    shape = (b, r, n, h, d + 3)
                else:
                    shape = (b, r, n, h, d)
                self.leaf(name, *shape, factor=self.spread if name != "v" else 1.0)
        keys, batch = nk, (b,)
        if self.atoms:
            windows = -(-nq // WINDOW[0])
            batch, nq, keys = (b, windows), *WINDOW
        kind = self.bias_kind
        if kind != "none":
            shape = {
                "token major": (*batch, nq, keys, h),
                "expanded": (*batch[:-1], 1, 1, nq, keys),
                "odd": (*batch, h, nq, keys + 3),
            }.get(kind, (*batch, h, nq, keys))
            factor = 1e3 if kind == "wide" else 2.0
            self.leaf("bias", *shape, dtype=self.bias_dtype, factor=factor)
        self.mask, shape = None, (b, r, nk)
        if self.mask_kind != "none":
            self.mask = torch.rand(shape, generator=self.generator) > 0.3
            if self.mask_kind == "one key":
                self.mask[:] = False
                self.mask[..., self.pick.randrange(nk)] = True
            elif self.mask_kind == "empty row":
                self.mask[0, self.pick.randrange(r)] = False
            elif self.mask_kind == "expanded":
                self.mask = self.mask[:, :1]
            self.mask = self.mask.to(self.device)
            if self.mask_kind == "expanded":
                self.mask = self.mask.expand(shape)
            if self.mask_kind == "holes":  # keys not contiguous
                self.mask = self.mask.transpose(1, 2).contiguous().transpose(1, 2)
        self.first_key = None
        if self.atoms and self.shifted:
            first = torch.arange(batch[1]) * WINDOW[0] - (WINDOW[1] - WINDOW[0]) // 2
            first = first.clamp(max=max(self.nq - WINDOW[1], 0)).clamp(min=0)
            self.first_key = first.to(self.device)
        out = (b, r, self.nq, h, d)
        if self.dout_kind == "expanded":
            self.dout = self.normal(1, 1, 1, 1, 1).expand(out)
        elif self.dout_kind == "summed":
            self.dout = self.normal(b, r, 1, h, d).expand(out)
        elif self.dout_kind == "head major":
            self.dout = self.normal(b, r, h, self.nq, d).transpose(2, 3)
        elif self.dout_kind == "odd":
            self.dout = self.normal(b, r, self.nq, h, d + 1)[..., 1:]
        else:
            self.dout = self.normal(*out)

    def views(self, bases):
        """q, k, v, bias, gate as the call gets them, from leaves of any dtype."""
        if "all" in bases:
            x = bases["all"].transpose(1, 2) if self.layout == "ending" else bases["all"]
            q, k, v, gate = x.unbind(3)
        else:
            q, k, v, gate = (bases.get(name) for name in ("q", "k", "v", "gate"))

        def place(t):
            if t is None or "all" in bases:
                return t
            if self.layout == "head major":
                return t.transpose(2, 3)
            if self.layout == "expanded":
                return t.expand(-1, self.r, -1, -1, -1)
            return t[..., 3:] if self.layout == "odd" else t

        bias = bases.get("bias")
        if bias is not None:
            if self.bias_kind == "token major":
                bias = bias.movedim(-1, -3)
            elif self.bias_kind == "expanded":
                full = [-1] * bias.dim()
                full[-3] = self.h
                if not self.atoms:
                    full[0] = self.b
                else:
                    full[1] = -(-self.nq // WINDOW[0])
                bias = bias.expand(full)
            elif self.bias_kind == "odd":
                bias = bias[..., 3:]
            elif self.bias_kind == "-inf":  # the first key stays open
                closed = torch.zeros_like(bias, dtype=torch.bool)
                closed[..., 1::3] = True
                bias = bias.masked_fill(closed, -torch.inf)
        return place(q), place(k), place(v), bias, place(gate) if self.has_gate else None


def in_windows(case, q, k, v, bias, mask, gate):
    """Gathers keys, so that a window is a batch: [B, R, A, H, D] -> [B W, R, n, H, D]."""
    queries, keys = WINDOW
    b, r, atoms = q.shape[:3]
    count = -(-atoms // queries)
    first = case.first_key
    if first is None:
        first = torch.arange(count, device=q.device) * queries - (keys - queries) // 2
    index = first[:, None] + torch.arange(keys, device=q.device)
    inside = (index >= 0) & (index < atoms)
    flat = index.clamp(0, atoms - 1).flatten()

    def split(t):
        pad = (0, 0, 0, 0, 0, count * queries - atoms)
        t = torch.nn.functional.pad(t, pad).unflatten(2, (count, queries))
        return t.transpose(1, 2).flatten(0, 1)

    def gather(t):
        return t.index_select(2, flat).unflatten(2, (count, keys)).transpose(1, 2).flatten(0, 1)

    open_keys = inside[None, :, None].expand(b, -1, r, -1).flatten(0, 1)
    if mask is not None:
        open_keys = open_keys & gather(mask)
    bias = None if bias is None else bias.flatten(0, 1)
    return split(q), gather(k), gather(v), bias, open_keys, None if gate is None else split(gate)


def formula(case, q, k, v, bias, gate):
    """In the tensors' dtype, as a framework runs it; differentiable."""
    mask, atoms = case.mask, q.shape[2]
    if case.atoms:
        q, k, v, bias, mask, gate = in_windows(case, q, k, v, bias, mask, gate)
    scale = q.shape[-1] ** -0.5 if case.scale is None else case.scale
    q, k, v = (t.transpose(2, 3) for t in (q, k, v))
    scores = q @ k.mT * scale
    if bias is not None:
        scores = (scores + bias[:, None]).to(torch.promote_types(q.dtype, bias.dtype))
    if mask is not None:
        closed = ~mask[:, :, None, None]
        empty = closed.all(-1, keepdim=True)
        scores = scores.masked_fill(closed & ~empty, -torch.inf).masked_fill(empty, 0)
    weights = scores.softmax(-1)
    if mask is not None:
        weights = weights.masked_fill(empty, 0)
    out = (weights.to(v.dtype) @ v).transpose(2, 3)
    out = out if gate is None else out * gate.sigmoid()
    if not case.atoms:
        return out
    out = out.unflatten(0, (case.b, -1)).transpose(1, 2).flatten(2, 3)
    return out[:, :, :atoms]


def sizes(case, q, k, v, bias, gate, dout):
    """The size of the terms of out, dq, dk, dv, dbias and dgate before they cancel, in fp64."""
    mask = case.mask
    gates = torch.ones_like(q) if gate is None else gate
    if case.atoms:
        queries = q.shape[2]
        q, k, v, bias, mask, gates = in_windows(case, q, k, v, bias, mask, gates)
        pad = (0, 0, 0, 0, 0, -queries % WINDOW[0])
        dout = torch.nn.functional.pad(dout, pad).unflatten(2, (-1, WINDOW[0]))
        dout = dout.transpose(1, 2).flatten(0, 1)
    scale = q.shape[-1] ** -0.5 if case.scale is None else case.scale
    q, k, v, dout, gates = (t.transpose(2, 3) for t in (q, k, v, dout, gates))
    g = gates.sigmoid() if gate is not None else torch.ones_like(gates)
    scores, size = q @ k.mT * scale, q.abs() @ k.abs().mT * abs(scale)
    if bias is not None:
        scores = scores + bias[:, None]
        size = size + bias.abs()[:, None]
    if mask is not None:
        scores = scores.masked_fill(~mask[:, :, None, None], -torch.inf)
    p = scores.softmax(-1).nan_to_num(0)
    size = size.where(p > 0, 0)
    p = p * (2 + size + (p * size).sum(-1, keepdim=True))  # what an error of S makes of P
    a, da = p @ v.abs(), (dout * g).abs()
    dp = da @ v.abs().mT
    ds = p * (dp + (p * dp).sum(-1, keepdim=True))
    found = [
        a * g, ds @ k.abs() * abs(scale), ds.mT @ q.abs() * abs(scale), p.mT @ da,
        ds.sum(1), da * a * (1 - g),
    ]  # fmt: skip
    # Roundings of many terms scatter; where all queries are alike (scale 0) they add up.
    terms = 1 if scale == 0 else max(1, min(k.shape[-2], q.shape[-2]))
    return [t.norm().item() / terms**0.5 for t in found]


def results(case, call, dtype=None):
    """[out, gradients of the leaves that want one], NaN in whatever memory comes next."""
    bases = {
        name: t.detach().to(dtype or t.dtype).requires_grad_(t.requires_grad)
        for name, t in case.bases.items()
    }
    wanted = [t for t in bases.values() if t.requires_grad]
    views = case.views(bases)
    if case.device == "cuda":
        poison = [torch.full((n,), torch.nan, device="cuda") for n in (2**10, 2**16, 2**19, 2**23)]
        del poison
    out = call(*views)
    return [out.detach(), *torch.autograd.grad(out, wanted, case.dout.to(out.dtype))]


def ours(case):
    def call(q, k, v, bias, gate):
        if case.atoms:
            return ops.atom_attention(
                q, k, v, bias, case.mask, gate, case.scale, window=WINDOW, first_key=case.first_key
            )
        return ops.evo_attention(q, k, v, bias, case.mask, gate, case.scale)

    return call


def unit_of(case):
    """Half a unit in the last place; fp32 products on a GPU are TF32."""
    if case.device == "cuda" and case.dtype == torch.float32:
        return 2.0**-11
    return torch.finfo(case.dtype).eps / 2


DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", seeds())
def test_a_random_call(seed, device):
    case = Case(seed, device)
    got, again = (results(case, ours(case)) for _ in range(2))
    plain = results(case, lambda *a: formula(case, *a))
    exact = results(case, lambda *a: formula(case, *a), torch.float64)
    with torch.no_grad():
        wide = {name: t.detach().double() for name, t in case.bases.items()}
        views = case.views(wide)
        size = dict(
            zip(
                ("out", "q", "k", "v", "bias", "gate"),
                sizes(case, *views, case.dout.double()),
            )
        )
    unit = unit_of(case)
    names = ["out", *(name for name, t in case.bases.items() if t.requires_grad)]
    for name, a, b, p, e in zip(names, got, again, plain, exact):
        assert torch.equal(a, b), f"{name} differs between two runs: {case}"
        parts = ("q", "k", "v", "gate") if name == "all" else (name,)
        floor = unit * sum(size[part] ** 2 for part in parts) ** 0.5
        ours_off, plain_off = ((t.double() - e).norm().item() for t in (a, p))
        most = 1.3 * plain_off + (4 if case.dtype == torch.float64 else 1) * floor + 1e-30
        assert ours_off <= most, f"{name}: {ours_off:.3g} > {most:.3g} ({plain_off:.3g}): {case}"
