# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""./dev itself: what it refuses, and which entry the demo learns."""

import json
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dev():
    sys.dont_write_bytecode = True
    loader = SourceFileLoader("dev", str(ROOT / "dev"))
    module = module_from_spec(spec_from_loader("dev", loader))
    loader.exec_module(module)
    return module


def verdicts(folder, *entries):
    keys = ("id", "verdict", "tokens")
    report = {"entries": [dict(zip(keys, entry)) for entry in entries]}
    (folder / "report.json").write_text(json.dumps(report))


def test_the_demo_learns_ubiquitin_or_the_smallest_of_a_persons_own(dev, tmp_path):
    own = [("1abc", "kept", 90), ("2abc", "kept", 30), ("3abc", "dropped", 5)]
    verdicts(tmp_path, *own)
    assert dev.demo_entry(tmp_path) == "2abc"
    verdicts(tmp_path, *own, ("1ubq", "kept", 76))
    assert dev.demo_entry(tmp_path) == "1ubq"


def test_the_demo_ends_where_nothing_was_kept(dev, tmp_path):
    verdicts(tmp_path, ("1abc", "failed"))
    with pytest.raises(dev.Stop, match="report.json says why") as stop:
        dev.demo_entry(tmp_path)
    assert stop.value.code == 2


def test_an_unknown_command_ends_with_2():
    done = subprocess.run([ROOT / "dev", "dance"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no command 'dance'" in done.stderr


def test_bench_rows_replace_their_like(tmp_path):
    def bench(*arguments):
        command = [sys.executable, ROOT / "dev", "bench", "kernels", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    row = {"op": "evo_attention", "shape": "N384", "impl": "ours", "pass": "fwd", "graph": False}
    row |= {"us": 3.0, "date": "2026-01-01"}
    other = {**row, "impl": "rival"}
    (tmp_path / "into.json").write_text(json.dumps([row, other]))
    (tmp_path / "new.json").write_text(json.dumps([{**row, "us": 2.0}, {**row, "graph": True}]))
    into = ("--into", tmp_path / "into.json")
    done = bench("--rows", tmp_path / "new.json", *into)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "into.json").read_text()) == [
        {**row, "us": 2.0}, other, {**row, "graph": True}
    ]  # fmt: skip
    del row["us"]
    (tmp_path / "new.json").write_text(json.dumps([row]))
    done = bench("--rows", tmp_path / "new.json", *into)
    assert done.returncode != 0 and "new.json: row 0 has no us" in done.stderr, done.stderr
