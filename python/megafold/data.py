# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Training batches of megafold's C++ loader as a torch dataset, for any model.

    data = megafold.data.Dataset("configs/initial.yaml", set=["data.cache=cache", "seed=7"])
    for batch in data:                      # a dict of tensors by AF3's names (src/batch/batch.h)
        batch["restype"], batch["msa"], batch["atom_positions"]
        batch.id, batch.visit               # the entry; where the next run goes on: visit + 1

The program `megafold data stream` makes the batches, in its own threads and process, from the same
config by the same code as `megafold train`, and hands them over through a pipe as safetensors. So
nothing of megafold is linked into Python: any version of torch will do. Batches are made
ahead while the caller works.

Batches are one sample each, as small as they travel: classes and not one-hots.
openfold3_features() gives them in that model's names and encodings.
"""

import json
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator

import torch
from torch.utils.data import IterableDataset, get_worker_info

_TYPES = {
    "F32": torch.float32, "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


class Batch(dict):
    """Tensors by name, in the loader's order. `checksum` is what metrics.jsonl calls `batch`."""

    id: str
    visit: int
    resolution: float  # Angstrom; -1: none reported
    paired_rows: int  # of msa, from row 1 on
    checksum: str


def _read(stream, size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = stream.readinto(view[done:])
        if not count:
            break
        done += count
    return data if done == size else data[:done]


def unpack(frame: bytearray) -> Batch:
    """The batch of one safetensors text; its tensors share the frame's memory."""
    (length,) = struct.unpack_from("<Q", frame)
    header = json.loads(bytes(frame[8 : 8 + length]))
    about = header.pop("__metadata__")
    batch = Batch()
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        dtype = _TYPES[entry["dtype"]]
        if first == last:
            tensor = torch.empty(entry["shape"], dtype=dtype)
        else:
            count = (last - first) // dtype.itemsize
            tensor = torch.frombuffer(frame, dtype=dtype, count=count, offset=8 + length + first)
            tensor = tensor.reshape(entry["shape"])
        batch[name] = tensor
    batch.id, batch.visit = about["id"], int(about["visit"])
    batch.resolution, batch.checksum = float(about["resolution"]), about["checksum"]
    batch.paired_rows = int(about["paired_rows"])
    return batch


class Dataset(IterableDataset):
    """The visits of a config, from `first` on: what `megafold train` with this config sees.

    config: YAML file of `megafold train`; set: values that go before its own, "key=value".
    count: batches of one pass; None: without end. first: visit to begin with (resume).
    program: the program, else $MEGAFOLD, else `megafold` on PATH.

    Threads, queue and crop are the config's (`data.threads`, `data.queue`, `data.crop.tokens`), so
    a DataLoader needs at most one worker. Ranks that train together each take a seed of their own.
    """

    def __init__(self, config, *, set=(), count=None, first=0, program=None):  # noqa: A002
        super().__init__()
        self.program = program or os.environ.get("MEGAFOLD") or shutil.which("megafold")
        if self.program is None:
            raise FileNotFoundError(
                "the program megafold is not on PATH: ./dev build, then pass "
                "program='build/cpu/megafold' or set MEGAFOLD"
            )
        self.config, self.set, self.count, self.first = config, tuple(set), count, first

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError("a Dataset without `count` has no end")
        return self.count

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise ValueError(
                f"num_workers is {worker.num_workers}: every worker would make the same batches; "
                "use 0 or 1, and the config's data.threads"
            )
        command = [str(self.program), "data", "stream", str(self.config)]
        command += ["--first", str(self.first), "--count", str(self.count or 0)]
        for value in self.set:
            command += ["--set", value]
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, bufsize=0)
            try:
                while True:
                    head = _read(process.stdout, 8)
                    if not head:
                        break
                    (size,) = struct.unpack("<Q", head) if len(head) == 8 else (0,)
                    frame = _read(process.stdout, size)
                    if len(head) < 8 or len(frame) < size:
                        break  # the program died at work; its code says why
                    yield unpack(frame)
                if process.wait() != 0:
                    said.seek(0)
                    text = said.read().decode(errors="replace").strip()
                    raise RuntimeError(text or f"{command[0]} ended with {process.returncode}")
            finally:
                process.stdout.close()
                if process.poll() is None:
                    process.terminate()
                process.wait()


def openfold3_features(batch: Batch) -> dict:
    """The batch by the names, encodings and types of OpenFold 3's model, without a batch axis.

    It has one empty template: OpenFold 3 wants pair features, megafold's batches carry coordinates.
    """
    one_hot = torch.nn.functional.one_hot
    atoms = batch["atom_to_token"]
    tokens = len(batch["restype"])
    count = torch.bincount(atoms, weights=batch["atom_mask"], minlength=tokens).long()
    same = (
        "residue_index", "token_index", "asym_id", "entity_id", "sym_id", "token_bonds",
        "token_mask", "atom_mask", "ref_pos", "ref_mask", "ref_charge", "ref_space_uid", "profile",
        "deletion_mean", "is_protein", "is_rna", "is_dna", "is_ligand", "is_atomized",
    )  # fmt: skip
    deletion = batch["deletion"].float()
    return {key: batch[key] for key in same} | {
        "restype": one_hot(batch["restype"], 32).float(),
        "ref_element": one_hot((batch["ref_element"] - 1).clamp_min(0), 119).float(),
        "ref_atom_name_chars": one_hot(batch["ref_atom_name_chars"], 64).float(),
        "has_deletion": (deletion > 0).float(),
        "deletion_value": torch.atan(deletion / 3) * (2 / torch.pi),
        "msa": one_hot(batch["msa"].long(), 32).float(),
        "msa_mask": batch["msa_mask"].float(),
        "num_atoms_per_token": count,
        "start_atom_index": torch.cumsum(count, 0) - count,
        "atom_to_token_index": atoms,
        "num_paired_seqs": torch.tensor(1 + batch.paired_rows),  # the query counts
        "template_restype": one_hot(torch.full([1, tokens], 31), 32).float(),
        "template_distogram": torch.zeros(1, tokens, tokens, 39),
        "template_unit_vector": torch.zeros(1, tokens, tokens, 3),
        "template_pseudo_beta_mask": torch.zeros(1, tokens),
        "template_backbone_frame_mask": torch.zeros(1, tokens),
        "ground_truth": {
            "atom_positions": batch["atom_positions"],
            "atom_resolved_mask": batch["atom_resolved_mask"],
        },
    }  # fmt: skip
