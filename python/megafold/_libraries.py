# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Loads the two compiled libraries: _cpu.so always, _cuda.so where this torch has CUDA.

Neither needs a compiler or a GPU to load. `_cuda.so` links torch's CUDA library, which a CPU-only
torch does not have.
"""

from __future__ import annotations

import ctypes
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch

_FOLDER = Path(__file__).resolve().parent
_loaded: list[ctypes.CDLL] = []
_by_torch: Counter[tuple[str, str, tuple[str, ...]]] = Counter()


def _load(name: str) -> bool:
    path = _FOLDER / name
    if not path.exists():
        return False
    torch.ops.load_library(str(path))
    library = ctypes.CDLL(str(path))
    library.megafold_dispatch_counts.restype = ctypes.c_char_p
    library.megafold_dispatch_counts.argtypes = [ctypes.c_int]
    _loaded.append(library)
    return True


if not _load("_cpu.so"):
    raise ImportError(
        f"megafold's library _cpu.so is not in {_FOLDER}: a source folder, not an installed "
        "package. Run `pip install .` in the repository, and start Python outside python/."
    )
_CUDA = torch.version.cuda is not None and _load("_cuda.so")


def has_cuda() -> bool:
    """Whether the GPU kernels are part of this installation and of this torch."""
    return _CUDA


def count_by_torch(operation: str, reasons: tuple[str, ...]) -> None:
    """Counts a call that torch's own operators ran."""
    _by_torch[operation, "torch", reasons] += 1


@dataclass(frozen=True)
class DispatchCount:
    """How often an implementation ran an operation, and why those before it in the order did not.

    Implementations, in order of preference: "sm90a" (Hopper), "portable" (any GPU from sm_80 on),
    "cpu", "reference" (fp64, slow), "torch" (torch's own operators, O(queries x keys) memory).
    """

    operation: str
    implementation: str
    calls: int
    refused: tuple[str, ...] = field(default=())


class DispatchReport(list[DispatchCount]):
    """A list of DispatchCount that prints as a table."""

    def __str__(self) -> str:
        lines = []
        for count in self:
            calls = f"{count.calls} call{'' if count.calls == 1 else 's'}"
            lines.append(f"{count.operation:<28} {count.implementation:<10} {calls:>14}")
            lines += [f"  {reason}" for reason in count.refused]
        return "\n".join(lines) or "nothing ran yet"


def dispatch_report(*, reset: bool = False) -> DispatchReport:
    """What ran since the process started (or since the last call with `reset=True`), and why.

    No fall-back is silent: an operation that a faster implementation refused stands here with the
    reasons.

    Example:
        >>> q = torch.randn(1, 8, 32, 4, 32)
        >>> out = megafold.ops.evo_attention(q, q, q)
        >>> print(megafold.dispatch_report())
        evo_attention                cpu                1 call
    """
    counts = []
    for library in _loaded:
        for entry in json.loads(library.megafold_dispatch_counts(int(reset)).decode()):
            counts.append(DispatchCount(**{**entry, "refused": tuple(entry["refused"])}))
    counts += [
        DispatchCount(operation, implementation, calls, reasons)
        for (operation, implementation, reasons), calls in _by_torch.items()
    ]
    if reset:
        _by_torch.clear()
    return DispatchReport(sorted(counts, key=lambda c: (c.operation, -c.calls)))
