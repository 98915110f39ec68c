# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""The whole model beside Protenix 2.0.0, on vectors made here and now, and bad folders.

MEGAFOLD_PEER_PYTHON names the interpreter of an environment that holds protenix (it pins its own
torch); without one the comparison is skipped.
"""

import os
import subprocess
from pathlib import Path

import pytest


@pytest.mark.full
def test_algorithm_1_with_recycling(megafold, tmp_path):
    peer = os.environ.get("MEGAFOLD_PEER_PYTHON")
    if not peer:
        pytest.skip("MEGAFOLD_PEER_PYTHON is not set")
    script = Path(__file__).with_name("protenix_model.py")
    subprocess.run([peer, script, tmp_path], check=True, timeout=600)
    done = megafold("parity", tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("2 passed, 0 failed\n")


@pytest.mark.full
@pytest.mark.parametrize("arguments", [[], ["--seed", "5", "--tokens", "29"]])
def test_modules_of_openfold3(megafold, tmp_path, arguments):
    peer = os.environ.get("MEGAFOLD_PEER_PYTHON")
    if not peer:
        pytest.skip("MEGAFOLD_PEER_PYTHON is not set")
    script = Path(__file__).with_name("openfold3_modules.py")
    subprocess.run([peer, script, tmp_path, *arguments], check=True, timeout=600)
    done = megafold("parity", tmp_path, "--dialect", "openfold3")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].endswith("passed, 0 failed")


def test_a_folder_without_vectors_is_refused(megafold, tmp_path):
    done = megafold("parity", tmp_path)
    assert done.returncode == 2
    assert "manifest.json" in done.stderr
    (tmp_path / "manifest.json").write_text("{ no json")
    done = megafold("parity", tmp_path)
    assert done.returncode == 2
    assert "is no JSON" in done.stderr


def test_a_case_without_its_file_fails_and_says_which(megafold, tmp_path):
    (tmp_path / "manifest.json").write_text('{"mine": {"class": "a.b.Transition"}}')
    done = megafold("parity", tmp_path)
    assert done.returncode == 1
    assert "mine.safetensors" in done.stdout
    assert done.stdout.endswith("0 passed, 1 failed\n")
    done = megafold("parity", tmp_path, "--case", "other")
    assert done.returncode == 2
    assert "no case 'other'" in done.stderr
    done = megafold("parity", tmp_path, "--dialect", "openfold4")
    assert done.returncode == 2
    assert "openfold3" in done.stderr
