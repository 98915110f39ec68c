# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""The program as a whole: help, versions, exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def test_version_names_both_libraries(megafold):
    done = megafold("version")
    assert done.returncode == 0
    assert done.stdout.startswith("megafold 0.1.0 (cpu)\nLibTorch 2.11.0")


def test_help_has_examples_and_exit_codes(megafold):
    done = megafold("--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert "130 interrupted" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["version", "--no-such-option"]])
def test_bad_usage_ends_with_2(megafold, arguments):
    done = megafold(*arguments)
    assert done.returncode == 2
    assert done.stderr.strip(), "bad usage must say what was wrong"


def test_every_command_has_help_with_examples(megafold):
    listed = megafold("--help").stdout.split("Subcommands:")[1]
    names = [s.split()[0] for s in listed.splitlines() if s.startswith("  ") and s.strip()]
    names = [name for name in names if name.isalpha() and name != "megafold"]
    assert "version" in names
    for name in names:
        done = megafold(name, "--help")
        assert done.returncode == 0, name
        assert name == "version" or "xample" in done.stdout, f"{name} --help has no example"


def test_the_page_of_the_configuration_is_current(megafold):
    command = [sys.executable, ROOT / "tools/config_page.py", "--check"]
    done = subprocess.run(
        command, env={"MEGAFOLD": str(megafold.program)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
