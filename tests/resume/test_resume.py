# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Training through the real binary: killed, interrupted, resumed, out of space, misconfigured."""

import json
import os
import resource
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = 20

CONFIG = """\
seed: 11
threads: 1
data:
  crop: {{tokens: 32}}
  msa: {{max_rows: 16}}
  threads: 2
model: {{preset: tiny}}
optimizer: {{warmup_steps: 5, ema_warmup: true}}
training: {{steps: {steps}, batch: 1, checkpoint_steps: 10, log_steps: 5}}
"""


@pytest.fixture
def train(megafold, cache, tmp_path):
    """Runs `megafold train` in tmp_path/NAME and returns the finished process."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(steps=STEPS))

    def run(name, *arguments, env=None, **options):
        return megafold(
            *("train", config, "--run", tmp_path / name, "--set", f"data.cache={cache}"),
            *arguments,
            env={**os.environ, **(env or {})},
            **options,
        )

    run.config = config
    run.folder = tmp_path
    return run


def tensors(path):
    """{name: (dtype, shape, bytes)} of a safetensors file."""
    raw = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    data = raw[8 + length :]
    return {
        name: (info["dtype"], info["shape"], data[slice(*info["data_offsets"])])
        for name, info in header.items()
    }


def steps_of(folder):
    """The step lines of metrics.jsonl; of one step, the last."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if line["event"] == "step"}


@pytest.fixture(scope="module")
def whole(megafold, cache, tmp_path_factory):
    """20 steps in one go: (folder, tensors of the checkpoint)."""
    folder = tmp_path_factory.mktemp("whole")
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(steps=STEPS))
    done = megafold("train", config, "--run", folder / "run", "--set", f"data.cache={cache}")
    assert done.returncode == 0, done.stderr
    return folder / "run", tensors(folder / "run/checkpoint.safetensors")


def assert_same_run(folder, whole):
    assert tensors(folder / "checkpoint.safetensors") == whole[1]
    steps, expected = steps_of(folder), steps_of(whole[0])
    assert sorted(steps) == sorted(expected) == list(range(1, STEPS + 1))
    for step, line in steps.items():
        for key in ("entry", "loss", "diffusion_mse", "diffusion_mse_trivial", "grad_norm"):
            assert line[key] == expected[step][key], (step, key)


def test_a_run_says_what_it_did(whole):
    folder, saved = whole
    assert {"model", "ema", "adam"} == {name.split(".")[0] for name in saved}
    steps = steps_of(folder)
    assert len({line["entry"] for line in steps.values()}) > 2
    for line in steps.values():
        assert line["loss"] == line["loss"] and line["loss"] > 0
        assert 0 < line["tokens"] <= 32
        assert 0 <= line["wait_share"] < 1
        assert set(line["seconds"]) == {"data", "forward", "backward", "optimizer"}
    assert (folder / "config.yaml").read_text().startswith("seed: 11")
    assert len(list((folder / "events").iterdir())) == 1


@pytest.mark.parametrize("threads", [1, 5])
def test_kill_9_and_resume_is_bit_equal(train, whole, threads):
    name = f"killed-{threads}"
    done = train(name, env={"MEGAFOLD_KILL_AT": "train.step:15"})
    assert done.returncode == -signal.SIGKILL
    assert sorted(steps_of(train.folder / name)) == list(range(1, 16))
    done = train(name, "--resume", "--set", f"data.threads={threads}", "--set", "data.queue=3")
    assert done.returncode == 0, done.stderr
    assert "going on after step 10" in done.stderr
    assert_same_run(train.folder / name, whole)


@pytest.mark.parametrize(
    "point",
    ["checkpoint.kept:2", "publish.created:3", "publish.written:3", "publish.synced:3"]
    + ["publish.renamed:3", "checkpoint.saved:2"],
)
def test_kill_9_at_every_moment_of_saving(train, whole, point):
    """The second save (step 20; publish's first passage is config.yaml) is cut short."""
    name = "cut"
    done = train(name, env={"MEGAFOLD_KILL_AT": point})
    assert done.returncode == -signal.SIGKILL
    done = train(name, "--resume")
    assert done.returncode == 0, done.stderr
    assert_same_run(train.folder / name, whole)


def test_sigterm_finishes_the_step_and_saves(train, megafold, cache, whole):
    folder = train.folder / "term"
    command = [megafold.program, "train", train.config, "--run", folder]
    command += ["--set", f"data.cache={cache}", "--set", "training.steps=100000"]
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    metrics = folder / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count('"event":"step"') >= 2):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "interrupted and saved after step" in out
    if max(steps_of(folder)) < STEPS:
        done = train("term", "--resume")
        assert done.returncode == 0, done.stderr
        assert_same_run(folder, whole)


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


