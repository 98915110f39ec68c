# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""`megafold msa`: real programs over small databases of real sequences, and stand-ins for what a
program may do wrong."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"
# 1ubq with changes that an aligner can only lay in one way: two letters more, two letters less.
CHANGED = UBIQUITIN[1:30] + "WW" + UBIQUITIN[30:60] + UBIQUITIN[62:75]
ROW = "-" + UBIQUITIN[1:30] + "ww" + UBIQUITIN[30:60] + "--" + UBIQUITIN[62:75] + "-"
TRNA = "GGGGCGAUAGCUCAGCUGGGAGAGCGCCUGCUUUGCACGCAGGAGGUCUGCGGUUCGAUCCCGCAUAGCUCCACCA"


def need(*programs):
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: ./dev setup --full")


def rows_of(path):
    """Name -> letters of an A3M."""
    parts = re.findall(r">([^\n]*)\n([^>]*)", path.read_text())
    return [(name, letters.replace("\n", "")) for name, letters in parts]


@pytest.fixture
def files(tmp_path):
    """Two sequences; a database of both, of relatives of one and of a changed copy of the other."""
    hits = (ROOT / "data/alignments/2q2k_A/bfd_uniclust_hits.a3m").read_text()
    query, *others = re.findall(r">(\S+)[^\n]*\n([^>]+)", hits)
    letters = query[1].replace("\n", "")
    relatives = [(name, "".join(c for c in row if c.isalpha()).upper()) for name, row in others]
    (tmp_path / "mine.fasta").write_text(f">1ubq_A of mine\n{UBIQUITIN}\n>other\n{letters}\n")
    known = [("tr|P0CG48|UBC_HUMAN", CHANGED), *relatives]
    (tmp_path / "known.fasta").write_text("".join(f">{n} a note\n{s}\n" for n, s in known))
    (tmp_path / "pdb.fasta").write_text(f">9xyz_B mol:protein\n{CHANGED}\n>2q2k_A\n{letters}\n")
    return tmp_path


def search(megafold, files, tool, *more, database="known.fasta", **options):
    return megafold("msa", "search", files / "mine.fasta", "--tool", tool, "--database",
                    files / database, "--out", files / "data", *more, **options)  # fmt: skip


@pytest.mark.parametrize("tool", ["jackhmmer", "phmmer", "mmseqs"])
def test_a_search_lays_the_hits_beside_the_query(megafold, files, tool):
    need(tool)
    done = search(megafold, files, tool)
    assert done.returncode == 0, done.stderr
    assert "2 searched, 0 there already" in done.stdout
    rows = rows_of(files / "data/alignments/1ubq_A/known.a3m")
    assert rows[0] == ("1ubq_A", UBIQUITIN)
    assert len(rows) == 2 and rows[1][1] == ROW
    assert rows[1][0].startswith("tr|P0CG48|UBC_HUMAN")  # whole: the species is read from it
    other = rows_of(files / "data/alignments/seq_other/known.a3m")
    assert len(other) == 4 and {len(re.sub("[a-z]", "", row)) for _, row in other} == {70}
    record = json.loads((files / "data/alignments/1ubq_A/known.search.json").read_text())
    assert record["settings"]["tool"] == tool
    assert list(record["settings"]["programs"]) == [tool]
    assert re.search(r"\d", record["settings"]["programs"][tool])
    assert not [p for p in (files / "data").iterdir() if p.name != "alignments"]


def test_a_cache_takes_what_was_found(megafold, files):
    need("phmmer", "mmseqs")
    assert search(megafold, files, "phmmer", "--name", "uniref90").returncode == 0
    sequences = (files / "mine.fasta").read_text().split(">other")[0]
    (files / "mine.fasta").write_text(sequences)
    done = search(megafold, files, "mmseqs", "--templates", database="pdb.fasta")
    assert done.returncode == 0, done.stderr
    for name in ("entries/1ubq.cif.gz", "components.bcif.gz"):
        shutil.copy(ROOT / "data" / name, files / "data")
    shutil.copytree(ROOT / "data/entries", files / "templates")
    text = gzip.decompress((ROOT / "data/entries/1ubq.cif.gz").read_bytes())
    (files / "templates/9xyz.cif").write_bytes(text)
    done = megafold("cache", "build", "--data", files / "data", "--templates", files / "templates",
                    "--out", files / "cache", "--strict")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "unused: " in done.stderr and "seq_other" in done.stderr
    assert "1ubq_A" not in done.stderr.split("unused: ", 1)[1]


