# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""docs/numerics.md from what `megafold parity` printed.

megafold parity golden/protenix > f64.txt
python tests/parity/numerics.py "Protenix 2.0.0, f64=f64.txt" ... > docs/numerics.md

A second file, "TITLE=f32.txt,single.json", is what a maker of whole models left with --single.
"""

import json
import re
import sys
from pathlib import Path

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
by 1e-4 to 5e-3 then; the last two columns say how near the nearest input is to 0, by the largest of
its tensor, and how many the peer's f32 turned.

AlphaFold 3 exists in dialects: `src/model/conventions.h` says where they differ.
"""
LIMIT = 5e-6  # of f32
ROW = re.compile(r"^(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(passed|FAILED.*)$")
SKIPPED = re.compile(r"^(\S+)\s+skipped: (.*)$")


def beside_single(title: str, text: str, single: dict) -> str:
    """Ours and the peer's float32, from the same float64."""
    out = [
        f"\n## {title}\n",
        "| case | outputs | the peer's | parameters | the peer's | nearest ReLU | turned |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    over = {"ours": 0, "peer": 0}
    for row in filter(None, map(ROW.match, text.splitlines())):
        name, outputs, _, parameters, _ = row.groups()
        peer = single[name]
        over["ours"] += max(float(outputs), float(parameters)) > LIMIT
        over["peer"] += max(peer["outputs"], peer["parameters"]) > LIMIT
        out.append(
            f"| {name} | {outputs} | {peer['outputs']:.1e} | {parameters} | "
            f"{peer['parameters']:.1e} | {peer['nearest_relu']:.0e} | {peer['relus_turned']} |"
        )
    out.append(f"\nOver {LIMIT:.0e}: {over['ours']} of ours, {over['peer']} of the peer's.")
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
        text, *single = (Path(file).read_text() for file in files.split(","))
        one = beside_single(title, text, json.loads(single[0])) if single else section(title, text)
        print(one, end="")


if __name__ == "__main__":
    main()
