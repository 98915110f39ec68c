# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""`megafold predict` through the real binary."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def atom_site(text):
    """Rows of the _atom_site loop as dictionaries; no text fields."""
    lines = iter(text.splitlines())
    names, rows = [], []
    for line in lines:
        if line.startswith("_atom_site."):
            names.append(line.split(".")[1].strip())
        elif names and line.startswith(("ATOM", "HETATM")):
            rows.append(dict(zip(names, line.split())))
        elif rows:
            break
    return rows


def test_atoms_are_those_of_the_entry(tiny_run):
    predicted = atom_site((tiny_run / "predicted.cif").read_text())
    assert len(predicted) == 5 * 602, "five samples, all of them written"
    predicted = [a for a in predicted if a["pdbx_PDB_model_num"] == "1"]
    entry = gzip.decompress((ROOT / "data/entries/1ubq.cif.gz").read_bytes()).decode()
    truth = [a for a in atom_site(entry) if a["label_comp_id"] != "HOH"]
    keys = ("label_atom_id", "label_comp_id", "label_asym_id", "label_seq_id", "auth_seq_id")
    assert len(predicted) == len(truth) == 602
    # A file of the PDB and the component dictionary order the atoms of a residue alike.
    assert [[a[k] for k in keys] for a in predicted] == [[a[k] for k in keys] for a in truth]


def test_a_job_of_alphafold3_is_predicted(megafold, tiny_run, tmp_path):
    """1ubq's sequence as a job: the atoms of the entry, from a cache without coordinates."""
    sequence = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"
    job = {
        "name": "Ubiquitin",
        "modelSeeds": [1],
        "sequences": [
            {"protein": {"id": "A", "sequence": sequence}},
            {"ligand": {"id": "L", "ccdCodes": ["EPE"]}},
        ],
        "bondedAtomPairs": [[["A", 6, "NZ"], ["L", 1, "C2"]]],
        "dialect": "alphafold3",
        "version": 4,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    out = tmp_path / "ubiquitin.cif"
    ccd = ROOT / "data/components.bcif.gz"
    data, cache = tmp_path / "data", tmp_path / "cache"
    for command in (
        ("import", tmp_path / "job.json", "--from", "alphafold3", "--out", data),
        ("cache", "build", "--data", data, "--ccd", ccd, "--out", cache),
        ("predict", "--checkpoint", tiny_run / "checkpoint.safetensors", "--cache", cache)
        + ("--entry", "ubiquitin", "--samples", 1, "--steps", 2, "--out", out),
    ):
        done = megafold(*command)
        assert done.returncode == 0, (command, done.stderr)
    assert "no resolved atoms to compare with" in done.stdout
    entry = gzip.decompress((ROOT / "data/entries/1ubq.cif.gz").read_bytes()).decode()
    truth = [a for a in atom_site(entry) if a["label_comp_id"] != "HOH"]
    predicted = atom_site(out.read_text())
    keys = ("group_PDB", "label_atom_id", "label_comp_id", "label_asym_id", "label_seq_id")
    protein = [a for a in predicted if a["label_asym_id"] == "A"]
    # The bonded lysine has a token for each atom, and is written like any other residue.
    assert [[a[k] for k in keys] for a in protein] == [[a[k] for k in keys] for a in truth]
    assert {a["group_PDB"] for a in predicted if a["label_asym_id"] == "L"} == {"HETATM"}
    # Nothing of it can be learned, and training says so.
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data: {{cache: {cache}}}\nmodel: {{preset: tiny}}\ntraining: {{steps: 1}}\n"
    )
    done = megafold("train", config, "--run", tmp_path / "run")
    assert done.returncode == 2 and "carries no label" in done.stderr


def test_summary_has_the_numbers(tiny_run):
    summary = json.loads((tiny_run / "summary.json").read_text())
    assert summary["entry"] == "1ubq"
    assert summary["steps"] == 6
    assert summary["train_seconds"] > 0
    assert 0.5 < summary["diffusion_mse_over_trivial"] < 1.5
    assert 0 <= summary["lddt"] < 0.5, "six steps cannot have learned the structure"


def test_the_seed_fixes_the_structure(megafold, tiny_run, tmp_path):
    outs = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        out = tmp_path / f"{name}.cif"
        done = megafold("predict", "--run", tiny_run, "--steps", 2, "--seed", seed, "--out", out)
        assert done.returncode == 0, done.stderr
        outs.append(atom_site(out.read_text()))
    assert outs[0] == outs[1]
    assert outs[0] != outs[2]


