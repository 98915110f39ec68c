# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Golden vectors as files: the safetensors format, written by hand."""

import json
import struct
from pathlib import Path

import torch

DTYPES = {"float64": "F64", "float32": "F32", "int64": "I64"}
SINGLE = torch.float32  # kept: protenix_model.py calls float64 by its name


def round_f32(x: torch.Tensor) -> torch.Tensor:
    """The nearest f32 numbers: what is stored as f32 is the same on both sides."""
    return x.to(SINGLE).double()


def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Length of the header, the header, the bytes."""
    header, pieces, offset = {}, [], 0
    for name, tensor in tensors.items():
        array = tensor.detach().contiguous().numpy()
        data = array.tobytes()
        header[name] = {
            "dtype": DTYPES[str(array.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        offset += len(data)
        pieces.append(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(pieces))
