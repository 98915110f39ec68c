#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Cold and cached time of a training sample, one thread, crop 384.

    bench/data/bench_cached.py --program build/cpu/megafold --ccd components.bcif.gz FOLDER...

Each FOLDER holds one entry and its alignments. Cold: `megafold cache build --threads 1` into an
empty folder, structures and alignments read, cleaned, packed and published (the reading of the
component dictionary is not counted). Cached: `megafold data profile`, a new crop at every visit,
page cache warm, with all rows and with at most 2,048 drawn. Writes one JSON record.
"""

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import tempfile
from datetime import datetime, timezone
from pathlib import Path


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def packed_size(folder: Path) -> int:
    """The inputs as .gz files, as they lie there."""
    return sum(p.stat().st_size for p in folder.iterdir() if p.suffix == ".gz")


def bench(program: Path, ccd: Path, folder: Path, visits: int, builds: int) -> dict:
    cold, cpu, out = [], [], {}
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        for _ in range(builds):
            shutil.rmtree(cache, ignore_errors=True)
            command = [program, "cache", "build", "--data", folder, "--out", cache]
            command += ["--ccd", ccd, "--threads", "1", "--strict"]
            subprocess.run([str(c) for c in command], check=True, capture_output=True)
            report = json.loads((cache / "report.json").read_text())
            cold.append(1000 * report["seconds"])
            cpu.append(1000 * report["cpu_seconds"])
        out["cold_wall_ms"] = {"p50": round(statistics.median(cold), 1), "min": round(min(cold), 1)}
        out["cold_user_cpu_ms_p50"] = round(statistics.median(cpu), 1)
        size = sum(p.stat().st_size for p in cache.rglob("*.mf?"))
        out["size_to_gz_inputs"] = round(size / packed_size(folder), 3)
        for name, extra in {
            "all rows": ["--all-rows", "--max-rows", "65536"],
            "2,048 rows drawn": ["--max-rows", "2048"],
        }.items():
            target = Path(scratch) / "profile.json"
            command = [program, "data", "profile", cache, "--visits", visits, "--out", target]
            subprocess.run([str(c) for c in [*command, *extra]], check=True, capture_output=True)
            (profile,) = json.loads(target.read_text())["entries"].values()
            out[name] = profile
    return out


def finish(record: dict, out: Path | None) -> None:
    """Prints a record, and writes it where a file is named."""
    text = json.dumps(record, indent=1) + "\n"
    if out:
        out.write_text(text)
    print(text, end="")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, default=Path("build/cpu/megafold"))
    parser.add_argument("--ccd", type=Path, required=True)
    parser.add_argument("--visits", type=int, default=200)
    parser.add_argument("--builds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    options = parser.parse_args()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True)
    record = {
        "bench": "bench/data/bench_cached.py",
        "machine": f"{cpu_name()}, one thread",
        "commit": commit.stdout.decode().strip(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "crop": 384,
        "page_cache": "warm",
        "entries": {},
    }
    for folder in options.folders:
        record["entries"][folder.name] = bench(
            options.program, options.ccd, folder, options.visits, options.builds
        )
    finish(record, options.out)


if __name__ == "__main__":
    main()
