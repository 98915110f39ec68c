#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""What a cache costs as it grows, and a loader's memory and waits.

    bench/data/bench_growth.py --build build/cpu --out bench/results/data-growth-cpu.json

Runs the long forms of three tests: Growth (10, 1,000 and 100,000 records: time to open, to read one
at random, memory), LoaderMemory (5,000 tokens, 10 alignments of 16,384 rows, one thread) and
Loader.ASleeperCostsNoStep (two threads, 2,000 steps of 100 ms, twice: all samples sound, and one
that sleeps 600 s), and keeps the figures that they print. It takes nine minutes.
"""

import argparse
import json
import os
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from bench_cached import cpu_name, finish


def run(program: Path, test: str) -> str:
    environment = os.environ | {"MEGAFOLD_LONG_TESTS": "1"}
    command = [program, f"--gtest_filter={test}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{test} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def figures(text: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)$", text, re.MULTILINE)
    if not found:
        raise SystemExit(f"no line '{name}: ...' in\n{text}")
    return found.group(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=Path("build/cpu"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True)
    growth = run(options.build / "test_cache", "Growth.*")
    memory = run(options.build / "test_batch", "LoaderMemory.*")
    waits = run(options.build / "test_batch", "Loader.ASleeperCostsNoStep")
    record = {
        "bench": "bench/data/bench_growth.py",
        "machine": f"{cpu_name()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[2], 1),  # of the last quarter of an hour
        "commit": commit.stdout.decode().strip(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "growth": json.loads(figures(growth, "growth")),
        "loader_thread_memory_mb": float(figures(memory, "loader").split()[0]),
        "loader_waits": json.loads(figures(waits, "waits")),
    }
    finish(record, options.out)


if __name__ == "__main__":
    main()
