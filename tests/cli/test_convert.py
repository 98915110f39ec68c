# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""`megafold convert`: there and back, files as torch writes them, and hostile ones.

No torch is needed: a file of torch.save is a zip archive with a pickle, which Python's own pickle
and zipfile write as well.
"""

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class FloatStorage:
    """Stands for torch.FloatStorage in a pickle."""


class Stored:
    def __init__(self, number, count):
        self.number, self.count = number, count


class Tensor:
    def __init__(self, number, shape):
        self.number, self.shape = number, shape

    def __reduce__(self):
        count, strides = 1, []
        for n in reversed(self.shape):
            strides.insert(0, count)
            count *= n
        arguments = (Stored(self.number, count), 0, self.shape, tuple(strides), False, {})
        return rebuild, arguments


def rebuild(*_):
    raise AssertionError("never called here")


rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
FloatStorage.__module__ = "torch"


class TorchPickler(pickle._Pickler):
    """Writes names of torch without having it."""

    def save_global(self, obj, name=None):
        module, qualified = obj.__module__, obj.__qualname__
        self.write(pickle.GLOBAL + f"{module}\n{qualified}\n".encode())
        self.memoize(obj)

    dispatch = dict(pickle._Pickler.dispatch)
    dispatch[type] = save_global
    dispatch[type(rebuild)] = save_global

    def persistent_id(self, obj):
        if isinstance(obj, Stored):
            return ("storage", FloatStorage, str(obj.number), "cpu", obj.count)
        return None


def torch_file(path, content, storages=()):
    program = io.BytesIO()
    TorchPickler(program, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", program.getvalue())
        for number, values in enumerate(storages):
            # torch aligns members to 64 bytes by the name's extra field
            info = zipfile.ZipInfo(f"archive/data/{number}")
            place = archive.fp.tell() + 30 + len(info.filename)
            pad = -(place + 4) % 64
            info.extra = struct.pack("<HH", 0x4246, pad) + b"\0" * pad
            archive.writestr(info, struct.pack(f"<{len(values)}f", *values))
    return path


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    return {
        name: (entry["shape"], body[slice(*entry["data_offsets"])])
        for name, entry in header.items()
        if name != "__metadata__"
    }


@pytest.fixture(scope="module")
def tiny_weights(megafold, tmp_path_factory):
    """A tiny model of each dialect after a step of training, as the peer names its tensors."""
    folder = tmp_path_factory.mktemp("convert")
    done = megafold("cache", "build", "--data", ROOT / "data", "--out", folder / "cache")
    assert done.returncode == 0, done.stderr
    config = folder / "tiny.yaml"
    config.write_text(
        "threads: 1\ndata: {entries: [1ubq], crop: {tokens: 16}}\n"
        "model: {preset: tiny}\ntraining: {steps: 1, batch: 1}\n"
    )
    out = {}
    for dialect in ("protenix", "openfold3"):
        run, state = folder / dialect, folder / f"{dialect}.safetensors"
        done = megafold(
            "train", config, "--run", run, "--set", f"data.cache={folder / 'cache'}",
            "--set", f"model.dialect={dialect}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        checkpoint = run / "checkpoint.safetensors"
        done = megafold("convert", checkpoint, state, "--from", "megafold", "--to", dialect)
        assert done.returncode == 0, done.stderr
        out[dialect] = state
    return out


@pytest.mark.parametrize("dialect", ["protenix", "openfold3"])
def test_there_and_back_is_bit_equal(megafold, tiny_weights, tmp_path, dialect):
    state = tiny_weights[dialect]
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.safetensors"
    done = megafold("convert", state, ours, "--from", dialect, "--preset", "tiny")
    assert done.returncode == 0, done.stderr
    done = megafold("convert", ours, back, "--from", "megafold", "--to", dialect)
    assert done.returncode == 0, done.stderr
    assert read_safetensors(back) == read_safetensors(state)


def test_the_module_that_openfold3_names_twice_is_one(megafold, tiny_weights, tmp_path):
    state = tiny_weights["openfold3"]
    names = read_safetensors(state)
    second = "sample_diffusion."
    twice = [name for name in names if name.startswith(second)]
    assert len(twice) > 50
    assert all(names[name] == names[name.removeprefix(second)] for name in twice)
    assert "version_tensor" in names
    # Another value under the second name: no one model holds both.
    data = bytearray(state.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    at = json.loads(data[8 : 8 + length])[twice[0]]["data_offsets"][0]
    data[8 + length + at + 3] ^= 1
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(data)
    done = megafold("convert", broken, tmp_path / "o", "--from", "openfold3", "--preset", "tiny")
    assert done.returncode == 2
    assert twice[0] in done.stderr


def test_a_file_of_torch_gives_the_same(megafold, tiny_weights, tmp_path):
    state = read_safetensors(tiny_weights["protenix"])
    names = list(state)
    storages = [struct.unpack(f"<{len(state[n][1]) // 4}f", state[n][1]) for n in names]
    content = {"model": {f"module.{n}": Tensor(i, tuple(state[n][0])) for i, n in enumerate(names)}}
    file = torch_file(tmp_path / "model.pt", content | {"step": 3, "rate": 0.1}, storages)
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.safetensors"
    done = megafold("convert", file, ours, "--from", "protenix", "--preset", "tiny")
    assert done.returncode == 0, done.stderr
    done = megafold("convert", ours, back, "--from", "megafold", "--to", "protenix")
    assert done.returncode == 0, done.stderr
    assert read_safetensors(back) == state


class Hostile:
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/megafold-was-here",)


def test_a_hostile_pickle_is_refused_and_nothing_runs(megafold, tmp_path):
    program = pickle.dumps({"model": Hostile()}, protocol=2)
    file = tmp_path / "model.pt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", program)
    done = megafold("convert", file, tmp_path / "o.safetensors", "--from", "protenix")
    assert done.returncode == 2
    assert "posix.system" in done.stderr and "nothing was executed" in done.stderr
    assert not (tmp_path / "o.safetensors").exists()


def nested(levels):
    return b"\x80\x02" + b")" + b"\x85" * levels + b"."


@pytest.mark.parametrize(
    ("name", "program", "code", "words"),
    [
        ("ends early", b"\x80\x02}", 3, "ends early"),
        ("nothing to take", b"\x80\x020.", 3, "nothing is left"),
        ("unknown memo", b"\x80\x02h\x05.", 3, "memo 5"),
        ("an instance", b"\x80\x02)\x81.", 2, "instruction 0x81"),
        ("nesting", nested(100000), 3, "levels of nesting"),
        ("no dict", b"\x80\x02K\x01.", 2, "no dict"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malformed_pickles_are_refused(megafold, tmp_path, name, program, code, words):
    file = tmp_path / "model.pt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", program)
    done = megafold("convert", file, tmp_path / "o.safetensors", "--from", "openfold3")
    assert done.returncode == code, (name, done.stderr)
    assert words in done.stderr


def test_a_tensor_beyond_its_storage_is_refused(megafold, tmp_path):
    file = torch_file(tmp_path / "m.pt", {"a": Tensor(0, (4, 5))}, [[0.0] * 19])
    done = megafold("convert", file, tmp_path / "o.safetensors", "--from", "protenix")
    assert done.returncode == 3
    assert "beyond the 19 elements" in done.stderr
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    assert megafold("convert", file, tmp_path / "o", "--from", "protenix").returncode in (2, 3)
    file.write_bytes(b"PK nothing")
    assert megafold("convert", file, tmp_path / "o", "--from", "protenix").returncode == 2


def test_missing_extra_and_misshapen_tensors_are_named(megafold, tiny_weights, tmp_path):
    out = tmp_path / "o.safetensors"
    done = megafold("convert", tiny_weights["protenix"], out, "--from", "protenix")
    assert done.returncode == 2
    assert "has shape" in done.stderr and "preset initial" in done.stderr
    done = megafold("convert", tiny_weights["protenix"], out, "--from", "openfold3")
    assert done.returncode == 2
    assert "lacks" in done.stderr
    done = megafold("convert", out, out, "--from", "protenix", "--to", "openfold3")
    assert done.returncode == 2
    assert "one of the two" in done.stderr


def rewritten(path, state, **changed):
    """The file with other bytes or another type for one tensor: name=(type or None, bytes)."""
    data = state.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    for name, (dtype, values) in changed.items():
        start = header[name]["data_offsets"][0]
        header[name]["dtype"] = dtype or header[name]["dtype"]
        body[start : start + len(values)] = values
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def test_what_is_no_number_is_no_weight(megafold, tiny_weights, tmp_path):
    state, out = tiny_weights["protenix"], tmp_path / "o.safetensors"
    # One tensor that is a parameter of ours by itself, and one that is a part of one.
    for name in ("relative_position_encoding.linear_no_bias.weight",
                 "input_embedder.atom_attention_encoder.linear_no_bias_d.weight"):  # fmt: skip
        for change, words in (
            ((None, struct.pack("<f", float("nan"))), "NaN or infinity stands in 1 of its"),
            ((None, struct.pack("<ff", float("-inf"), float("nan"))), "in 2 of its"),
            (("I32", b""), "a floating one was expected"),
        ):
            file = rewritten(tmp_path / "x.safetensors", state, **{name: change})
            done = megafold("convert", file, out, "--from", "protenix", "--preset", "tiny")
            assert done.returncode == 2, (name, change)
            assert name in done.stderr and words in done.stderr
    assert not out.exists()


def test_files_of_the_wrong_side_are_told(megafold, tiny_weights, tmp_path):
    state = tiny_weights["protenix"]
    ours = tmp_path / "ours.safetensors"
    tiny = ("--preset", "tiny")
    assert megafold("convert", state, ours, "--from", "protenix", *tiny).returncode == 0
    done = megafold("convert", ours, tmp_path / "o", "--from", "protenix", *tiny)
    assert done.returncode == 2
    assert "--from megafold" in done.stderr
    done = megafold("convert", state, tmp_path / "o", "--from", "megafold", "--to", "protenix")
    assert done.returncode == 2
    assert "megafold convert" in done.stderr
    done = megafold("convert", ours, tmp_path / "o", "--from", "megafold", "--to", "openfold3")
    assert done.returncode == 2
    assert "its dialect is protenix" in done.stderr
    for folder in (("convert", tmp_path, tmp_path / "o.safetensors", "--from", "protenix"),
                   ("convert", state, tmp_path, "--from", "protenix", *tiny)):  # fmt: skip
        done = megafold(*folder)
        assert done.returncode == 2
        assert str(tmp_path) in done.stderr
