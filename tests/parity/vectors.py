# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Golden vectors as files: the safetensors format, written by hand; and how their makers begin and
end."""

import argparse
import json
import struct
from pathlib import Path

import torch

DTYPES = {"float64": "F64", "float32": "F32", "int64": "I64"}
SINGLE = torch.float32  # kept: protenix_model.py calls float64 by its name


def round_f32(x: torch.Tensor) -> torch.Tensor:
    """The nearest f32 numbers: what is stored as f32 is the same on both sides."""
    return x.to(SINGLE).double()


def peer_casts_to(dtype: torch.dtype) -> None:
    """A peer casts to float32 by name in many places: each of them casts to this from here on."""
    torch.float32 = dtype
    torch.Tensor.float = lambda tensor: tensor.to(dtype)


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


def begin(doc: str, **options: int | bool) -> argparse.Namespace:
    """Reads the command line (OUT, --seed and these options with their defaults), makes the folder;
    from here on everything is in float64 and drawn from the seed."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("out", type=Path)
    for name, default in {"seed": 1, **options}.items():
        if isinstance(default, bool):
            parser.add_argument(f"--{name}", action="store_true")
        else:
            parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(given.seed)
    return given


def write_manifest(out: Path, cases: dict[str, dict]) -> None:
    (out / "manifest.json").write_text(json.dumps(cases, indent=1))


def write_model_cases(doc: str, write_case, cases: dict[str, dict]) -> None:
    """A maker of whole models: write_case(out, name, **case) for each, or with --released one of
    the released sizes. --single: each case tells in single.json how far the peer's own float32 is
    from it, in the words of `megafold parity`."""
    options = begin(doc, released=False, single=False)
    if options.released:
        sizes = {"tokens": 14, "rows": 3, "cycles": 2, "samples": 1}
        cases = {"model_released": sizes | {"released": True}}
    written = {}
    for name, case in cases.items():
        written[name] = write_case(options.out, name, single=options.single, **case)
    write_manifest(options.out, written)