def test_samples_become_models_and_another_out_leaves_the_summary(megafold, tiny_run, tmp_path):
    before = (tiny_run / "summary.json").read_text()
    out = tmp_path / "two.cif"
    done = megafold(
        "predict", "--run", tiny_run, "--steps", 2, "--samples", 2, "--out", out,
        "--json", tmp_path / "two.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [a["pdbx_PDB_model_num"] for a in atom_site(out.read_text())] == ["1"] * 602 + [
        "2"
    ] * 602
    assert len(json.loads((tmp_path / "two.json").read_text())["samples"]) == 2
    assert (tiny_run / "summary.json").read_text() == before


def test_samples_are_ranked_and_none_is_lost(tiny_run):
    summary = json.loads((tiny_run / "summary.json").read_text())
    wrong = [s["wrong_hands"] for s in summary["samples"]]
    marks = [
        s["ranking_score"] - s["wrong_hands"] / summary["stereocentres"] for s in summary["samples"]
    ]
    assert marks == sorted(marks, reverse=True)
    assert sorted(s["draw"] for s in summary["samples"]) == [1, 2, 3, 4, 5]
    # 1ubq: alpha carbons of all but its 6 glycines, and CB of 7 isoleucines and 7 threonines.
    assert summary["stereocentres"] == 70 + 7 + 7
    assert summary["wrong_hands"] == wrong[0]


def test_confidences_are_in_alphafold3s_form(tiny_run):
    full = json.loads((tiny_run / "predicted_confidences.json").read_text())
    assert set(full) == {
        "atom_chain_ids", "atom_plddts", "contact_probs", "pae", "token_chain_ids", "token_res_ids",
    }  # fmt: skip
    assert len(full["atom_plddts"]) == len(full["atom_chain_ids"]) == 602
    assert [len(row) for row in full["pae"]] == [76] * 76
    assert all(0 <= x <= 32 for row in full["pae"] for x in row)
    assert full["token_res_ids"] == list(range(1, 77))
    summary = json.loads((tiny_run / "predicted_summary_confidences.json").read_text())
    assert summary["iptm"] is None, "one chain has no interface"
    assert summary["ranking_score"] == pytest.approx(summary["ptm"], abs=0.011)
    assert len(summary["chain_pair_iptm"]) == 1
    scores = (tiny_run / "predicted_ranking_scores.csv").read_text().splitlines()
    assert scores[0] == "seed,sample,ranking_score,wrong_hands"
    assert len(scores) == 6
    # The B-factor column is pLDDT.
    atoms = [
        a
        for a in atom_site((tiny_run / "predicted.cif").read_text())
        if a["pdbx_PDB_model_num"] == "1"
    ]
    for atom, plddt in zip(atoms, full["atom_plddts"]):
        assert float(atom["B_iso_or_equiv"]) == pytest.approx(plddt, abs=0.011)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--entry", "1ubr"], 2, "1ubq"),  # the nearest id is named
        (["--checkpoint", "nowhere.safetensors"], 2, "nowhere.safetensors"),
        (["--cache", "nowhere"], 2, "nowhere"),
        (["--device", "tpu"], 2, "tpu"),
        (["--samples", "0"], 2, "samples"),
        (["--out", "/proc/nowhere/p.cif"], 4, "/proc/nowhere"),
    ],
)
def test_bad_input(megafold, tiny_run, tmp_path, arguments, code, words):
    if "--out" not in arguments:
        arguments = ["--out", tmp_path / "p.cif", *arguments]
    done = megafold("predict", "--run", tiny_run, "--steps", 1, *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert not (tmp_path / "p.cif").exists()


def test_a_damaged_checkpoint_is_found(megafold, tiny_run, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    data = bytearray((tiny_run / "checkpoint.safetensors").read_bytes())
    data[-100] ^= 1
    checkpoint.write_bytes(data)
    arguments = (
        "predict",
        "--run",
        tiny_run,
        "--checkpoint",
        checkpoint,
        "--out",
        tmp_path / "p.cif",
    )
    assert megafold(*arguments).returncode == 3
    checkpoint.write_bytes(data[:5000])
    assert megafold(*arguments).returncode in (2, 3)
    assert not (tmp_path / "p.cif").exists()


def test_no_entry_named_where_the_run_had_several(megafold, tmp_path, tiny_run):
    done = megafold("predict", "--out", tmp_path / "p.cif")
    assert done.returncode == 2
    assert "--run" in done.stderr


def test_report_of_an_unfinished_run_says_what_is_missing(megafold, tiny_run, tmp_path):
    shutil.copy(tiny_run / "metrics.jsonl", tmp_path)
    done = megafold("report", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "megafold predict" in (tmp_path / "report.html").read_text()
    assert megafold("report", tmp_path / "nowhere").returncode == 2
