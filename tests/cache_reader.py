# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""python/megafold/cache.py by its path: the package around it needs torch, the reader does not.

A test module that imports this is skipped where numpy or zstandard is missing.
"""

import importlib.util
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("zstandard", reason="python -m pip install zstandard")

_file = Path(__file__).resolve().parent.parent / "python/megafold/cache.py"
_spec = importlib.util.spec_from_file_location("reader", _file)
reader = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reader)
