# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""What a visit reads, beside the blocks that it needs: at most 1.5 times their bytes."""

import json
import random
import shutil
from pathlib import Path

import pytest
from test_python_reader import reader

ROOT = Path(__file__).resolve().parents[2]
QUERY = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"
ROWS = 6000  # blocks of 128 KiB: of 1,724 rows of 76 columns


@pytest.fixture(scope="module")
def cache(megafold, tmp_path_factory):
    """1ubq with an alignment of several blocks."""
    folder = tmp_path_factory.mktemp("bytes read")
    data = folder / "data"
    data.mkdir()
    shutil.copy(ROOT / "data" / "entries" / "1ubq.cif.gz", data)
    draw = random.Random(1)
    rows = [">query", QUERY]
    for i in range(1, ROWS):
        letters = [
            c if draw.random() < 0.5 else draw.choice("ACDEFGHIKLMNPQRSTVWY-") for c in QUERY
        ]
        rows += [f">{i}", "".join(letters)]
    (data / "1ubq_A.a3m").write_text("\n".join(rows) + "\n")
    ccd = ROOT / "data" / "components.bcif.gz"
    out = folder / "cache"
    done = megafold("cache", "build", "--data", data, "--ccd", ccd, "--out", out, "--strict")
    assert done.returncode == 0, done.stderr
    return out


def bytes_needed(cache, rows):
    """Of all blocks of the structure, and of those of the alignment that hold the first rows."""
    entry = reader.open(cache)["1ubq"]
    needed = sum(block[1] for array in entry._arrays.values() for block in array["blocks"])
    for name, array in entry.alignment("A")._arrays.items():
        row = array["shape"][1] if name in ("msa", "deletion") else 0
        start = 0
        for _, packed, raw, _ in array["blocks"]:
            if row == 0 or start < rows * row:
                needed += packed
            start += raw
    return needed


@pytest.mark.parametrize("rows", [1, 1000, 3000, ROWS])
def test_bytes_read(megafold, cache, tmp_path, rows):
    out = tmp_path / "profile.json"
    done = megafold(
        *("data", "profile", cache, "--visits", 3, "--all-rows", "--max-rows", rows, "--out", out)
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(out.read_text())["entries"]["1ubq"]["bytes_read_p50"]
    needed = bytes_needed(cache, rows)
    assert read <= 1.5 * needed, f"{read} bytes read, {needed} needed: {read / needed:.2f}"
    print(f"{rows} rows: {read / needed:.3f}")
