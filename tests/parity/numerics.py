# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""docs/numerics.md from what `megafold parity` printed.

megafold parity golden/protenix > f64.txt
python tests/parity/numerics.py "Protenix 2.0.0, f64=f64.txt" ... > docs/numerics.md

"TITLE=f32.txt,single.json,f32.txt,single.json": whole models at several seeds, each with what its
maker left with --single.
"""

import json
import re
import sys
from pathlib import Path
from statistics import median

HEAD = """\
# Numerics
The model's modules and losses beside the peers' own, on golden vectors: weights, inputs and
cotangents from a file, outputs and gradients compared. Errors are the largest |ours - theirs| over
the largest |theirs|, less what storing the golden value as f32 rounded. Limits: f64 1e-11, f32
5e-6 (2e-4 for the sampler). This page is made by `tests/parity/numerics.py` from the output of
`megafold parity`; the vectors' makers are in `tests/parity/`.

Whole models in f32 stand beside the peer's own f32, measured against the same f64: there a sum's
order or a ReLU decides, and 5e-6 is no limit that a peer keeps. A ReLU whose input is within f32's
rounding of 0 may be on either side of it, and the gradients of the pairs of atoms before it differ
by 1e-4 to 5e-3 then; the last column tells at how many seeds it happened to the peer, in padding
too. Errors there are the larger of outputs and parameters.

AlphaFold 3 exists in dialects: `src/model/conventions.h` says where they differ.
"""
LIMIT = 5e-6  # of f32
ROW = re.compile(r"^(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(passed|FAILED.*)$")
SKIPPED = re.compile(r"^(\S+)\s+skipped: (.*)$")


def beside_single(title: str, runs: list[tuple[str, dict]]) -> str:
    """Ours and the peer's float32 from the same float64, over the seeds of `runs`."""
    cases: dict[str, list[tuple[float, dict]]] = {}
    for text, single in runs:
        for row in filter(None, map(ROW.match, text.splitlines())):
            name, *errors, _ = row.groups()
            cases.setdefault(name, []).append((max(map(float, errors)), single[name]))
    out = [
        f"\n## {title}\n",
        f"| case, {len(runs)} seeds | median | the peer's | worst | the peer's "
        f"| over {LIMIT:.0e} | the peer's | a ReLU turned in the peer's |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    total = [0, 0]
    for name, seeds in cases.items():
        ours = [error for error, _ in seeds]
        peer = [max(one["outputs"], one["parameters"]) for _, one in seeds]
        over = [sum(error > LIMIT for error in errors) for errors in (ours, peer)]
        turned = sum(one["relus_turned"] > 0 for _, one in seeds)
        out.append(
            f"| {name} | {median(ours):.1e} | {median(peer):.1e} | {max(ours):.1e} | "
            f"{max(peer):.1e} | {over[0]} | {over[1]} | {turned} |"
        )
        total = [a + b for a, b in zip(total, over)]
    number = sum(map(len, cases.values()))
    out.append(f"\nOver {LIMIT:.0e}: {total[0]} of {number} of ours, {total[1]} of the peer's.")
    return "\n".join(out) + "\n"


def section(title: str, text: str) -> str:
    lines = text.strip().splitlines()
    out = [f"\n## {title}\n{lines[-1]}.\n", "| case | outputs | input gradients | parameters |"]
    out.append("|---|--:|--:|--:|")
    skipped = []
    for line in lines:
        if row := ROW.match(line):
            name, *errors, verdict = row.groups()
            mark = "" if verdict == "passed" else " **failed**"
            out.append(f"| {name}{mark} | " + " | ".join(errors) + " |")
        elif skip := SKIPPED.match(line):
            skipped.append(f"{skip[1]} ({skip[2]})")
    if skipped:
        out.append("\nSkipped: " + "; ".join(skipped) + ".")
    return "\n".join(out) + "\n"


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print(HEAD, end="")
    for argument in sys.argv[1:]:
        title, _, files = argument.rpartition("=")
        texts = [Path(file).read_text() for file in files.split(",")]
        if len(texts) == 1:
            print(section(title, texts[0]), end="")
        else:
            runs = [(text, json.loads(single)) for text, single in zip(texts[::2], texts[1::2])]
            print(beside_single(title, runs), end="")


if __name__ == "__main__":
    main()
