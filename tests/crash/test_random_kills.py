# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the builder at random moments: nothing torn is seen, and the next build ends alike.

src/cache/build_test.cpp kills at every named point; this kills wherever the clock says, with as
many shards as entries (parts of one entry each) so that there is something to tear.
"""

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = 6


def contents(folder: Path) -> dict:
    return {p.name: p.read_bytes() for p in folder.rglob("*.mf[si]")}


def build(megafold, out: Path) -> list:
    """Each entry's part, then the whole: what a killed run goes through."""
    base = [
        str(megafold.program),
        "cache",
        "build",
        "--data",
        str(ROOT / "data"),
        "--out",
        str(out),
    ]
    return [[*base, "--shard", f"{i}/{PARTS}"] for i in range(1, PARTS + 1)] + [base]


def finish(megafold, out: Path):
    for command in build(megafold, out):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def kill_at_random(megafold, tmp_path, times: int, seed: int):
    whole = tmp_path / "whole"
    start = time.monotonic()
    finish(megafold, whole)
    one = (time.monotonic() - start) / (PARTS + 1)
    expected = contents(whole)
    assert len(expected) >= PARTS
    draw = random.Random(seed)
    out = tmp_path / "killed"
    killed = 0
    for _ in range(times):
        command = draw.choice(build(megafold, out))
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.2 * one, 1.2 * one))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        for name, data in contents(out).items():
            if name in expected and name != "index.mfi":
                assert data == expected[name], f"{name} is torn"
        if draw.random() < 0.3 or out.exists() and len(contents(out)) > PARTS:
            finish(megafold, out)
            assert megafold("cache", "verify", out).returncode == 0
            assert megafold("cache", "diff", whole, out, "--strict").returncode == 0
            assert not [p for p in out.rglob("*.tmp") if p.is_file()]
            for path in sorted(out.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
    print(f"{killed} of {times} were killed at work")
    assert killed > times / 4


def test_a_few_random_kills(megafold, tmp_path):
    kill_at_random(megafold, tmp_path, times=10, seed=1)


@pytest.mark.full
def test_two_hundred_random_kills(megafold, tmp_path):
    kill_at_random(megafold, tmp_path, times=200, seed=2)
