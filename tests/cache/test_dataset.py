# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""megafold.data.Dataset: the batches that the trainer sees, byte for byte."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]
# By its path: the package around it needs its built libraries, the dataset does not.
_spec = importlib.util.spec_from_file_location("dataset", ROOT / "python/megafold/data.py")
data = importlib.util.module_from_spec(_spec)
sys.modules["dataset"] = data  # a worker's batches are pickled by name
_spec.loader.exec_module(data)

CONFIG = ROOT / "configs/demo_crops.yaml"


@pytest.fixture(scope="module")
def settings(cache):
    return [f"data.cache={cache}", "seed=11", "data.crop.tokens=40", "data.msa.max_rows=16"]


@pytest.fixture
def dataset(megafold, settings):
    def make(**options):
        return data.Dataset(CONFIG, set=settings, program=megafold.program, **options)

    return make


def same(a, b):
    return list(a) == list(b) and all(
        a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a
    )


def test_the_trainer_sees_the_same_batches(megafold, settings, dataset, tmp_path):
    sets = [x for s in (*settings, "training.steps=3", "training.batch=2", "model.preset=tiny")
            for x in ("--set", s)]  # fmt: skip
    done = megafold("train", CONFIG, "--run", tmp_path / "run", *sets)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(s) for s in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    seen = ",".join(line["batch"] for line in lines if line["event"] == "step").split(",")
    assert len(set(seen)) == 6
    batches = list(dataset(count=6))
    assert [batch.checksum for batch in batches] == seen
    assert [checksum_of(batch) for batch in batches] == seen


def checksum_of(batch):
    """src/train/samples.h, made again from the tensors that arrived."""
    xxhash = pytest.importorskip("xxhash", reason="without it the sums are not made again")
    words = {torch.int64: "Long", torch.float32: "Float", torch.bool: "Bool", torch.uint8: "Byte"}
    total = 0
    for name, tensor in batch.items():
        shape = ",".join(map(str, tensor.shape))
        inside = xxhash.xxh3_64_intdigest(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        text = f"{name} {words[tensor.dtype]} {shape} {inside:016x} {total:016x}"
        total = xxhash.xxh3_64_intdigest(text.encode())
    return f"{total:016x}"


def test_a_visit_depends_on_nothing_before_it(dataset):
    batches = list(dataset(count=5))
    assert [batch.visit for batch in batches] == [0, 1, 2, 3, 4]
    later = list(dataset(count=2, first=3))
    assert all(same(a, b) for a, b in zip(batches[3:], later, strict=True))
    assert len({tuple(b["residue_index"].tolist()) for b in batches}) > 1, "crops differ"
    for batch in batches:
        assert len(batch["restype"]) <= 40 and batch["msa"].shape[0] <= 16
        assert batch["atom_positions"].shape == (len(batch["atom_to_token"]), 3)
        assert batch["msa"].dtype == torch.uint8
        assert batch.id in ("1kd8", "1pzp", "1ubq", "2q2k", "4i6p", "4zey")


def test_a_loader_of_torch_takes_it(dataset):
    plain = list(dataset(count=3))
    for workers in (0, 1):
        loader = torch.utils.data.DataLoader(
            dataset(count=3), batch_size=None, num_workers=workers, timeout=60 * workers
        )
        assert all(same(a, b) for a, b in zip(plain, loader, strict=True))
    loader = torch.utils.data.DataLoader(dataset(count=3), batch_size=None, num_workers=2)
    with pytest.raises(ValueError, match="same batches"):
        next(iter(loader))


def test_leaving_early_ends_the_program(dataset):
    batches = iter(dataset())  # without an end
    assert next(batches).visit == 0
    batches.close()
    with pytest.raises(TypeError, match="no end"):
        len(dataset())


def test_what_the_program_refuses_is_said(megafold, tmp_path):
    broken = data.Dataset(CONFIG, set=[f"data.cache={tmp_path}"], program=megafold.program)
    with pytest.raises(RuntimeError, match="is not a cache"):
        next(iter(broken))


def test_words_of_openfold3(dataset):
    (batch,) = dataset(count=1)
    features = data.openfold3_features(batch)
    tokens, atoms = len(batch["restype"]), len(batch["atom_to_token"])
    assert features["msa"].shape == (batch["msa"].shape[0], tokens, 32)
    assert torch.equal(features["msa"].argmax(-1), batch["msa"].long())
    assert features["num_paired_seqs"] == 1 + batch.paired_rows
    assert features["ref_element"].shape == (atoms, 119)
    assert torch.equal(features["ref_element"].argmax(-1) + 1, batch["ref_element"])
    assert int(features["num_atoms_per_token"].sum()) == atoms
    owner = batch["atom_to_token"]
    assert torch.equal(features["start_atom_index"][owner], torch.searchsorted(owner, owner))


def run_in_peer(part, *command):
    """A script in the Python that has the peer (MEGAFOLD_PEER_PYTHON), skipped without `part`."""
    python = os.environ.get("MEGAFOLD_PEER_PYTHON", sys.executable)
    if subprocess.run([python, "-c", f"import {part}"], capture_output=True).returncode != 0:
        pytest.skip(f"no {part} in this Python; MEGAFOLD_PEER_PYTHON names one that has it")
    done = subprocess.run([python, *command], capture_output=True, text=True, timeout=900, cwd=ROOT)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return done.stdout


@pytest.mark.full
def test_openfold3_trains_on_it(megafold, settings):
    said = run_in_peer(
        "openfold3", "examples/openfold3_from_cache.py", CONFIG, "--steps", "2",
        "--program", megafold.program, "--set", *settings,
    )  # fmt: skip
    assert "step 2" in said


@pytest.mark.full
def test_equals_openfold3s_own_reader(megafold, cache):
    said = run_in_peer(
        "openfold3.core.data.pipelines.preprocessing.structure",
        "tests/oracle/compare_openfold3.py", "data", cache, "--program", megafold.program,
    )  # fmt: skip
    assert said.count(": 0 differ") == 6, said
