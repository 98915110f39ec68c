# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Draws from torch's own generator are the same at every run, in whatever order tests run."""

import pytest


@pytest.fixture(autouse=True)
def seed():
    # In here: LibTorch's wheel alone, without what torch needs in Python, cannot be imported.
    pytest.importorskip("torch").manual_seed(0)