def test_hmmsearch_takes_an_earlier_alignment_as_profile(megafold, files):
    need("jackhmmer", "hmmsearch", "hmmbuild")
    done = search(megafold, files, "hmmsearch", database="pdb.fasta")
    assert done.returncode == 2 and "'other' must have a name like 1abc_A" in done.stderr
    (files / "mine.fasta").write_text(f">1ubq_A\n{UBIQUITIN}\n")
    done = search(megafold, files, "hmmsearch", "--profile", "known", database="pdb.fasta")
    assert done.returncode == 2 and "known.a3m: no such file" in done.stderr
    assert search(megafold, files, "jackhmmer").returncode == 0
    done = search(megafold, files, "hmmsearch", "--profile", "known", database="pdb.fasta")
    assert done.returncode == 0, done.stderr
    text = (files / "data/alignments/1ubq_A/hmm_output_pdb.sto").read_text()
    (row,) = [s.split()[1] for s in text.splitlines() if s.startswith("9xyz_B/")]
    (match,) = [s.split()[2] for s in text.splitlines() if s.startswith("#=GC RF")]
    assert match.count("x") == 76  # a match state for each residue
    assert "".join(c if m == "x" else c.lower() for c, m in zip(row, match, strict=True)) == ROW


def test_nhmmer_aligns_rna_over_the_whole_query(megafold, tmp_path):
    need("nhmmer", "hmmalign")
    (tmp_path / "rna.fasta").write_text(f">tRNA\n{TRNA.replace('U', 'T')}\n")
    middle = TRNA[4:40] + TRNA[41:70]
    (tmp_path / "db.fasta").write_text(f">t1\nACACAC{middle}GUGUGU\n>none\nACGGGCGCGCGAU\n")
    done = megafold("msa", "search", tmp_path / "rna.fasta", "--tool", "nhmmer", "--database",
                    tmp_path / "db.fasta", "--out", tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    query, hit = rows_of(tmp_path / "alignments/seq_tRNA/db.a3m")
    assert query == ("tRNA", TRNA)
    assert len(re.sub("[a-z]", "", hit[1])) == 76
    assert hit[1].count("-") >= 5 and TRNA[8:38] in hit[1]


def test_hhblits_and_hhsearch(megafold, files):
    need("hhblits", "hhsearch", "ffindex_build", "hhmake")
    translate = Path("/usr/libexec/hhsuite/cstranslate-plain")
    if not translate.exists():
        pytest.skip(f"no {translate}: ./dev setup --full")

    def call(*words):
        subprocess.run([str(w) for w in words], cwd=files, check=True, capture_output=True)

    # A family of real sequences; HH-suite leaves out what is alike to more than 90 %.
    shutil.copy(ROOT / "data/alignments/2q2k_A/bfd_uniclust_hits.a3m", files / "9xyz_B")
    call("hhmake", "-i", "9xyz_B", "-o", "9xyz_B.hhm")
    call("ffindex_build", "-s", "db_a3m.ffdata", "db_a3m.ffindex", "9xyz_B")
    call("ffindex_build", "-s", "db_hhm.ffdata", "db_hhm.ffindex", "9xyz_B.hhm")
    call(translate, "-f", "-x", "0.3", "-c", "4", "-I", "a3m", "-i", "db_a3m", "-o", "db_cs219")
    letters = (files / "mine.fasta").read_text().split()[-1]
    (files / "mine.fasta").write_text(f">2q2k_A\n{letters}\n")
    done = search(megafold, files, "hhblits", database="db")
    assert done.returncode == 0, done.stderr
    rows = rows_of(files / "data/alignments/2q2k_A/db.a3m")
    assert rows[0] == ("2q2k_A", letters) and len(rows) >= 3
    done = search(megafold, files, "hhsearch", database="db")
    assert done.returncode == 0, done.stderr
    text = (files / "data/alignments/2q2k_A/db.hhr").read_text()
    assert "Query         2q2k_A" in text and "Aligned_cols" in text
    done = search(megafold, files, "hhblits", database="nothing")
    assert done.returncode == 2 and "no database of HH-suite" in done.stderr


def test_kalign_lays_hits_beside_the_query(megafold, files):
    need("kalign")
    (files / "mine.fasta").write_text(f">9abc_A\n{CHANGED}\n")
    (files / "hits.m8").write_text(
        "9abc_A\t1ubq_A\t0.9\t76\t2\t2\t1\t74\t2\t75\t1e-40\t150\n"  # gaps, and not where
        "9abc_A\t1ubq_A\t1.0\t29\t0\t0\t1\t29\t2\t30\t1e-10\t50\n"
        "9abc_A\t9zzz_A\t0.9\t76\t2\t2\t1\t74\t2\t75\t1e-9\t40\n"
    )
    done = megafold("msa", "align", files / "hits.m8", "--query", files / "mine.fasta",
                    "--templates", ROOT / "data/entries", "--ccd", ROOT / "data/components.bcif.gz",
                    "--out", files / "data")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 hits aligned, 1 were, 1 left out" in done.stdout
    assert "hits.m8:3: 9zzz_A: no file of the entry" in done.stderr
    first, second = (files / "data/alignments/9abc_A/hits.m8").read_text().splitlines()
    # From residue 2 of the hit on; two letters of the query alone, two of the hit alone.
    assert first.split("\t")[6:10] == ["1", "74", "2", "75"]
    assert first.split("\t")[12] == "29M2I30M2D13M"
    assert second.split("\t")[12] == "29M"


# ---------------------------------------------------------------------------------- stand-ins


def stand_in(folder, name, script):
    """A program that does `script` when it is called to search, and tells a version otherwise."""
    folder.mkdir(exist_ok=True)
    text = f'#!/bin/sh\nif [ "$1" = -h ]; then echo "# HMMER 9.9 (Nov 2026); x"; exit; fi\n{script}'
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


# Writes what jackhmmer writes without a hit into the file after -A, with the FASTA's letters.
NO_HIT = """
while [ "$#" -gt 2 ]; do if [ "$1" = -A ]; then out=$2; fi; shift; done
printf '# STOCKHOLM 1.0\\n\\nquery %s\\n//\\n' "$(tail -n 1 "$1")" > "$out"
"""


def test_what_is_there_is_not_searched_again(megafold, files):
    env = stand_in(files / "bin", "jackhmmer", f"echo x >> {files}/calls\n{NO_HIT}")
    calls = lambda: len((files / "calls").read_text().splitlines())  # noqa: E731
    done = search(megafold, files, "jackhmmer", env=env)
    assert done.returncode == 0, done.stderr
    path = files / "data/alignments/1ubq_A/known.a3m"
    assert path.read_text() == f">1ubq_A\n{UBIQUITIN}\n"
    record = json.loads((path.parent / "known.search.json").read_text())
    assert record["settings"]["programs"] == {"jackhmmer": "HMMER 9.9"}
    assert calls() == 2
    done = search(megafold, files, "jackhmmer", "--threads", "2", env=env)
    assert "0 searched, 2 there already" in done.stdout and calls() == 2
    done = search(megafold, files, "jackhmmer", "--e-value", "1", env=env)
    assert done.returncode == 2 and "was made with e_value 0.0001, and not 1" in done.stderr
    with (files / "known.fasta").open("a") as out:
        out.write(">more\nACD\n")
    done = search(megafold, files, "jackhmmer", env=env)
    assert done.returncode == 2 and "database_" in done.stderr
    assert search(megafold, files, "jackhmmer", "--force", env=env).returncode == 0
    assert calls() == 4
    path.write_text(path.read_text() + f">mine\n{UBIQUITIN}\n")
    done = search(megafold, files, "jackhmmer", env=env)
    assert done.returncode == 2 and "not as `megafold msa` made it" in done.stderr
    assert ">mine" in path.read_text()
    # Killed between the record and the file: the search is done again, and ends in the same bytes.
    shutil.rmtree(files / "data")
    done = search(megafold, files, "jackhmmer", env={**env, "MEGAFOLD_KILL_AT": "msa.record:2"})
    assert done.returncode == -signal.SIGKILL
    done = search(megafold, files, "jackhmmer", env=env)
    assert "1 searched, 1 there already" in done.stdout, done.stderr


def test_a_program_that_fails_is_quoted(megafold, files):
    env = stand_in(files / "bin", "jackhmmer", "echo scanning; echo 'no more memory' >&2; exit 7")
    done = search(megafold, files, "jackhmmer", env=env)
    assert done.returncode == 2
    assert "the search of '1ubq_A' ended with 7:\n  scanning\n  no more memory" in done.stderr
    # One sequence that fails does not stand in the way of the others.
    (files / "mine.fasta").write_text(f">a\n{UBIQUITIN}\n>b\n{UBIQUITIN[1:]}\n>c\n{CHANGED}\n")
    count = f"n=$(($(cat {files}/n 2>/dev/null || echo 0) + 1)); echo $n > {files}/n"
    script = f"{count}; [ $n = 2 ] && exit 3\n{NO_HIT}"
    env = stand_in(files / "bin", "jackhmmer", script)
    done = search(megafold, files, "jackhmmer", env=env)
    assert done.returncode == 2
    assert "failed: jackhmmer: the search of 'b' ended with 3" in done.stderr
    assert "2 searched, 0 there already, 1 failed" in done.stdout
    assert (files / "data/alignments/seq_c/known.a3m").exists()
    assert not (files / "data/alignments/seq_b").exists()


def test_a_time_out_and_an_interrupt_end_the_program(megafold, files):
    env = stand_in(files / "bin", "jackhmmer", f"echo $$ > {files}/pid; sleep 60 & wait")
    start = time.monotonic()
    done = search(megafold, files, "jackhmmer", "--timeout", "0.5", env=env)
    assert time.monotonic() - start < 20
    assert done.returncode == 4 and "not done after 0.5 s" in done.stderr
    (files / "pid").unlink()
    words = [megafold.program, "msa", "search", files / "mine.fasta", "--tool", "jackhmmer",
             "--database", files / "known.fasta", "--out", files / "data"]  # fmt: skip
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) as running:
        while not ((files / "pid").exists() and (files / "pid").read_text().strip()):
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=20)
    assert running.returncode == 130 and "interrupted" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int((files / "pid").read_text()), 0)
    assert not [p for p in (files / "data").iterdir() if p.name.startswith(".search")]