def test_a_full_disk_ends_with_4_and_leaves_the_checkpoint(train, whole):
    """A limit on the size of files stands for the full disk: the checkpoint does not fit."""
    done = train("full", "--set", "training.steps=10")
    assert done.returncode == 0, done.stderr
    before = (train.folder / "full/checkpoint.safetensors").read_bytes()
    assert len(before) > 200_000
    # restore_signals=False: SIGXFSZ stays ignored, as Python has it, so that write() fails instead.
    done = train("full", "--resume", preexec_fn=limit_files, restore_signals=False)
    assert done.returncode == 4, done.stderr
    assert "checkpoint.safetensors" in done.stderr
    assert (train.folder / "full/checkpoint.safetensors").read_bytes() == before
    assert not list((train.folder / "full").glob(".*.tmp"))
    done = train("full", "--resume")
    assert done.returncode == 0, done.stderr
    assert_same_run(train.folder / "full", whole)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_disk_that_is_full_in_earnest(train):
    disk = train.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        done = train("disk/run")
        assert done.returncode == 4, done.stderr
        assert "No space left on device" in done.stderr
        assert not (disk / "run/checkpoint.safetensors").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_written(train, megafold, cache):
    done = megafold(
        *("train", train.config, "--run", "/proc/megafold/run", "--set", f"data.cache={cache}")
    )
    assert done.returncode == 4
    assert "/proc/megafold" in done.stderr


def test_damaged_checkpoints_are_not_resumed_from(train):
    done = train("run", "--set", "training.steps=10")
    assert done.returncode == 0, done.stderr
    path = train.folder / "run/checkpoint.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:], whole[:50]):
        path.write_bytes(damaged)
        done = train("run", "--resume")
        assert done.returncode == 3, done.stderr
        assert str(path) in done.stderr
        assert path.read_bytes() == damaged


def test_other_models_and_seeds_are_not_resumed(train):
    done = train("run", "--set", "training.steps=1")
    assert done.returncode == 0, done.stderr
    for change in ("model.c_z=24", "seed=12", "optimizer.learning_rate=0.1", "data.crop.tokens=8"):
        done = train("run", "--resume", "--set", change)
        assert done.returncode == 2, change
        assert change.split("=")[0] in done.stderr
    done = train("run")
    assert done.returncode == 2
    assert "--resume" in done.stderr and "--overwrite" in done.stderr
    done = train("run", "--overwrite", "--set", "training.steps=1", "--set", "seed=12")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("training.steps=many", "an integer between 1 and"),
        ("training.steps=0", "an integer between 1 and"),
        ("optimizer.learning_rate=fast", "a number between 0 and 1"),
        ("optimizer.learning_rat=1", "the nearest is optimizer.learning_rate"),
        ("device=tpu", "one of cpu, cuda"),
        ("data.entries=[1ubqq]", "1ubq"),
        ("model.dialect=boltz", "openfold3"),
        ("nonsense", "key=value"),
    ],
)
def test_bad_configs_end_with_2_and_nothing_is_written(train, change, expected):
    done = train("bad", "--set", change)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert not (train.folder / "bad/checkpoint.safetensors").exists()
    assert not (train.folder / "bad/metrics.jsonl").exists()


def test_an_empty_config_does_not_train_the_released_sizes(megafold, tmp_path):
    (tmp_path / "empty.yaml").write_text("\n")
    done = megafold("train", tmp_path / "empty.yaml", "--run", tmp_path / "run")
    assert done.returncode == 2
    assert "is empty" in done.stderr and "--print-config" in done.stderr


def test_device_cuda_says_why_not_in_a_cpu_build(train, megafold):
    if "cuda" in megafold("version").stdout:
        pytest.skip("a CUDA build")
    done = train("gpu", "--device", "cuda")
    assert done.returncode == 2
    assert "build preset cuda" in done.stderr


def test_print_config_reads_back(train, megafold, tmp_path):
    first = train("x", "--print-config")
    assert first.returncode == 0
    assert "# passes of the trunk" in first.stdout
    (tmp_path / "printed.yaml").write_text(first.stdout)
    second = megafold("train", tmp_path / "printed.yaml", "--print-config")
    assert second.stdout == first.stdout


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_the_configs_of_the_repository_are_valid(megafold, config):
    done = megafold("train", config, "--print-config")
    assert done.returncode == 0, done.stderr
