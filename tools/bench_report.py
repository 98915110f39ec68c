# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Puts the measured tables into the documents: the only way in which a GPU's figure gets there.

    python tools/bench_report.py            write the tables and plots
    python tools/bench_report.py --check    say which are out of date (part of ./dev lint)

A document asks for a table with a pair of comments; what stands between them is replaced:

    <!-- bench evo_attention nvidia-h200 -->
    <!-- /bench -->

Rows come from bench/results/<gpu>.json. A row of ours is stale when the folders in its `paths` have
changed since it was measured (`tree` no longer matches); the table then says so beside the figure.
"""

import hashlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"(<!-- bench (\w+) ([\w-]+) -->\n).*?(<!-- /bench -->)", re.S)
PASSES = ("fwd", "fwd+bwd")


def rows_of(gpu):
    path = ROOT / "bench" / "results" / f"{gpu}.json"
    return json.loads(path.read_text()) if path.exists() else []


def tree_of(paths):
    """SHA-1 of the lines `git rev-parse HEAD:PATH`: what a row of ours was measured on."""
    names = [f"HEAD:{path}" for path in paths]
    done = subprocess.run(["git", "rev-parse", *names], cwd=ROOT, capture_output=True, text=True)
    return hashlib.sha1(done.stdout.encode()).hexdigest()


def is_stale(row):
    return "paths" in row and row.get("tree") != tree_of(row["paths"])


def size_key(shape):
    """(everything but N, N): shapes of one family stand together, in order of N."""
    return re.sub(r"\b[NA]\d+ ?", "", shape), int(re.search(r"N(\d+)", shape)[1])


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def table(op, gpu):
    """Markdown: a line per shape and implementation, times of both passes, memory, clock."""
    rows = [row for row in rows_of(gpu) if row["op"] == op and not row.get("graph")]
    if not rows:
        return f"Nothing is measured yet (bench/results/{gpu}.json has no row of {op}).\n"
    floors = json.loads((ROOT / "bench" / "floors.json").read_text()).get(op, {})
    lines = [
        "| shape | implementation | fwd, us | fwd+bwd, us | saved, MiB | measured |",
        "|---|---|--:|--:|--:|---|",
    ]
    stale = False
    for shape in sorted({row["shape"] for row in rows}, key=size_key):
        here = {}
        for row in rows:
            if row["shape"] == shape:
                here.setdefault(row["impl"], {})[row["pass"]] = row
        order = sorted(here, key=lambda impl: (impl != "megafold", best(here[impl])))
        for impl in order:
            cells = []
            for name in PASSES:
                row = here[impl].get(name)
                old = row is not None and is_stale(row)
                stale = stale or old
                cells.append(
                    "-" if row is None else number(row["us"]) + (" (stale)" if old else "")
                )
            any_row = next(iter(here[impl].values()))
            saved = [row["saved_mib"] for row in here[impl].values() if row.get("saved_mib")]
            saved_cell = f"{saved[0]:.0f}" if saved else "-"
            name = f"**{impl}**" if impl == "megafold" else impl
            when = any_row["date"][:10]
            if any_row["sm_mhz"]:
                when += f", {any_row['sm_mhz']} MHz"
            lines.append(f"| {shape} | {name} | {cells[0]} | {cells[1]} | {saved_cell} | {when} |")
        if floor := floors.get(shape):
            cells = [number(floor[name]) if name in floor else "-" for name in PASSES]
            lines.append(f"| {shape} | *counted floor* | {cells[0]} | {cells[1]} | | |")
    lines.append("")
    how = "Medians of interleaved runs in one process, L2 flushed, eager launches; "
    if op == "train_step":
        how = "Medians of whole steps, each implementation in a process of its own; "
    lines.append(
        how
        + f"from bench/results/{gpu}.json."
        + (" Stale: the kernel changed since." if stale else "")
    )
    return "\n".join(lines) + "\n"


def best(passes):
    return min(row["us"] for row in passes.values())


# ---------------------------------------------------------------------------------------- the plot

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 760, 420, 64, 36, 44, 190
COLOURS = ("#7a7a7a", "#b07d2b", "#2b8a6e", "#8a4fb0", "#b0483f", "#4f7db0", "#5a8a2b", "#a0527a")


def plot(op, gpu, name):
    """SVG: time against N on logarithmic axes, a line per implementation, the floor dashed."""
    rows = [row for row in rows_of(gpu) if row["op"] == op and row["pass"] == name]
    rows = [row for row in rows if not row.get("graph")]
    families = {}
    for row in rows:
        family, n = size_key(row["shape"])
        families.setdefault(family, {}).setdefault(row["impl"], {})[n] = row["us"]
    families = {
        f: lines for f, lines in families.items() if len({n for s in lines.values() for n in s}) > 1
    }
    if not families:
        return None
    family = max(families, key=lambda f: sum(len(s) for s in families[f].values()))
    lines = families[family]
    floors = json.loads((ROOT / "bench" / "floors.json").read_text()).get(op, {})
    floor = {
        size_key(s)[1]: v[name] for s, v in floors.items() if size_key(s)[0] == family and name in v
    }
    ns = sorted({n for series in lines.values() for n in series})
    values = [us for series in [*lines.values(), floor] for us in series.values()]
    low, high = math.log10(min(values) / 1.3), math.log10(max(values) * 1.3)

    def x_of(n):
        span = math.log(ns[-1] / ns[0])
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(n / ns[0]) / span

    def y_of(us):
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - math.log10(us)) / (high - low)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{op}, {name}: time against N on {gpu}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="14" fill="#222">{op} {family.strip()}, {name}: '
        f"microseconds against N ({gpu})</text>",
    ]
    for power in range(math.floor(low), math.ceil(high) + 1):
        for digit in (1, 2, 5):
            us = digit * 10.0**power
            if low <= math.log10(us) <= high:
                y = y_of(us)
                out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>')
                out.append(text_at(LEFT - 8, y + 4, f"{us:g}", "#555", "end"))
    for n in ns:
        out.append(text_at(x_of(n), HEIGHT - BOTTOM + 18, n, "#555", "middle"))
    drawn = sorted(lines, key=lambda impl: -max(lines[impl].values()))
    labels = []
    for index, impl in enumerate(drawn):
        ours = impl == "megafold"
        colour = "#d1232a" if ours else COLOURS[index % len(COLOURS)]
        draw_line(out, labels, lines[impl], x_of, y_of, colour, 3 if ours else 1.6, "", impl)
    if floor:
        draw_line(
            out, labels, floor, x_of, y_of, "#222", 1.4, ' stroke-dasharray="5 4"', "counted floor"
        )
    previous = 0.0
    for y, text, colour in sorted(labels):
        previous = max(y, previous + 15)
        out.append(
            f'<text x="{WIDTH - RIGHT + 10}" y="{previous + 4:.1f}" fill="{colour}">{text}</text>'
        )
    return "\n".join([*out, "</svg>"]) + "\n"


def text_at(x, y, text, colour, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'


def draw_line(out, labels, series, x_of, y_of, colour, width, dash, label):
    points = [(x_of(n), y_of(us)) for n, us in sorted(series.items())]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    out.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>')
    for x, y in points:
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{width + 0.6}" fill="{colour}"/>')
    labels.append((points[-1][1], label, colour))


# -------------------------------------------------------------------------------------------- main


def wanted():
    """{path: text} of every document and plot as it should be."""
    files = {}
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    documents += sorted((ROOT / "kernels").rglob("*.md"))
    for path in documents:
        text = path.read_text()
        if not MARK.search(text):
            continue
        files[path] = MARK.sub(lambda m: m[1] + table(m[2], m[3]) + m[4], text)
        for match in MARK.finditer(text):
            for name in PASSES:
                if svg := plot(match[2], match[3], name):
                    label = name.replace("+", "-")
                    files[ROOT / "docs" / "kernels" / f"{match[2]}-{label}-{match[3]}.svg"] = svg
    return files


def without_stale(text):
    """A kernel's change makes rows stale at once; the documents follow in a commit of their own."""
    return text.replace(" (stale)", "").replace(" Stale: the kernel changed since.", "")


def main():
    check = "--check" in sys.argv[1:]
    failed = False
    for path, text in wanted().items():
        old = path.read_text() if path.exists() else ""
        if old == text:
            continue
        if not check:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
        elif without_stale(old) != without_stale(text):
            print(f"{path.relative_to(ROOT)}: its tables are not those of bench/results: run")
            print("  python tools/bench_report.py")
            failed = True
    for path in sorted((ROOT / "bench" / "results").glob("*.json")):
        stale = sorted(
            {f"{row['op']} {row['shape']}" for row in rows_of(path.stem) if is_stale(row)}
        )
        if stale:
            names = ", ".join(stale[:4]) + (" ..." if len(stale) > 4 else "")
            print(f"{path.relative_to(ROOT)}: {len(stale)} stale shapes: {names}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
