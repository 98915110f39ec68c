# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""docs/numerics.md from what `megafold parity` printed.

megafold parity golden/protenix > f64.txt
python tests/parity/numerics.py "Protenix 2.0.0, f64=f64.txt" ... > docs/numerics.md
"""

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

AlphaFold 3 exists in dialects: `src/model/conventions.h` says where they differ.
"""
ROW = re.compile(r"^(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(passed|FAILED.*)$")
SKIPPED = re.compile(r"^(\S+)\s+skipped: (.*)$")


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
        title, _, file = argument.rpartition("=")
        print(section(title, Path(file).read_text()), end="")


if __name__ == "__main__":
    main()
