# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""One small run for all tests of this folder: cache, train a tiny model, predict, report."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """\
seed: 11
threads: 1
data: {entries: [1ubq], crop: {tokens: 128}, msa: {max_rows: 16}}
model: {preset: tiny}
optimizer: {warmup_steps: 5, ema_warmup: true}
training: {steps: 6, batch: 1, checkpoint_steps: 100, log_steps: 5}
"""


@pytest.fixture(scope="session")
def tiny_run(megafold, cache, tmp_path_factory):
    """A run's folder with everything that `./dev demo` leaves, after six steps."""
    folder = tmp_path_factory.mktemp("predict") / "run"
    config = folder.with_suffix(".yaml")
    config.write_text(CONFIG)
    for command in (
        ("train", config, "--run", folder, "--set", f"data.cache={cache}"),
        ("predict", "--run", folder, "--steps", 4),
        ("report", folder),
    ):
        done = megafold(*command)
        assert done.returncode == 0, (command, done.stderr)
    return folder
