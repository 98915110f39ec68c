#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/config.md from what `megafold train --print-config` says of every key.

tools/config_page.py             # writes the page
tools/config_page.py --check     # ends with 1 where the page is not what would be written
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "config.md"
HEAD = """\
# The configuration of a training run
Made by `tools/config_page.py` from what `megafold train --print-config` prints of an empty file;
the defaults are those of the preset `initial`. A key may stand in the YAML file or be given as
`--set data.crop.tokens=128`. An unknown key is refused with the nearest known one, a value out of
range with its range, and the whole effective configuration is saved with the run.
"""
COLUMNS = "| key | default | value | meaning |\n|---|---|---|---|\n"
LINE = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?: +(?P<value>\S.*?)? +# (?P<what>.*))?$")
RANGE = re.compile(r"^(?P<what>.*) \((?P<range>(?:one of|an integer|a number|a list|true or).*)\)$")


def printed():
    """What the program prints of a configuration in which nothing is set."""
    program = os.environ.get("MEGAFOLD", ROOT / "build/cpu/megafold")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as empty:
        empty.write("{}\n")
        empty.flush()
        command = [program, "train", empty.name, "--print-config"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def page(text):
    """The page, a table for each section."""
    tables, path = {"": []}, []
    for line in text.splitlines():
        found = LINE.match(line)
        if not found:
            raise ValueError(f"this line of --print-config is not understood: {line}")
        depth = len(found["indent"]) // 2
        path = [*path[:depth], found["key"]]
        if found["what"] is None:
            tables.setdefault(".".join(path), [])
            continue
        told = RANGE.match(found["what"])
        what, limits = (told["what"], told["range"]) if told else (found["what"], "")
        cells = [f"`{'.'.join(path)}`", f"`{found['value']}`", limits.rstrip(","), what]
        tables[".".join(path[:-1])].append("| " + " | ".join(c.replace("|", "\\|") for c in cells))
    parts = [HEAD]
    for section, rows in tables.items():
        if rows:
            parts.append(f"\n## {section or 'The run'}\n{COLUMNS}")
            parts.append(" |\n".join(rows) + " |\n")
    return "".join(parts)


def main():
    text = page(printed())
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != text:
            sys.exit(f"{PAGE.name} is not what --print-config says: run tools/config_page.py")
        return
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
