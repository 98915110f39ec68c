# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""megafold's attention under the unmodified packages of other teams.

    import megafold

    patched = megafold.patch("openfold3")     # from here on, until patched.restore()
    with megafold.patch("protenix"):          # or for a while
        loss = model(batch)
    print(patched.report())                   # what ran where, and why anything did not

A patch replaces the `forward` of a package's attention classes, nothing else: parameters,
checkpoints, configuration and autocast stay as they are. Covered are triangle attention (SI
algorithms 14 and 15) and attention with pair bias (24) of the single track and of the diffusion
transformer. What it does not cover (windows of atoms, biases of other forms) goes to the package's
own code and is counted with the reason.

One difference is visible: a row without any valid key gives 0 here, and the mean of all values
there. Such rows are padding, which both packages mask wherever they read it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
from collections import Counter
from typing import Callable

import torch

from megafold import ops

__all__ = ["PatchError", "Patched", "patch"]

# A mask travels as a bias of 0 or about -1e9; anything below this is "may not be attended".
_MASKED_BELOW = -1e8


class PatchError(RuntimeError):
    """The package is missing, of a version that was never checked, or patched already."""


class _NotCovered(Exception):
    """Raised inside a replaced forward: the package's own one must run, for this reason."""


def _heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[..., N, H * D] -> [..., N, H, D], a view."""
    return x.unflatten(-1, (heads, -1))


def _is_shared(t: torch.Tensor, dim: int) -> bool:
    """Whether all entries along a leading dimension are the same memory."""
    return t.shape[dim] == 1 or t.stride(dim) == 0


def _rows_that_share(lead: torch.Size, bias: torch.Tensor) -> int:
    """How many of q's leading dimensions, from the right, are rows that share the bias.

    `bias` has as many leading dimensions as q, then H, Q, K. Dimensions left of those rows are
    batches: one bias each. Raises _NotCovered where a shared dimension stands left of another.
    """
    shared = [_is_shared(bias, d) or lead[d] == 1 for d in range(len(lead))]
    rows = 0
    while rows < len(lead) and shared[len(lead) - 1 - rows]:
        rows += 1
    for d in range(len(lead) - rows):
        if bias.shape[d] != lead[d]:
            raise _NotCovered("the bias is shared by an outer, but not by an inner dimension")
    return rows


def _attend(q, k, v, bias, mask, gate, scale):
    """Attention over any number of leading dimensions.

    q, gate [*, Q, H, D]; k, v [*, K, H, D]; bias broadcasts to [*, H, Q, K], or None; mask (bool)
    broadcasts to [*, K], or None. Returns [*, Q, H, D].
    """
    lead = q.shape[:-3]
    rows = len(lead)
    if bias is not None:
        bias = bias.reshape((1,) * (len(lead) + 3 - bias.dim()) + tuple(bias.shape))
        rows = _rows_that_share(lead, bias)
    split = len(lead) - rows
    batch, row = math.prod(lead[:split]), math.prod(lead[split:])
    if bias is not None:
        for d in range(split, len(lead)):
            bias = bias.narrow(d, 0, 1)
        bias = bias.reshape(batch, *bias.shape[-3:])
        bias = bias.expand(batch, q.shape[-2], q.shape[-3], k.shape[-3])
        if bias.dtype not in (q.dtype, torch.float32):
            bias = bias.to(q.dtype)
    if mask is not None:
        mask = mask.expand(*lead, k.shape[-3]).reshape(batch, row, k.shape[-3])
    q, k, v = (t.reshape(batch, row, *t.shape[-3:]) for t in (q, k, v))
    if gate is not None:
        gate = gate.reshape(q.shape)
    out = ops.evo_attention(q, k, v, bias=bias, mask=mask, gate=gate, scale=scale)
    return out.reshape(*lead, *out.shape[-3:])


def _sort_biases(biases) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """(pair bias, bool mask [*, K]) of a list of biases that broadcast to [*, H, Q, K]."""
    pair = mask = None
    for bias in biases or []:
        if bias.dim() >= 3 and bias.shape[-3] == 1 and bias.shape[-2] == 1:
            if mask is not None:
                raise _NotCovered("two masks over keys")
            mask = bias[..., 0, 0, :] > _MASKED_BELOW
        elif pair is None:
            pair = bias
        else:
            raise _NotCovered("two biases over pairs")
    return pair, mask


def _project(module, q_x, kv_x, heads):
    q, k, v = (
        _heads(linear(x), heads)
        for linear, x in (
            (module.linear_q, q_x),
            (module.linear_k, kv_x),
            (module.linear_v, kv_x),
        )
    )
    gate = None if module.linear_g is None else _heads(module.linear_g(q_x), heads)
    return q, k, v, gate


def _multi_head(module, q_x, kv_x, biases, heads, wide=False):
    """The whole of an attention module: projections, core with gate, output projection."""
    pair, mask = _sort_biases(biases)
    q, k, v, gate = _project(module, q_x, kv_x, heads)
    narrow = q.dtype
    if wide:
        q, k, v = q.float(), k.float(), v.float()
        gate = None if gate is None else gate.float()
    out = _attend(q, k, v, pair, mask, gate, 1.0 / math.sqrt(module.c_hidden))
    return module.linear_o(out.to(narrow).flatten(-2))


# ------------------------------------------------------------------------------------- the packages


def _openfold3_attention(module, q_x, kv_x, biases=None, **options):
    if options.get("use_lma"):
        raise _NotCovered("low-memory attention was asked for")
    wide = bool(options.get("use_high_precision"))
    return _multi_head(module, q_x, kv_x, biases, module.no_heads, wide)


def _protenix_triangle(module, q_x, kv_x, biases=None, triangle_attention="torch"):
    return _multi_head(module, q_x, kv_x, biases, module.no_heads)


def _protenix_attention(module, q_x, kv_x, attn_bias=None, trunked_attn_bias=None, **options):
    if trunked_attn_bias is not None or (options.get("n_queries") and options.get("n_keys")):
        raise _NotCovered("windows of atoms")
    if attn_bias is not None and attn_bias.dim() != q_x.dim() + 1:
        attn_bias = attn_bias.unsqueeze(-3)
    return _multi_head(
        module, q_x, kv_x, [attn_bias] if attn_bias is not None else [], module.num_heads
    )


# package: (versions that were checked, [(module, class, replacement)])
_PACKAGES: dict[str, tuple[tuple[str, ...], list[tuple[str, str, Callable]]]] = {
    "openfold3": (
        ("0.5.0",),
        [("openfold3.core.model.primitives.attention", "Attention", _openfold3_attention)],
    ),
    "protenix": (
        ("2.0.0",),
        [
            ("protenix.model.triangular.layers", "Attention", _protenix_triangle),
            ("protenix.model.modules.primitives", "Attention", _protenix_attention),
        ],
    ),
}


class Patched:
    """A patch in force. A context manager; `restore()` ends it, `report()` says what it did."""

    def __init__(self, package: str):
        versions, places = _PACKAGES[package]
        self.package = package
        self.version = _checked_version(package, versions)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._originals: list[tuple[type, Callable]] = []
        for module_name, class_name, replacement in places:
            owner = getattr(importlib.import_module(module_name), class_name)
            if hasattr(owner.forward, "__megafold__"):
                self.restore()
                raise PatchError(f"{package} is patched already: restore() the first patch before")
            self._originals.append((owner, owner.forward))
            owner.forward = self._wrap(f"{module_name}.{class_name}", owner.forward, replacement)

    def _wrap(self, place: str, original: Callable, replacement: Callable) -> Callable:
        counts = self._counts

        def forward(module, *args, **kwargs):
            try:
                out = replacement(module, *args, **kwargs)
            except _NotCovered as reason:
                counts[place, f"the package's own code: {reason}"] += 1
                return original(module, *args, **kwargs)
            counts[place, "megafold"] += 1
            return out

        forward.__megafold__ = True
        return forward

    def report(self) -> dict[str, dict[str, int]]:
        """{class: {"megafold" or the reason why not: calls}}."""
        table: dict[str, dict[str, int]] = {}
        for (place, what), calls in sorted(self._counts.items()):
            table.setdefault(place, {})[what] = calls
        return table

    def restore(self) -> None:
        """Puts the package's own code back. Does nothing the second time."""
        while self._originals:
            owner, original = self._originals.pop()
            owner.forward = original

    def __enter__(self) -> Patched:
        return self

    def __exit__(self, *_) -> None:
        self.restore()


def _checked_version(package: str, versions: tuple[str, ...]) -> str:
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise PatchError(
            f"{package} is not installed here: pip install {package}=={versions[-1]}"
        ) from None
    if version not in versions:
        raise PatchError(
            f"{package} {version} was never checked against megafold; versions that were: "
            f"{', '.join(versions)}. Install one of them, or run without the patch."
        )
    return version


def patch(package: str) -> Patched:
    """Puts megafold's attention under `package`: "openfold3" (0.5.0) or "protenix" (2.0.0).

    Returns the patch, in force at once: a context manager that ends it on leaving, with `restore()`
    and `report()`. Raises PatchError for a package that is missing, of an unknown version or
    patched already, and ValueError for a name that is no package known here.
    """
    if package not in _PACKAGES:
        raise ValueError(f"no patch for '{package}': known are {', '.join(_PACKAGES)}")
    return Patched(package)
