# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""What a person looks at: the page of a build, stats, and files that other programs read."""

import gzip
import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest
from cache_reader import np, reader

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("pages", ROOT / "tests/predict/test_report.py")
pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)


def text_of(name):
    return gzip.decompress((ROOT / f"data/entries/{name}.cif.gz").read_bytes()).decode()


@pytest.fixture(scope="module")
def built(megafold, tmp_path_factory):
    """The demonstration's entries, one that is broken, one without atoms, one that says less."""
    folder = tmp_path_factory.mktemp("look")
    data = folder / "data"
    shutil.copytree(ROOT / "data/entries", data)
    shutil.copytree(ROOT / "data/alignments", data / "alignments")
    shutil.copy(ROOT / "data/components.bcif.gz", data)
    (data / "9bad.cif").write_text(text_of("1ubq").replace("26.266", "26.x66", 1))
    rows = [row.split() for row in text_of("1ubq").splitlines()]
    empty = [" ".join([*r[:13], "0.00", *r[14:]]) if r[:1] == ["ATOM"] else " ".join(r)
             for r in rows if r[:1] != ["HETATM"]]  # fmt: skip
    (data / "9occ.cif").write_text("\n".join(empty) + "\n")
    without = [part for part in text_of("1pzp").split("\n# \n")
               if not re.search(r"^(loop_\n)?_(entity|entity_poly|entity_poly_seq|struct_asym|"
                                r"pdbx_poly_seq_scheme)\.", part, re.M)]  # fmt: skip
    (data / "9few.cif").write_text("\n# \n".join(without))
    (data / "no_chain_A.a3m").write_text(">q<&\nACDEF\n")
    done = megafold("cache", "build", "--data", data, "--out", folder / "cache")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def report(built):
    return json.loads((built / "cache/report.json").read_text())


def test_the_report_says_what_was_inferred(report):
    by_id = {entry["id"]: entry for entry in report["entries"]}
    assert by_id["1pzp"]["inferred"] == []
    words = " ".join(by_id["9few"]["inferred"])
    assert "no entity is named" in words and "263 residues of sequence" in words
    assert by_id["2q2k"]["rows"] == {label: 20 for label in ("B", "B-2", "C", "C-2")}
    assert report["stored_bytes"] == sum(
        {e["id"]: e["bytes"] for e in report["entries"] if e["verdict"] == "kept"}.values()
    )


def test_the_page_is_whole_and_alone(built, report):
    text = (built / "cache/report.html").read_text()
    page = pages.Page(text)
    assert not page.problems
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"https?://|@import|url\(", text)
    assert "7entries" in page.text["tile-kept"]
    assert page.text["left-out"].index("9bad") < page.text["left-out"].index("9occ")
    assert "9bad.cif:1555" in page.text["left-out"]
    assert "no entity is named" in page.text["inferred"]
    for entry in report["entries"]:
        table = "entries" if entry["verdict"] == "kept" else "left-out"
        assert entry["id"] in page.text[table]
    assert text.index('id="left-out"') < text.index('id="map"') < text.index('id="entries"')
    assert "no_chain_A.a3m" in text


def test_a_second_build_tells_the_same(megafold, built, report):
    done = megafold("cache", "build", "--data", built / "data", "--out", built / "cache")
    assert done.returncode == 0, done.stderr
    again = json.loads((built / "cache/report.json").read_text())
    for one, other in zip(report["entries"], again["entries"], strict=True):
        for entry in (one, other):
            entry.pop("seconds"), entry.pop("reused", None)
        assert one == other
    assert again["stored_bytes"] == report["stored_bytes"]


def test_stats_count_what_the_records_hold(megafold, built):
    cache = reader.open(built / "cache")
    done = megafold("cache", "stats", built / "cache", "--json")
    assert done.returncode == 0, done.stderr
    stats = json.loads(done.stdout)
    tokens = sorted(len(cache[name]["token_restype"]) for name in cache)
    assert stats["kept"] == len(cache) == 7
    assert (stats["dropped"], stats["failed"]) == (1, 1)
    assert stats["tokens"]["max"] == tokens[-1]
    assert stats["tokens"]["p50"] == tokens[len(tokens) // 2]
    assert stats["largest"] == "2q2k"
    assert sum(stats["tokens_by_type"].values()) == sum(tokens)
    assert stats["chains_by_type"]["protein"]["aligned"] == 4
    assert stats["first_release"] == min(cache[n].meta["release_date"] for n in cache)
    shards = [p.stat().st_size for p in (built / "cache/shards").iterdir()]
    assert (stats["shards"], stats["shard_bytes"]) == (len(shards), sum(shards))
    assert stats["unused_bytes"] == 0
    assert stats["with_inferred_facts"] == 1
    shown = megafold("cache", "stats", built / "cache").stdout
    assert "7 entries kept" in shown and "atom_position" in shown


def test_exported_arrays_are_the_records(megafold, built, tmp_path):
    done = megafold("cache", "export", built / "cache", "--entry", "2q2k", "--format", "npz",
                    "--out", tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["2q2k.npz"]
    entry = reader.open(built / "cache")["2q2k"]
    with np.load(tmp_path / "2q2k.npz", allow_pickle=False) as file:
        names = set(entry) | {f"alignment/{c}/{n}" for c in ("B", "B-2", "C", "C-2")
                              for n in entry.alignment("B")}  # fmt: skip
        assert set(file) == names
        for name in set(entry) - {"meta"}:
            assert file[name].dtype == entry[name].dtype
            np.testing.assert_array_equal(file[name], entry[name])
        # The program's meta names the alignments too.
        meta = json.loads(file["meta"].tobytes())
        assert all(meta[key] == entry.meta[key] for key in entry.meta if key != "chains")
        np.testing.assert_array_equal(file["alignment/C/msa"], entry.alignment("C")["msa"])


def test_exported_files_make_the_same_entries_again(megafold, built, tmp_path):
    done = megafold("cache", "export", built / "cache", "--out", tmp_path / "d", "--format",
                    "cif,a3m")  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = megafold("cache", "build", "--data", tmp_path / "d", "--out", tmp_path / "c", "--ccd",
                    ROOT / "data/components.bcif.gz", "--strict")  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = reader.open(built / "cache"), reader.open(tmp_path / "c")
    assert list(first) == list(second)
    for name in first:
        a, b = first[name], second[name]
        for array in a:
            if array == "meta":
                continue
            if a[array].dtype.kind == "f":
                np.testing.assert_allclose(a[array], b[array], atol=6e-4, err_msg=f"{name} {array}")
            else:
                np.testing.assert_array_equal(a[array], b[array], err_msg=f"{name} {array}")
        for key in ("title", "method", "resolution", "release_date"):
            assert a.meta[key] == b.meta[key]
        for chain in a.meta["chains"]:
            x, y = a.alignment(chain["label"]), b.alignment(chain["label"])
            assert x is None or len(x["pairing_hit"]) > 5, "2q2k has rows to be paired"
            assert (x is None) == (y is None)
            for array in set(x) - {"meta"} if x is not None else ():
                np.testing.assert_array_equal(x[array], y[array])


def test_no_such_entry_is_said(megafold, built, tmp_path):
    done = megafold("cache", "export", built / "cache", "--entry", "1ubx", "--out", tmp_path)
    assert done.returncode == 2
    assert "nearest: 1ubq" in done.stderr
