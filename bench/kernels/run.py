# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""`./dev bench kernels`: times the kernels beside their rivals on this machine's GPU, records the
rows in bench/results/<gpu>.json and puts them into the documents (tools/bench_report.py).

  ./dev bench kernels                          # everything but train_step
  ./dev bench kernels --op evo_attention       # one table
  ./dev bench kernels --op train_step --tools DIR     # whole steps of the peers (bench_peers.py)
  ./dev bench kernels --rows ROWS.json         # only records what was measured on another machine

Needs a PyTorch with CUDA and nvcc; of the package's tables, `pip install .` too. cuEquivariance and
trifast take part where they are installed. A row replaces the one of its op, shape, implementation
and pass.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import bench_report  # noqa: E402

# Of each table: its script, and the constant there of the paths whose trees its rows name.
TABLES = {
    "evo_attention": ("bench_evo_attention", "PATHS"),
    "diffusion_attention": ("bench_evo_attention", "PATHS"),
    "atom_attention": ("bench_package", "WINDOW_PATHS"),
    "triangle_attention": ("bench_package", "MODULE_PATHS"),
    "train_step": ("bench_peers", "PATHS"),
}
KEY = ("op", "shape", "impl", "pass", "graph")


def merge(old, new, source):
    """The rows of `old` with those of `new` in the place of their like, or behind."""
    rows = {tuple(row[k] for k in KEY): row for row in old}
    for number, row in enumerate(new):
        missing = [k for k in (*KEY, "us", "date") if k not in row]
        if missing:
            raise SystemExit(f"{source}: row {number} has no {', '.join(missing)}")
        rows[tuple(row[k] for k in KEY)] = row
    return list(rows.values())


def record(files, into):
    """Merges the files' rows into the record and writes the documents' tables."""
    rows = json.loads(into.read_text()) if into.exists() else []
    for path in files:
        new = json.loads(path.read_text())
        rows = merge(rows, new, path)
        print(f"{path}: {len(new)} rows into {into}")
    into.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def python_with_gpu():
    """(interpreter whose torch sees a GPU, the GPU's name)."""
    ask = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    for python in (sys.executable, ROOT / ".venv/bin/python"):
        try:
            done = subprocess.run([python, "-c", ask], capture_output=True, text=True)
        except FileNotFoundError:
            continue
        if done.returncode == 0 and done.stdout.strip():
            return str(python), done.stdout.strip()
    raise SystemExit(
        "no GPU that PyTorch sees: run this where there is one (`megafold doctor` says what this "
        "machine has); rows measured elsewhere are recorded by --rows FILE"
    )


def constant(python, script, name):
    """A constant of a script, which imports torch."""
    ask = f"import json, {script}; print(json.dumps({script}.{name}))"
    done = subprocess.run([python, "-c", ask], cwd=HERE, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(tables, options):
    """Runs the tables' scripts; returns (files of rows, the GPU's name)."""
    python, gpu = python_with_gpu()
    out = ROOT / "build" / "bench"
    subprocess.run(["bash", HERE / "build.sh", out], check=True)
    env = {**os.environ, "MEGAFOLD_KERNELS": str(out / "libmegafold_kernels.so")}
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = []
    for op in tables:
        script, paths = TABLES[op][0], constant(python, *TABLES[op])
        files.append(out / f"{op}.json")
        command = [python, HERE / f"{script}.py", files[-1], "--commit", head.stdout.strip()]
        tree = bench_report.tree_of(paths)
        if script == "bench_evo_attention":
            command += ["--tree", tree, "--only", op, *(["--slow"] if options.slow else [])]
        else:
            command += ["--trees", json.dumps({",".join(paths): tree})]
            command += ["--tools", options.tools] if op == "train_step" else ["--only", op]
        subprocess.run(command, env=env, check=True)
    return files, gpu


def main():
    parser = argparse.ArgumentParser(
        prog="./dev bench kernels",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--op", choices=TABLES, help="this table alone, e.g. evo_attention")
    parser.add_argument("--slow", action="store_true", help="PyTorch eager and torch.compile too")
    parser.add_argument("--tools", help="folder of the peers' steps, for --op train_step")
    parser.add_argument("--rows", type=Path, nargs="+", help="record these, measure nothing")
    parser.add_argument("--gpu", default="nvidia-h200", help="of --rows (nvidia-h200)")
    parser.add_argument("--into", type=Path, help="the record (bench/results/GPU.json)")
    options = parser.parse_args()
    files, gpu = options.rows, options.gpu
    if not files:
        if options.op == "train_step" and options.tools is None:
            parser.error("train_step needs --tools DIR, with peer_step_openfold3.py in it")
        tables = [options.op] if options.op else [op for op in TABLES if op != "train_step"]
        files, gpu = measure(tables, options)
    into = options.into or ROOT / "bench/results" / f"{gpu.lower().replace(' ', '-')}.json"
    record(files, into)
    if options.into is None:
        subprocess.run([sys.executable, ROOT / "tools/bench_report.py"], check=True)


if __name__ == "__main__":
    main()
