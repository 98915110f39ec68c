# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""megafold.cache.open against the entries themselves, read here by other means, and damage."""

import gzip
import shutil
from pathlib import Path

import pytest
from cache_reader import np, reader

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(cache):
    return cache


def test_entries_and_verdicts(folder):
    cache = reader.open(folder)
    assert list(cache) == ["1kd8", "1pzp", "1ubq", "2q2k", "4i6p", "4zey"]
    assert set(cache.verdicts.values()) == {("kept", "")}
    assert len(cache.content_key) == 64


def test_positions_are_the_files(folder):
    """Every atom of 1ubq's chain, by its column in the text."""
    text = gzip.decompress((ROOT / "data/entries/1ubq.cif.gz").read_bytes()).decode()
    atoms = [line.split() for line in text.splitlines() if line.startswith("ATOM ")]
    expected = np.array([[float(x) for x in atom[10:13]] for atom in atoms], np.float32)
    entry = reader.open(folder)["1ubq"]
    resolved = entry["atom_position"][entry["atom_resolved"] == 1]
    assert len(expected) == 602
    order = np.lexsort(expected.T), np.lexsort(resolved.T)
    np.testing.assert_array_equal(resolved[order[1]], expected[order[0]])
    assert entry.meta["id"] == "1ubq"
    assert entry.alignment(entry.meta["chains"][0]["label"]) is None


def test_alignment_rows(folder):
    entry = reader.open(folder)["2q2k"]
    chain = next(c for c in entry.meta["chains"] if entry.alignment(c["label"]) is not None)
    alignment = entry.alignment(chain["label"])
    msa = alignment["msa"]
    assert msa.shape[1] == len(chain["sequence"]) == 70
    letters = "ARNDCQEGHILKMFPSTWYV"
    assert "".join(letters[c] for c in msa[0]) == chain["sequence"]
    np.testing.assert_array_equal(alignment.rows("msa", 3, 9), msa[3:9])
    share = np.stack([(msa == c).mean(0) for c in range(32)], 1)
    np.testing.assert_allclose(alignment["profile"], share, atol=1e-6)


def test_damage_is_an_error(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "c")
    index = tmp_path / "c/index.mfi"
    whole = index.read_bytes()
    index.write_bytes(whole[:-1])
    with pytest.raises(reader.CorruptError, match="cut short"):
        reader.open(tmp_path / "c")
    index.write_bytes(whole)
    for shard in (tmp_path / "c/shards").iterdir():
        shard.write_bytes(shard.read_bytes()[:100])
    cache = reader.open(tmp_path / "c")
    with pytest.raises(reader.CorruptError):
        cache["1ubq"]


def test_flipped_byte_is_an_error(folder, tmp_path):
    pytest.importorskip("xxhash", reason="without it the sums are not compared")
    shutil.copytree(folder, tmp_path / "c")
    index = tmp_path / "c/index.mfi"
    flipped = bytearray(index.read_bytes())
    flipped[200] ^= 1
    index.write_bytes(flipped)
    with pytest.raises(reader.CorruptError, match="checksum"):
        reader.open(tmp_path / "c")
