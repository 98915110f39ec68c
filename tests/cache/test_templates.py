# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Template hits from files to the cache, compared with the entries' own records."""

import json
import shutil
from pathlib import Path

import pytest
from cache_reader import np, reader

ROOT = Path(__file__).resolve().parents[2]

LETTERS = "ARNDCQEGHILKMFPSTWYV"
HITS = """\
q\t1ubq_A\t1.0\t76\t0\t0\t1\t76\t1\t76\t1e-40\t150\t76M
q\t1pzp_A\t0.3\t52\t30\t1\t5\t56\t11\t64\t1e-5\t40\t20M2I10M4D20M
q\t4i6p_A\t0.3\t30\t20\t0\t1\t30\t21\t50\t1e-9\t60\t30M
q\t9zzz_A\t0.3\t30\t20\t0\t1\t30\t1\t30\t1e-8\t50\t30M
q\t1pzp_A\t0.3\t7\t20\t0\t1\t7\t1\t7\t1e-3\t10\t7M
q\t1pzp_Q\t0.3\t30\t20\t0\t1\t30\t1\t30\t1e-2\t50\t30M
"""


@pytest.fixture
def data(tmp_path):
    """1ubq with hits; what they name lies in a folder of its own, one file of it unreadable."""
    data, templates = tmp_path / "data", tmp_path / "templates"
    for folder in (data, templates / "ub"):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "data/entries/1ubq.cif.gz", data)
    shutil.copy(ROOT / "data/components.bcif.gz", data)
    (data / "1ubq_A.m8").write_text(HITS)
    for name in ("1pzp", "4i6p"):
        shutil.copy(ROOT / f"data/entries/{name}.cif.gz", templates / "ub")
    return data, templates


def build(megafold, data, templates, out):
    done = megafold("cache", "build", "--data", data, "--templates", templates, "--out", out)
    assert done.returncode == 0, done.stderr
    return done


def test_candidates_lie_where_the_hits_say(megafold, data, tmp_path):
    build(megafold, *data, tmp_path / "cache")
    entry = reader.open(tmp_path / "cache")["1ubq"]
    templates = entry.templates("A")
    meta = json.loads(templates["meta"].tobytes())
    assert [c["entry"] for c in meta["candidates"]] == ["4i6p", "1pzp"]  # by e-value
    assert meta["left_out"] == {
        "the sequence itself": 1,
        "no file of the entry": 1,
        "too few residues": 1,
        "in no chain of the entry": 1,
    }
    dates = [c["release_date"].replace("-", "") for c in meta["candidates"]]
    assert [str(d) for d in templates["template_date"]] == dates
    # 20M2I10M4D20M from (5, 11) on: columns 4..23, 26..35, 36..55 show residues 10.., 30.., 44..
    whole = tmp_path / "whole"
    done = megafold("cache", "build", "--data", ROOT / "data", "--out", whole)
    assert done.returncode == 0, done.stderr
    cache = reader.open(whole)
    for date, name in zip(dates, ("4i6p", "1pzp"), strict=True):
        assert cache[name].meta["release_date"].replace("-", "") == date
    other = cache["1pzp"]
    chain = next(c for c in other.meta["chains"] if c["auth"] == "A" and c["type"] == "protein")
    row = [c["label"] for c in other.meta["chains"]].index(chain["label"])
    laid = {4 + k: 10 + k for k in range(20)}
    laid |= {26 + k: 30 + k for k in range(10)} | {36 + k: 44 + k for k in range(20)}
    restype, mask = templates["template_restype"][1], templates["template_mask"][1]
    position = templates["template_position"][1].reshape(-1, 4, 3)
    tokens = np.flatnonzero(other["token_chain"] == row)
    by_column = {other["token_msa_column"][t]: t for t in tokens}
    for column in range(76):
        if column not in laid:
            assert restype[column] == 31 and mask[column] == 0
            continue
        assert restype[column] == LETTERS.index(chain["sequence"][laid[column]])
        token = by_column[laid[column]]
        first, count = other["token_atom_start"][token], other["token_atom_count"][token]
        names = [bytes(n).decode().strip() for n in other["atom_name"][first : first + count]]
        seen = other["atom_resolved"][first : first + count]
        for k, name in enumerate(["N", "CA", "C", "CB" if "CB" in names else "CA"]):
            at = names.index(name)
            want = other["atom_position"][first + at] if seen[at] else 0
            np.testing.assert_array_equal(position[column, k], want)


def test_a_changed_template_makes_another_record(megafold, data, tmp_path):
    folder, templates = data
    build(megafold, folder, templates, tmp_path / "a")
    build(megafold, folder, templates, tmp_path / "b")
    assert megafold("cache", "diff", tmp_path / "a", tmp_path / "b").stdout.count("1ubq") == 0
    (templates / "ub/4i6p.cif.gz").write_bytes(b"not a structure")
    done = build(megafold, folder, templates, tmp_path / "b")
    assert "no template: " in done.stderr and "4i6p" in done.stderr
    found = megafold("cache", "diff", tmp_path / "a", tmp_path / "b").stdout
    assert "the record of templates of chain A differs" in found
    assert megafold("cache", "verify", tmp_path / "b").returncode == 0


def test_bad_hits_fail_the_entry_with_file_and_line(megafold, data, tmp_path):
    folder, templates = data
    (folder / "1ubq_A.m8").write_text(HITS + "q\t1pzp_A\t0.3\tmany\n")
    done = megafold(
        "cache", "build", "--data", folder, "--templates", templates, "--out", tmp_path / "c"
    )
    assert done.returncode != 0
    assert "1ubq_A.m8:7" in done.stderr
