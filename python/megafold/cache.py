# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Reads megafold's ahead-of-time cache with numpy and zstandard alone, no part of megafold's C++.

    cache = megafold.cache.open("runs/demo/cache")
    entry = cache["1ubq"]
    entry.meta["resolution"], entry["atom_position"]     # a dict; a numpy array [A, 3]
    entry.alignment("A").rows("msa", 0, 256)             # reads only the blocks it needs

What each array means stands in src/features/schema.h, every byte in src/cache/FORMAT.md. The
program checks XXH3 sums; this reader does so where the package xxhash is installed.
"""

import json
import struct
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import zstandard

try:
    from xxhash import xxh3_64_intdigest
except ImportError:
    xxh3_64_intdigest = None

_TYPES = {"u8": np.uint8, "i8": np.int8, "i32": np.int32, "i64": np.int64, "f32": np.float32}
_VERDICTS = ("kept", "dropped", "failed")


class CorruptError(ValueError):
    """The file is not what its checksums, sizes or version say."""


def _check(data: bytes, digest: int, what: str):
    if xxh3_64_intdigest is not None and xxh3_64_intdigest(data) != digest:
        raise CorruptError(f"{what}: wrong checksum")


class Record(Mapping):
    """Named arrays; each is read when asked for."""

    def __init__(self, path: Path, offset: int, size: int, key: str):
        self.path, self.offset, self.key = path, offset, key
        head, tail = self._read(0, 16), self._read(size - 40, 40)
        if head[:8] != b"MFRECORD" or tail[32:] != b"MFRECEND" or head[8:12] != b"\2\0\0\0":
            raise CorruptError(f"{path}: no record of version 2 at {offset}")
        at, length, digest, ends = struct.unpack("<4Q", tail[:32])
        _check(head + tail[:24], ends, f"{path}: ends of the record {key}")
        text = self._read(at, length)
        _check(text, digest, f"{path}: index of the record {key}")
        self._arrays = {array["name"]: array for array in json.loads(text)["arrays"]}

    def _read(self, at: int, size: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset + at)
            data = file.read(size)
        if len(data) != size:
            raise CorruptError(f"{self.path}: ends early (cut short?)")
        return data

    def __iter__(self):
        return iter(self._arrays)

    def __len__(self):
        return len(self._arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        shape = self._arrays[name]["shape"]
        return self.rows(name, 0, shape[0] if shape else 1).reshape(shape)

    def rows(self, name: str, first: int, last: int) -> np.ndarray:
        """Rows [first, last) of an array, from the blocks that they touch."""
        array = self._arrays[name]
        dtype, shape = np.dtype(_TYPES[array["type"]]), array["shape"]
        row = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        start, parts, skip = 0, [], 0
        for block, (at, packed, raw, digest) in enumerate(array["blocks"]):
            if start + raw > first * row and start < last * row:
                skip = skip if parts else first * row - start
                data = self._read(at, packed)
                _check(data, int(digest, 16), f"{self.path}: {name}, block {block + 1}")
                parts.append(zstandard.decompress(data, max_output_size=raw))
            start += raw
        data = b"".join(parts)[skip : skip + (last - first) * row]
        return np.frombuffer(data, dtype).reshape([last - first, *shape[1:]])


class Entry(Record):
    def __init__(self, cache, row, links):
        super().__init__(*row)
        self._cache, self._links = cache, links

    @cached_property
    def meta(self) -> dict:
        return json.loads(self["meta"].tobytes())

    def alignment(self, label: str) -> Record | None:
        """The alignment of the chain with this label (meta["chains"][i]["label"])."""
        return Record(*self._links[0][label]) if label in self._links[0] else None

    def templates(self, label: str) -> Record | None:
        """The template candidates of that chain."""
        return Record(*self._links[1][label]) if label in self._links[1] else None


class Cache(Mapping):
    """Entries by id, sorted; `verdicts` has those that were dropped or failed too."""

    def __init__(self, folder):
        self.folder = Path(folder)
        pages = (self.folder / "index.mfi").read_bytes()
        if len(pages) == 0 or len(pages) % 4096:
            raise CorruptError(f"{folder}/index.mfi: no whole pages (cut short?)")
        data = b""
        for number, at in enumerate(range(0, len(pages), 4096)):
            page, digest = pages[at : at + 4088], struct.unpack_from("<Q", pages, at + 4088)[0]
            _check(page + struct.pack("<Q", number), digest, f"{folder}/index.mfi: page {number}")
            data += page
        magic, version, _, shards, records, entries, links, _, key = struct.unpack_from(
            "<8s2I5Q32s", data
        )
        if magic != b"MFINDEX\0" or version != 4:
            raise CorruptError(f"{folder}/index.mfi: no index of version 4")
        self.content_key = key.hex()
        record_at = 96 + 16 * shards
        entry_at = record_at + 56 * records
        link_at = entry_at + 120 * entries
        text_at = link_at + 24 * links
        names = [data[96 + 16 * i :][:16].decode() for i in range(shards)]
        rows, self.verdicts, self._entries = [], {}, {}

        def text(offset: int, size: int) -> str:
            return data[text_at + offset : text_at + offset + size].decode()

        for i in range(records):
            digest, _, shard, at, size = struct.unpack_from("<32s2I2Q", data, record_at + 56 * i)
            path = self.folder / "shards" / f"{names[shard]}.mfs"
            rows.append((path, at, size, digest.hex()))
        by_key = {row[3]: row for row in rows}
        for i in range(entries):
            digest, a, b, verdict, c, d, count, first = struct.unpack_from(
                "<32sQIIQIIQ", data, entry_at + 120 * i
            )
            self.verdicts[text(a, b)] = (_VERDICTS[verdict], text(c, d))
            if verdict == 0:
                linked = ({}, {})  # alignments, templates
                for k in range(first, first + count):
                    e, f, kind, to = struct.unpack_from("<Q2IQ", data, link_at + 24 * k)
                    linked[kind][text(e, f)] = rows[to]
                self._entries[text(a, b)] = (by_key[digest.hex()], linked)

    def __iter__(self):
        return iter(self._entries)

    def __len__(self):
        return len(self._entries)

    def __getitem__(self, name: str) -> Entry:
        return Entry(self, *self._entries[name])


def open(folder) -> Cache:  # noqa: A001 - called as megafold.cache.open
    return Cache(folder)
