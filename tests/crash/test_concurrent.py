# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Several programs on one cache, a clock that runs backwards, a disk that is full: whole processes,
where src/cache/build_test.cpp has the same within one.
"""

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from cache_reader import np, reader

ROOT = Path(__file__).resolve().parents[2]

NAMES = ("1kd8", "1pzp", "1ubq", "2q2k", "4i6p", "4zey")


def contents(folder: Path) -> dict:
    return {p.name: p.read_bytes() for p in folder.rglob("*.mf[si]")}


def build_command(megafold, data, out, *more):
    return [str(megafold.program), "cache", "build", "--data", str(data), "--out", str(out),
            "--ccd", str(ROOT / "data/components.bcif.gz"), *more]  # fmt: skip


@pytest.fixture(scope="module")
def whole(megafold, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "c"
    assert megafold("cache", "build", "--data", ROOT / "data", "--out", out).returncode == 0
    return out


def test_builders_at_once_make_one_cache(megafold, whole, tmp_path):
    """Eight start together: each does the work or says who does, and the bytes are those of one."""
    for _ in range(3):
        out = tmp_path / "c"
        command = build_command(megafold, ROOT / "data", out)
        running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                    text=True) for _ in range(8)]  # fmt: skip
        ended = [(process.communicate(timeout=120)[1], process.returncode) for process in running]
        assert any(code == 0 for _, code in ended)
        for said, code in ended:
            assert code == 0 or code == 2 and "another build is at work" in said, said
        assert contents(out) == contents(whole)
        assert not list(out.rglob("*.tmp"))
        shutil.rmtree(out)


def test_readers_beside_a_builder_see_whole_caches(megafold, whole, tmp_path):
    """One builder adds entry after entry, and gc removes what an older input left; two readers open
    the cache again and again, and each array that they get is the one of an undisturbed build."""
    truth = reader.open(whole)
    expected = {name: {key: truth[name][key] for key in truth[name]} for name in NAMES}
    data, out = tmp_path / "data", tmp_path / "c"
    data.mkdir()
    stop, seen, wrong = threading.Event(), [], []

    def read():
        while not stop.is_set():
            try:
                cache = reader.open(out)
                found = {name: cache[name] for name in cache}
                arrays = {n: {k: e[k] for k in e} for n, e in found.items()}
            except FileNotFoundError:
                continue  # no index yet; or gc took the shard of an older index
            except Exception as error:  # anything else is what must not be
                wrong.append(repr(error))
                return
            seen.append(len(arrays))
            for name, entry in arrays.items():
                for key, value in entry.items():
                    if not np.array_equal(value, expected[name][key]):
                        wrong.append(f"{name} {key}")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    try:
        for _ in range(2):
            for name in NAMES:
                shutil.copy(ROOT / f"data/entries/{name}.cif.gz", data)
                done = subprocess.run(build_command(megafold, data, out), capture_output=True)
                assert done.returncode == 0, done.stderr
            for name in NAMES[:5]:
                (data / f"{name}.cif.gz").unlink()
            done = subprocess.run(build_command(megafold, data, out), capture_output=True)
            assert done.returncode == 0, done.stderr
            done = megafold("cache", "gc", out)
            assert done.returncode == 0, done.stderr
    finally:
        stop.set()
        for thread in readers:
            thread.join()
    assert not wrong, wrong[:5]
    assert len(set(seen)) >= 3, "readers met several states"


BACKWARDS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <time.h>
static atomic_long calls;
static long now(void) { return 2000000000L - 3600 * atomic_fetch_add(&calls, 1); }
time_t time(time_t *out) { time_t t = now(); if (out) *out = t; return t; }
int gettimeofday(struct timeval *tv, void *zone) {
  (void)zone; tv->tv_sec = now(); tv->tv_usec = 0; return 0;
}
int clock_gettime(clockid_t clock, struct timespec *ts) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  if (clock != CLOCK_REALTIME) return real(clock, ts);
  ts->tv_sec = now(); ts->tv_nsec = 0; return 0;
}
"""


def test_a_clock_that_runs_backwards_changes_nothing(megafold, whole, tmp_path):
    """An hour back at every look at it; files from the future and from 1971."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the clock")
    (tmp_path / "clock.c").write_text(BACKWARDS)
    clock = tmp_path / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", clock, tmp_path / "clock.c", "-ldl"],
                   check=True)  # fmt: skip
    environment = {**os.environ, "LD_PRELOAD": str(clock)}
    data, out = tmp_path / "data", tmp_path / "c"
    shutil.copytree(ROOT / "data", data)
    for i, path in enumerate(sorted(data.rglob("*.gz"))):
        os.utime(path, (4e9, 4e9) if i % 2 else (5e7, 5e7))
    command = build_command(megafold, data, out)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(out) == contents(whole)
    for path in out.rglob("*"):
        os.utime(path, (1e6, 1e6))
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    entries = json.loads((out / "report.json").read_text())["entries"]
    assert all(entry["reused"] for entry in entries)
    assert contents(out) == contents(whole)
    done = subprocess.run([*command[:2], "verify", str(out)], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_pipe_or_disk_that_is_full_is_said(megafold, whole, tmp_path):
    with open("/dev/full", "wb") as full:
        done = megafold("data", "stream", ROOT / "configs/demo_crops.yaml", "--count", "2", "--set",
                        f"data.cache={whole}", stdout=full, stderr=subprocess.PIPE,
                        capture_output=False)  # fmt: skip
    assert done.returncode == 4
    assert "No space left on device" in done.stderr
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", small],
                             capture_output=True)  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip("a small tmpfs needs root and the right to mount")
    try:
        done = megafold("cache", "export", whole, "--out", small)
        assert done.returncode == 4
        assert "No space left on device; free space" in done.stderr
        for path in small.rglob("*"):  # whole files or none
            assert path.suffix in (".cif", ".npz", ".a3m") and path.stat().st_size > 0
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_read_only_cache_is_read(megafold, whole, tmp_path):
    """Mounted read-only, as a shared file system often is: all that reads works, what writes says
    why not."""
    place = tmp_path / "place"
    place.mkdir()
    bound = subprocess.run(["mount", "--bind", whole, place], capture_output=True)
    if bound.returncode != 0:
        pytest.skip("a bind mount needs root and the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        for command in ("inspect", "verify", "stats"):
            done = megafold("cache", command, place)
            assert done.returncode == 0, done.stderr
        assert len(reader.open(place)) == len(NAMES)
        done = subprocess.run(build_command(megafold, ROOT / "data", place), capture_output=True,
                              text=True)  # fmt: skip
        assert done.returncode == 4
        assert "Read-only file system" in done.stderr
        done = megafold("cache", "gc", place)
        assert done.returncode == 4
        assert contents(place) == contents(whole)
    finally:
        subprocess.run(["umount", place], check=True)
