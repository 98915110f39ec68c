# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""The commands that look after a cache, and the filters of a run, as a user meets them."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cache(megafold, tmp_path_factory):
    folder = tmp_path_factory.mktemp("program") / "cache"
    done = megafold("cache", "build", "--data", ROOT / "data", "--out", folder, "--strict")
    assert done.returncode == 0, done.stderr
    return folder


def test_parts_make_the_same_cache(megafold, cache, tmp_path):
    build = ("cache", "build", "--data", ROOT / "data", "--out", tmp_path / "c")
    for part in ("2/3", "3/3", "1/3"):
        done = megafold(*build, "--shard", part)
        assert done.returncode == 0, done.stderr
        assert "build once more without --shard" in done.stdout
        assert megafold("cache", "inspect", tmp_path / "c").returncode == 2  # not finished
    assert megafold(*build).returncode == 0
    done = megafold("cache", "diff", cache, tmp_path / "c", "--strict")
    assert done.returncode == 0, done.stdout
    assert "content keys equal" in done.stdout


@pytest.mark.parametrize("part", ["0/2", "3/2", "x", "1"])
def test_odd_parts_are_refused(megafold, tmp_path, part):
    build = ("cache", "build", "--data", ROOT / "data", "--out", tmp_path / "c")
    assert megafold(*build, "--shard", part).returncode == 2


def test_verify_names_the_damage_and_a_build_mends_it(megafold, tmp_path):
    build = ("cache", "build", "--data", ROOT / "data", "--out", tmp_path / "c")
    assert megafold(*build).returncode == 0
    shard = max((tmp_path / "c/shards").iterdir(), key=lambda p: p.stat().st_size)
    whole = shard.read_bytes()
    shard.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    done = megafold("cache", "verify", tmp_path / "c")
    assert done.returncode == 3
    assert shard.name in done.stderr
    assert "block" in done.stderr
    done = megafold(*build)
    assert done.returncode == 0
    assert "not used: " in done.stderr
    assert shard.read_bytes() == whole
    assert megafold("cache", "verify", tmp_path / "c").returncode == 0


def test_gc_frees_what_an_earlier_input_left(megafold, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    ccd = ("--ccd", ROOT / "data/components.bcif.gz")
    for name in ("1ubq", "4zey"):
        (data / f"{name}.cif.gz").write_bytes((ROOT / f"data/entries/{name}.cif.gz").read_bytes())
        done = megafold("cache", "build", "--data", data, "--out", tmp_path / "c", *ccd)
        assert done.returncode == 0, done.stderr
    (data / "1ubq.cif.gz").unlink()
    assert megafold("cache", "build", "--data", data, "--out", tmp_path / "c", *ccd).returncode == 0
    assert len(list((tmp_path / "c/shards").iterdir())) == 2
    done = megafold("cache", "gc", tmp_path / "c", "--dry-run")
    assert "1 shards would be removed" in done.stdout
    assert len(list((tmp_path / "c/shards").iterdir())) == 2
    assert megafold("cache", "gc", tmp_path / "c").returncode == 0
    assert len(list((tmp_path / "c/shards").iterdir())) == 1
    assert megafold("cache", "verify", tmp_path / "c").returncode == 0


def test_profile_tells_every_stage(megafold, cache, tmp_path):
    out = tmp_path / "p.json"
    done = megafold("data", "profile", cache, "--visits", "3", "--crop", "64", "--out", out)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert set(report["entries"]) == {"1kd8", "1pzp", "1ubq", "2q2k", "4i6p", "4zey"}
    one = report["entries"]["2q2k"]
    assert set(one["stage_wall_ms_p50"]) == {"structure", "crop", "gather", "alignment"}
    assert 0 < one["wall_ms"]["p50"] <= one["wall_ms"]["p99"]
    assert one["tokens_max"] == 64
    assert one["bytes_read_p50"] > 0


TINY = ("training.steps=1", "training.batch=1", "model.preset=tiny", "data.crop.tokens=24")


def train(megafold, cache, run, *settings):
    sets = [x for s in (*TINY, f"data.cache={cache}", *settings) for x in ("--set", s)]
    return megafold("train", ROOT / "configs/demo.yaml", "--run", run, *sets)


def test_no_entry_past_the_cut_off_is_seen(megafold, cache, tmp_path):
    done = train(megafold, cache, tmp_path / "r", "data.entries=[]", "data.released_by=2008-12-31")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "left out: 4i6p: released 20" in said
    assert ", after 2008-12-31" in said
    assert "with an alignment" in said


def test_a_cut_off_before_all_is_refused(megafold, cache, tmp_path):
    done = train(megafold, cache, tmp_path / "r", "data.entries=[]", "data.released_by=1970-01-01")
    assert done.returncode == 2
    assert "leave out every one of 6 entries" in done.stderr
    done = train(megafold, cache, tmp_path / "s", "data.released_by=yesterday")
    assert done.returncode == 2
    assert "is no date" in done.stderr
