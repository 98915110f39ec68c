# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Checks that no compiler makes: the include rule, licence headers, file sizes. Part of ./dev lint.

The include rule is the table in CMakeLists.txt: a folder of src/ may include itself, the parts that
its line names, and what those may include. Folders marked NO there, and kernels/,
never include torch.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AIM, LIMIT = 300, 800  # lines of a source file: what we aim for, and where it must become two


def tracked():
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    names = dict.fromkeys(done.stdout.splitlines())
    return [name for name in names if (ROOT / name).is_file()]


def house():
    """{part: (parts it may include, uses torch)} from the table in CMakeLists.txt."""
    table = {"kernels": ({"base"}, False)}  # everyone may include base
    line = re.compile(
        r'^megafold_(?:library|program)\((?:megafold )?(\w+)\s+"([^"]*)"\s+"[^"]*"\s+(\w+)'
    )
    for text in (ROOT / "CMakeLists.txt").read_text().splitlines():
        if match := line.match(text):
            name, parts, torch = match.groups()
            below = set()
            for part in filter(None, parts.split(";")):
                below |= {part} | table[part][0]
            table[name] = (below, torch == "YES")
    return table


def check_includes(name, text, table):
    if name.startswith("src/"):
        part = name.split("/")[1]
        below, torch = table[part]
    elif name.startswith("kernels/"):
        part, below, torch = "kernels", *table["kernels"]
    else:
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
        if not match:
            continue
        path = match[2]
        if re.match(r"(ATen|torch|c10)/", path):
            if not torch:
                yield f"{name}:{number}: {part} is torch-free, but includes {path}"
            if path in ("torch/torch.h", "torch/all.h", "torch/extension.h"):
                yield f"{name}:{number}: {path} costs 20 s a file: include <ATen/ATen.h>"
        elif match[1] == '"':
            first = path.split("/")[0]
            if first == "kernels" and part != "kernels":
                if part != "base" and not re.fullmatch(r"kernels/\w+/\w+\.h", path):
                    yield f"{name}:{number}: only a kernel's public header may be included: {path}"
            elif first in table and first != part and first not in below:
                yield f"{name}:{number}: {part} may not include {first} (table in CMakeLists.txt)"


def main():
    table = house()
    problems, long_files, lines_total = [], [], 0
    for name in tracked():
        if not re.search(r"\.(h|cpp|cu|cuh|hip|py)$", name) and name != "dev":
            continue
        text = (ROOT / name).read_text()
        lines = text.count("\n")
        lines_total += lines
        if "SPDX-License-Identifier: Apache-2.0" not in text[:300]:
            problems.append(f"{name}:1: the two SPDX lines are missing")
        problems += check_includes(name, text, table)
        if lines > LIMIT:
            problems.append(f"{name}: {lines} lines: past {LIMIT} a file is two files")
        elif lines > AIM:
            long_files.append((lines, name))
    print(f"{lines_total} lines of source; {len(long_files)} files over {AIM} lines:")
    for lines, name in sorted(long_files, reverse=True)[:10]:
        print(f"  {lines:5} {name}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
