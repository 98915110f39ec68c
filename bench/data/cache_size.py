#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""What the rows of alignments could weigh: other codecs, and the entropy of simple models.

    bench/data/cache_size.py CACHE --inputs FOLDER --out bench/results/data-size.json

Takes the `msa` array of every alignment of a cache. For each codec: bytes, and their share of the
inputs as .gz. `whole` packs an alignment as one piece, which no crop could read in part; `column`
is the entropy of each column's letters alone, and `column, gap left` given whether a gap stands to
the left: what a coder with that model could reach at best. Needs numpy and zstandard.
"""

import argparse
import importlib.util
import lzma
import time
from pathlib import Path

import numpy as np
import zstandard
from bench_cached import finish

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 1 << 17  # of the cache


def load_reader():
    spec = importlib.util.spec_from_file_location("reader", ROOT / "python/megafold/cache.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(rows: np.ndarray) -> list[bytes]:
    step = max(1, BLOCK // rows.shape[1])
    return [rows[i : i + step].tobytes() for i in range(0, len(rows), step)]


def entropy_bytes(rows: np.ndarray, given_gap: bool) -> float:
    count, width = rows.shape
    bits = 0.0
    for column in range(width):
        left = rows[:, column - 1] == 31 if given_gap and column > 0 else np.zeros(count, bool)
        for value in (False, True):
            letters = rows[left == value, column]
            shares = np.bincount(letters, minlength=32) / max(1, len(letters))
            shares = shares[shares > 0]
            bits -= float((shares * np.log2(shares)).sum()) * len(letters)
    return bits / 8


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cache = load_reader().open(options.cache)
    seen, sums = {}, {}
    for entry in cache.values():
        for chain in entry.meta["chains"]:
            record = entry.alignment(chain["label"])
            if record is not None:
                rows = record["msa"]
                seen[rows.tobytes()] = rows

    def add(name, size, seconds=0.0):
        size_so_far, time_so_far = sums.get(name, (0, 0.0))
        sums[name] = (size_so_far + size, time_so_far + seconds)

    for raw, rows in seen.items():
        for level in (3, 9, 19):
            packer = zstandard.ZstdCompressor(level=level)
            start = time.process_time()
            size = sum(len(packer.compress(block)) for block in blocks(rows))
            add(f"zstd {level}, blocks of 128 KiB", size, time.process_time() - start)
        add("zstd 19, whole", len(zstandard.ZstdCompressor(level=19).compress(raw)))
        add("xz 9e, whole", len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME)))
        add("column", entropy_bytes(rows, False))
        add("column, gap left", entropy_bytes(rows, True))
    inputs = sum(p.stat().st_size for p in options.inputs.iterdir() if p.suffix == ".gz")
    record = {
        "bench": "bench/data/cache_size.py",
        "inputs": options.inputs.name,
        "inputs_gz_bytes": inputs,
        "alignments": len(seen),
        "cells": sum(len(raw) for raw in seen),
        "msa": {
            name: {"bytes": round(size), "to_gz_inputs": round(size / inputs, 3)}
            | ({"pack_cpu_ms": round(1e3 * seconds)} if seconds else {})
            for name, (size, seconds) in sums.items()
        },
    }
    finish(record, options.out)


if __name__ == "__main__":
    main()
