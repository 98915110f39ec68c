# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""What tests of the whole program share: the binary that ./dev test built, and how to run it."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config):
    config.addinivalue_line("markers", "full: needs peers, a browser or minutes; ./dev test --full")


@pytest.fixture(scope="session")
def megafold():
    """Runs the program: megafold("cache", "inspect", path) -> CompletedProcess with text output."""
    program = Path(os.environ.get("MEGAFOLD", ROOT / "build/cpu/megafold"))
    assert program.exists(), f"{program} is not built: run ./dev build"

    def run(*arguments, **options):
        options = {"capture_output": True, "text": True, "timeout": 600, **options}
        return subprocess.run([str(program), *map(str, arguments)], **options)

    run.program = program
    return run


@pytest.fixture(scope="session")
def cache(megafold, tmp_path_factory):
    """The demonstration's six entries as a cache, for tests that only read it."""
    folder = tmp_path_factory.mktemp("demo") / "cache"
    done = megafold("cache", "build", "--data", ROOT / "data", "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder
