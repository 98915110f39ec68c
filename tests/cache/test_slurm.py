# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""A real Slurm on this machine, started by the test: an array of four jobs builds one cache, and a
fifth that depends on them writes its index, as docs/data.md says.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("slurmctld", "slurmd", "sbatch", "sinfo")

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=10 State=UP
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def slurm(tmp_path):
    """The environment of Slurm's commands, with controller and node at work."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: ./dev setup --full, or apt-get install slurm-wlm")
    if os.geteuid() != 0:
        pytest.skip("slurmd starts as root alone")
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().split(".")[0]
    controller, node = free_ports(2)
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=host, folder=folder, controller=controller, node=node))
    environment = {**os.environ, "PATH": path, "SLURM_CONF": str(config)}
    running = []
    try:
        for name in ("slurmctld", "slurmd"):
            command = [shutil.which(name, path=path), "-D", "-f", str(config)]
            with (folder / f"{name}.out").open("wb") as log:
                running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        for _ in range(60):
            done = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, text=True,
                                  capture_output=True)  # fmt: skip
            if done.stdout.strip() in ("idle", "mixed"):
                break
            ended = [p.args[0] for p in running if p.poll() is not None]
            if ended:
                logs = "".join((folder / f"{n}.out").read_text() for n in ("slurmctld", "slurmd"))
                pytest.skip(f"{ended[0]} does not start here: {logs[-500:]}")
            time.sleep(0.5)
        else:
            pytest.skip(f"Slurm's node does not come up here: {done.stdout} {done.stderr}")
        yield environment
    finally:
        for process in reversed(running):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def contents(folder: Path) -> dict:
    return {p.name: p.read_bytes() for p in folder.rglob("*.mf[si]")}


@pytest.mark.full
def test_an_array_of_four_builds_one_cache(megafold, slurm, tmp_path):
    out, parts = tmp_path / "cache", tmp_path / "whole"
    build = f"'{megafold.program}' cache build --data '{ROOT / 'data'}' --out '{out}'"
    array, last = tmp_path / "array.sh", tmp_path / "last.sh"
    array.write_text(f"#!/bin/sh\n#SBATCH --array=1-4\n{build} --shard $SLURM_ARRAY_TASK_ID/4\n")
    last.write_text(f"#!/bin/sh\n{build} --strict\n")

    def submit(script, *options):
        done = subprocess.run(
            ["sbatch", "--parsable", f"--output={tmp_path}/%x-%A-%a.log", *options, script],
            env=slurm, cwd=tmp_path, text=True, capture_output=True, timeout=240,
        )  # fmt: skip
        logs = "".join(p.read_text() for p in tmp_path.glob("*.log"))
        assert done.returncode == 0, done.stderr + logs
        return done.stdout.strip()

    job = submit(array)
    submit(last, f"--dependency=afterok:{job}", "--wait")
    logs = {p.name: p.read_text() for p in tmp_path.glob("array.sh-*.log")}
    assert len(logs) == 4, logs.keys()
    for i in range(1, 5):
        assert any(f"part {i} of 4" in text for text in logs.values())
    # The last job found every record: the shards are those of four builders one after the other.
    base = ("cache", "build", "--data", ROOT / "data", "--out", parts)
    for more in (*(("--shard", f"{i}/4") for i in range(1, 5)), ()):
        assert megafold(*base, *more).returncode == 0
    assert contents(out) == contents(parts)
    assert len(contents(out)) >= 5
    assert megafold("cache", "verify", out).returncode == 0
