# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""megafold: kernels and modules for training AlphaFold 3-class models.

import megafold

out = megafold.ops.evo_attention(q, k, v, bias, mask, gate)   # and atom_attention
module = megafold.nn.TriangleAttention(128, heads=4)
with megafold.patch("openfold3"):                             # under other teams' packages
    ...
print(megafold.dispatch_report())                             # what ran, and why
"""

from megafold import nn, ops
from megafold._libraries import DispatchCount, DispatchReport, dispatch_report, has_cuda
from megafold.patch import Patched, PatchError, patch

__version__ = "0.1.0"
__all__ = [
    "DispatchCount",
    "DispatchReport",
    "PatchError",
    "Patched",
    "dispatch_report",
    "has_cuda",
    "nn",
    "ops",
    "patch",
]