def test_refusals(megafold, files):
    done = search(megafold, files, "jackhmmer", env={**os.environ, "PATH": str(files)})
    assert done.returncode == 2 and "Debian's package hmmer" in done.stderr
    env = stand_in(files / "bin", "jackhmmer", NO_HIT)
    for text, wanted in [
        ("", "is empty"),
        (">a\nAC1\n", "mine.fasta:2: odd character '1'"),
        (">a b\nAC\n>c\nA\n>a\nAC\n", "mine.fasta:5: 'a' would have the folder of the sequence"),
        (">sp|a\nAC\n>sp-a\nAC\n", "rename one"),
    ]:
        (files / "mine.fasta").write_text(text)
        done = search(megafold, files, "jackhmmer", env=env)
        assert done.returncode == 2 and wanted in done.stderr, done.stderr
    (files / "mine.fasta").write_text(">a\nAC\n")
    done = search(megafold, files, "jackhmmer", "--templates", env=env)
    assert done.returncode == 2 and "jackhmmer finds none" in done.stderr
    env = stand_in(files / "bin", "jackhmmer", NO_HIT.replace("query %s", "other/1-3 ACD%.0s"))
    done = search(megafold, files, "jackhmmer", env=env)
    assert done.returncode == 2 and "neither its first row nor #=GC RF" in done.stderr
