# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Modules, losses and whole models beside the peers' own, on vectors made here and now; weights of
released sizes through `megafold convert`; bad folders.

MEGAFOLD_PEER_PYTHON names the interpreter of an environment that holds protenix and openfold3 (they
pin their own torch); without one the comparisons are skipped.
"""

import json
import os
import struct
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def peer():
    python = os.environ.get("MEGAFOLD_PEER_PYTHON")
    if not python:
        pytest.skip("MEGAFOLD_PEER_PYTHON is not set")

    def run(script, *arguments):
        subprocess.run([python, HERE / script, *map(str, arguments)], check=True, timeout=1200)

    return run


@pytest.mark.full
@pytest.mark.parametrize("seed", ["1", "4"])
@pytest.mark.parametrize(
    "dialect, script, cases",
    [
        ("protenix", "protenix_model.py", 5),
        ("protenix", "protenix_modules.py", 4),
        ("openfold3", "openfold3_model.py", 6),
        ("openfold3", "openfold3_modules.py", 34),
        ("openfold3", "openfold3_confidence.py", 13),
    ],
)
def test_vectors_of_a_peer(megafold, peer, tmp_path, dialect, script, cases, seed):
    peer(script, tmp_path, "--seed", seed)
    done = megafold("parity", tmp_path, "--dialect", dialect)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == f"{cases} passed, 0 failed"


@pytest.mark.full
@pytest.mark.parametrize("dialect, seed", [("protenix", "5"), ("openfold3", "1")])
def test_whole_models_in_f32_are_as_exact_as_the_peers(megafold, peer, tmp_path, dialect, seed):
    """Seeds at which no ReLU turns (docs/numerics.md): the worst gradient of each case is within
    the limit or within twice the peer's own error in f32."""
    peer(f"{dialect}_model.py", tmp_path, "--seed", seed, "--single")
    done = megafold("parity", tmp_path, "--dialect", dialect, "--dtype", "f32")
    single = json.loads((tmp_path / "single.json").read_text())
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("model_")]
    assert len(rows) == len(single)
    for name, outputs, _, parameters, *_ in rows:
        assert float(outputs) <= 5e-6, name
        assert float(parameters) <= max(5e-6, 2 * single[name]["parameters"]), name


@pytest.mark.full
def test_modules_of_openfold3_at_another_length(megafold, peer, tmp_path):
    peer("openfold3_modules.py", tmp_path, "--seed", "5", "--tokens", "29")
    done = megafold("parity", tmp_path, "--dialect", "openfold3")
    assert done.stdout.splitlines()[-1] == "34 passed, 0 failed"


def tensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Of a safetensors file: type, shape and bytes by name."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    begin = 8 + length
    return {
        name: (one["dtype"], one["shape"], data[slice(*(begin + at for at in one["data_offsets"]))])
        for name, one in header.items()
    }


@pytest.mark.full
@pytest.mark.parametrize("dialect", ["protenix", "openfold3"])
def test_released_sizes_through_convert(megafold, peer, tmp_path, dialect):
    """About 370 M random weights: convert, compare a whole pass and gradients, convert back."""
    peer(f"{dialect}_model.py", tmp_path, "--released")
    ours, again = tmp_path / "ours.safetensors", tmp_path / "again.safetensors"
    done = megafold("convert", tmp_path / "peer.pt", ours, "--from", dialect)
    assert done.returncode == 0, done.stderr
    done = megafold("parity", tmp_path, "--dialect", dialect)
    assert done.returncode == 0, done.stdout
    back = tmp_path / "back.safetensors"
    assert megafold("convert", ours, back, "--from", "megafold", "--to", dialect).returncode == 0
    assert megafold("convert", back, again, "--from", dialect).returncode == 0
    assert tensors(ours) == tensors(again)


def test_a_folder_without_vectors_is_refused(megafold, tmp_path):
    done = megafold("parity", tmp_path)
    assert done.returncode == 2
    assert "manifest.json" in done.stderr
    (tmp_path / "manifest.json").write_text("{ no json")
    done = megafold("parity", tmp_path)
    assert done.returncode == 2
    assert "is no JSON" in done.stderr


def test_a_case_without_its_file_fails_and_says_which(megafold, tmp_path):
    (tmp_path / "manifest.json").write_text('{"mine": {"class": "a.b.Transition"}}')
    done = megafold("parity", tmp_path)
    assert done.returncode == 1
    assert "mine.safetensors" in done.stdout
    assert done.stdout.endswith("0 passed, 1 failed\n")
    done = megafold("parity", tmp_path, "--case", "other")
    assert done.returncode == 2
    assert "no case 'other'" in done.stderr
    done = megafold("parity", tmp_path, "--dialect", "openfold4")
    assert done.returncode == 2
    assert "openfold3" in done.stderr


@pytest.mark.parametrize(
    ("manifest", "code", "words"),
    [
        ("[1]", 2, "an object of cases by name"),
        ("{}", 2, "an object of cases by name"),
        ('{"a": 3}', 1, 'does not say its "class"'),
        ('{"a": {"class": 5}}', 1, 'does not say its "class"'),
        ('{"a": {"class": "openfold3.x.SwiGLUTransition"}}', 1, "--dialect is protenix"),
        ('{"a": {"class": "x.Transition", "config": {"c_in": 8}}}', 1, "lacks 'n'"),
        ('{"a": {"class": "x.Transition", "config": {"c_in": 8, "n": "four"}}}', 1, '"four"'),
        ('{"a": {"class": "x.Transition", "config": {"c_in": -8, "n": 2}}}', 1, "-8"),
        ('{"a": {"class": "x.Transition", "config": {"c_in": 0, "n": 2}}}', 1, "1 or more"),
        ('{"a": {"class": "x.Transition", "config": {"c_in": 8, "n": 2}}}', 1, "lacks"),
        ('{"a": {"class": "x.InferenceNoiseScheduler"}}', 1, "no out.NAME"),
    ],
)
def test_bad_cases_say_what_is_missing(megafold, tmp_path, manifest, code, words):
    (tmp_path / "manifest.json").write_text(manifest)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    done = megafold("parity", tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
    assert "internal error" not in done.stderr


def one_case(folder: Path, tensors: dict[str, list[float]]) -> None:
    """A noise schedule, which has no inputs, with these f64 vectors."""
    header, data = {}, b""
    for name, values in tensors.items():
        part = struct.pack(f"<{len(values)}d", *values)
        header[name] = {"dtype": "F64", "shape": [len(values)],
                        "data_offsets": [len(data), len(data) + len(part)]}  # fmt: skip
        data += part
    text = json.dumps(header).encode()
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "manifest.json").write_text('{"a": {"class": "x.InferenceNoiseScheduler"}}')


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"out.t20": [1.0, 2.0]}, "out.t20 is over"),
        ({"out.t20": [float("nan")] * 21}, "out.t20 is over"),
        ({"out.other": [1.0]}, "'other' has no counterpart"),
        ({"out.t20": [0.0] * 21, "grad_in.x": [1.0]}, "no cot.NAME"),
    ],
)
def test_wrong_values_and_gradients_without_a_cause_fail(megafold, tmp_path, tensors, words):
    one_case(tmp_path, tensors)
    done = megafold("parity", tmp_path)
    assert done.returncode == 1
    assert words in done.stdout


def test_a_folder_in_place_of_a_case(megafold, tmp_path):
    one_case(tmp_path, {})
    (tmp_path / "a.safetensors").unlink()
    (tmp_path / "a.safetensors").mkdir()
    assert "is a folder" in megafold("parity", tmp_path).stdout
