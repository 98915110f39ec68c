# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""megafold-conformers: what it writes is a component dictionary that the program reads."""

import os
import subprocess

import pytest

Chem = pytest.importorskip("rdkit.Chem")
gemmi = pytest.importorskip("gemmi")
from megafold import conformers  # noqa: E402

HEME_LIKE = """\
data_FEX
_chem_comp.id FEX
_chem_comp.name 'a metal with seven bonds to oxygen, which no valence allows'
_chem_comp.type non-polymer
loop_
_chem_comp_atom.comp_id
_chem_comp_atom.atom_id
_chem_comp_atom.type_symbol
_chem_comp_atom.charge
_chem_comp_atom.pdbx_leaving_atom_flag
_chem_comp_atom.pdbx_model_Cartn_x_ideal
_chem_comp_atom.pdbx_model_Cartn_y_ideal
_chem_comp_atom.pdbx_model_Cartn_z_ideal
FEX C C 0 N 1.0 2.0 3.0
FEX O1 O 0 N 2.0 2.0 3.0
FEX O2 O 0 N 3.0 2.0 3.0
FEX O3 O 0 N 4.0 2.0 3.0
loop_
_chem_comp_bond.comp_id
_chem_comp_bond.atom_id_1
_chem_comp_bond.atom_id_2
_chem_comp_bond.value_order
FEX C O1 DOUB
FEX C O2 DOUB
FEX C O3 DOUB
"""


def run(*arguments):
    return conformers.main([str(a) for a in arguments])


def places(path, code):
    block = gemmi.cif.read(str(path)).find_block(code)
    axes = [block.find_values(f"_chem_comp_atom.pdbx_model_Cartn_{a}_ideal") for a in "xyz"]
    return [[float(x) for x in row] for row in zip(*axes)]


def distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b)) ** 0.5


def test_smiles_become_a_component(tmp_path):
    out = tmp_path / "mine.components.cif"
    assert run("C[C@H](N)C(=O)O", "--code", "MYALA", "--out", out) == 0
    block = gemmi.cif.read(str(out)).find_block("MYALA")
    assert list(block.find_values("_chem_comp_atom.atom_id")) == [
        "C1",
        "C2",
        "N1",
        "C3",
        "O1",
        "O2",
    ]
    assert len(block.find_values("_chem_comp_bond.atom_id_1")) == 5
    x = places(out, "MYALA")
    assert 1.4 < distance(x[0], x[1]) < 1.65 and 1.1 < distance(x[3], x[4]) < 1.35
    # The hand is the one that was written: seen from N, C1 to C3 to ... turns as in L-alanine.
    u, v, w = ([a - b for a, b in zip(x[i], x[1])] for i in (2, 3, 0))
    cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    volume = sum(a * b for a, b in zip(cross, w))
    assert run("C[C@@H](N)C(=O)O", "--code", "MYALA", "--out", tmp_path / "other.cif") == 0
    y = places(tmp_path / "other.cif", "MYALA")
    u, v, w = ([a - b for a, b in zip(y[i], y[1])] for i in (2, 3, 0))
    cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    assert volume * sum(a * b for a, b in zip(cross, w)) < 0
    # The same seed gives the same numbers, another seed others.
    assert run("C[C@H](N)C(=O)O", "--code", "MYALA", "--out", tmp_path / "again.cif") == 0
    assert (tmp_path / "again.cif").read_bytes() == out.read_bytes()
    assert run("C[C@H](N)C(=O)O", "--code", "MYALA", "--seed", 1, "--out", out) == 0
    assert (tmp_path / "again.cif").read_bytes() != out.read_bytes()


def test_an_sdf_keeps_its_coordinates(tmp_path):
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    Chem.rdDistGeom.EmbedMolecule(mol, randomSeed=5)
    writer = Chem.SDWriter(str(tmp_path / "ethanol.sdf"))
    writer.write(mol)
    writer.close()
    assert run(tmp_path / "ethanol.sdf", "--code", "ETH", "--out", tmp_path / "e.cif") == 0
    want = mol.GetConformer().GetPositions()[:3]
    for got, exact in zip(places(tmp_path / "e.cif", "ETH"), want):
        assert distance(got, exact) < 2e-3


def test_a_pool_of_conformers(tmp_path):
    assert run("CCCCO", "--code", "BUT", "--pool", 3, "--out", tmp_path / "a.cif") == 0
    # From the dictionary that it wrote: the same seeds, so the same numbers.
    assert run(tmp_path / "a.cif", "--pool", 3, "--out", tmp_path / "b.cif") == 0
    for name in ("a.cif", "b.cif"):
        block = gemmi.cif.read(str(tmp_path / name)).find_block("BUT")
        rows = block.find("_megafold_conformer.", ["number", "atom_id", "x", "y", "z"])
        numbers = [int(row[0]) for row in rows]
        assert numbers == [1] * 5 + [2] * 5 + [3] * 5
        assert [row[1] for row in rows][:5] == ["C1", "C2", "C3", "C4", "O1"]
        ends = [rows[i] for i in (0, 4, 5, 9)]
        first, second = (
            distance(*([float(x) for x in list(row)[2:]] for row in pair))
            for pair in (ends[:2], ends[2:])
        )
        assert first != second and 2.5 < min(first, second) < max(first, second) < 5.5


def test_a_dictionary_falls_back_to_its_ideal_coordinates(tmp_path, capsys):
    (tmp_path / "in.cif").write_text(HEME_LIKE)
    assert run(tmp_path / "in.cif", "--out", tmp_path / "out.cif") == 0
    assert "coordinates are from ideal: 1 (FEX)" in capsys.readouterr().out
    assert places(tmp_path / "out.cif", "FEX")[3] == [4, 2, 3]


@pytest.mark.skipif("MEGAFOLD" not in os.environ, reason="MEGAFOLD names no program")
def test_the_program_reads_it(tmp_path):
    out = tmp_path / "mine.components.cif"
    assert run("c1ccccc1Cl", "--code", "CLB", "--out", out) == 0
    done = subprocess.run(
        [os.environ["MEGAFOLD"], "ccd", "info", out, "CLB"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "CL1" in done.stdout


@pytest.mark.parametrize(
    "source,codes,words",
    [
        ("not a molecule", ["X"], "RDKit does not read it as SMILES"),
        ("CCO", [], "needs one --code"),
        ("CCO", ["TOOLONGCODE"], "1 to 8 letters"),
        ("none.sdf", ["X"], "no such file"),
        ("none.cif", [], "none.cif"),
    ],
)
def test_bad_input(tmp_path, capsys, source, codes, words):
    codes = [part for code in codes for part in ("--code", code)]
    assert run(source, *codes, "--out", tmp_path / "out.cif") == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out.cif").exists()
