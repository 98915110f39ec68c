# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""`megafold import --from boltz`: tables written by numpy with Boltz's dtypes (its
src/boltz/data/types.py, versions 1 and 2), made of an entry's own record."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
gemmi = pytest.importorskip("gemmi")
pytest.importorskip("zstandard", reason="python -m pip install zstandard")

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("reader", ROOT / "python/megafold/cache.py")
reader = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reader)

ATOM = [("name", "4i1"), ("element", "i1"), ("charge", "i1"), ("coords", "3f4"),
        ("conformer", "3f4"), ("is_present", "?"), ("chirality", "i1")]  # fmt: skip
ATOM_2 = [("name", "<U4"), ("coords", "3f4"), ("is_present", "?"), ("bfactor", "f4"),
          ("plddt", "f4")]  # fmt: skip
BOND = [("atom_1", "i4"), ("atom_2", "i4"), ("type", "i1")]
CONNECTION = [(name, "i4") for name in ("chain_1", "chain_2", "res_1", "res_2", "atom_1", "atom_2")]
RESIDUE = [("name", "<U5"), ("res_type", "i1"), ("res_idx", "i4"), ("atom_idx", "i4"),
           ("atom_num", "i4"), ("atom_center", "i4"), ("atom_disto", "i4"), ("is_standard", "?"),
           ("is_present", "?")]  # fmt: skip
CHAIN = [("name", "<U5"), ("mol_type", "i1"), ("entity_id", "i4"), ("sym_id", "i4"),
         ("asym_id", "i4"), ("atom_idx", "i4"), ("atom_num", "i4"), ("res_idx", "i4"),
         ("res_num", "i4"), ("cyclic_period", "i4")]  # fmt: skip
INTERFACE = [("chain_1", "i4"), ("chain_2", "i4")]
COORDS, ENSEMBLE = [("coords", "3f4")], [("atom_coord_idx", "i4"), ("atom_num", "i4")]
SEQUENCE = [("seq_idx", "i2"), ("taxonomy", "i4"), ("res_start", "i4"), ("res_end", "i4"),
            ("del_start", "i4"), ("del_end", "i4")]  # fmt: skip
DELETION = [("res_idx", "i2"), ("deletion", "i2")]


@pytest.fixture(scope="module")
def original(cache):
    return reader.open(cache)


def rows_of(structure, version):
    """What Boltz keeps of a structure: atoms of the assembly, sequences whole, links of its own."""
    atoms, residues, chains, places = [], [], [], {}

    def add_atom(name, element, position, seen):
        if version == 1:
            letters = [ord(c) - 32 for c in name] + [0] * (4 - len(name))
            atoms.append((letters, element, 0, position, (0, 0, 0), seen, 0))
        else:
            atoms.append((name, position, seen, 12.5, 0))

    def add_residue(name, place, here):
        start = len(atoms)
        for atom in here or ():
            places[here.subchain, str(here.seqid), atom.name] = (
                len(chains),
                len(residues),
                len(atoms),
            )
            add_atom(atom.name, atom.element.atomic_number, atom.pos.tolist(), True)
        if here is None:
            add_atom("N1", 7, (0, 0, 0), False)
        residues.append((name, 0, place, start, len(atoms) - start, start, start, True,
                         here is not None))  # fmt: skip

    for span in structure[0].subchains():
        entity = structure.get_entity_of(span)
        kind = 3
        if entity.entity_type == gemmi.EntityType.Polymer:
            kinds = {gemmi.PolymerType.PeptideL: 0, gemmi.PolymerType.Dna: 1}
            kind = kinds[entity.polymer_type]
        first, first_atom = len(residues), len(atoms)
        known = {residue.label_seq: residue for residue in span}
        if kind < 3:
            for place, name in enumerate(entity.full_sequence):
                add_residue(name.split(",")[0], place, known.get(place + 1))
        else:
            for place, residue in enumerate(span):
                add_residue(residue.name, place, residue)
        chains.append((span.subchain_id(), kind, int(entity.name), 0, len(chains), first_atom,
                       len(atoms) - first_atom, first, len(residues) - first, 0))  # fmt: skip
    return atoms, residues, chains, places


def write_structure(path, structure, version, mask=None, compressed=True):
    atoms, residues, chains, places = rows_of(structure, version)
    links = []
    for link in structure.connections:
        if link.type != gemmi.ConnectionType.Covale:
            continue
        ends = [structure[0].find_cra(end) for end in (link.partner1, link.partner2)]
        ends = [
            places.get((cra.residue.subchain, str(cra.residue.seqid), cra.atom.name))
            for cra in ends
            if cra.atom
        ]
        if len(ends) == 2 and None not in ends:
            links.append([value for pair in zip(*ends, strict=True) for value in pair])
    if version == 1:  # as in the files that Boltz offers: without the last field
        chains, chain_type = [row[:-1] for row in chains], CHAIN[:-1]
    else:
        chain_type = CHAIN
    tables = {
        "atoms": np.array(atoms, dtype=ATOM if version == 1 else ATOM_2),
        "residues": np.array(residues, dtype=RESIDUE),
        "chains": np.array(chains, dtype=chain_type),
        "interfaces": np.array([], dtype=INTERFACE),
        "mask": np.array(mask if mask is not None else [True] * len(chains), dtype=bool),
    }
    if version == 1:
        tables["bonds"] = np.array([(0, 1, 1)], dtype=BOND)
        tables["connections"] = np.array([tuple(row) for row in links], dtype=CONNECTION)
    else:
        inside = (0, 0, 0, 0, 0, 1, 1)  # a bond within a residue
        rows = [inside, *[(*row, 5) for row in links]]
        tables["bonds"] = np.array(rows, dtype=[*CONNECTION, ("type", "i1")])
        tables["coords"] = np.array([(row[1],) for row in atoms], dtype=COORDS)
        tables["ensemble"] = np.array([(0, len(atoms))], dtype=ENSEMBLE)
        tables["pocket"] = None  # an object, as Boltz leaves it: a pickle that nobody may open
    path.parent.mkdir(parents=True, exist_ok=True)
    (np.savez_compressed if compressed else np.savez)(path, **tables)
    return tables


def write_alignment(path, rows):
    """`rows`: (taxon, A3M letters) with the query first."""
    tokens = "ARNDCQEGHILKMFPSTWYVX"
    residues, deletions, sequences = [], [], []
    for number, (taxon, letters) in enumerate(rows):
        start, gone, count, column = len(residues), len(deletions), 0, 0
        for c in letters:
            if c.islower():
                count += 1
                continue
            if count:
                deletions.append((column, count))
            residues.append((1 if c == "-" else tokens.index(c) + 2,))
            count, column = 0, column + 1
        sequences.append((number, taxon, start, len(residues), gone, len(deletions)))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        residues=np.array(residues, dtype=[("res_type", "i1")]),
        deletions=np.array(deletions, dtype=DELETION),
        sequences=np.array(sequences, dtype=SEQUENCE),
    )


def read_assembly(name):
    structure = gemmi.read_structure(str(ROOT / f"data/entries/{name}.cif.gz"))
    first = structure.assemblies[0].name
    structure.transform_to_assembly(first, gemmi.HowToNameCopiedChain.AddNumber)
    structure.remove_waters()
    structure.remove_hydrogens()
    structure.remove_alternative_conformations()
    structure.remove_empty_chains()
    return structure


INFO = {
    "2q2k": ("X-RAY DIFFRACTION", "2008-02-05", 3.0),
    "1kd8": ("X-RAY DIFFRACTION", "2001-11-28", 1.9),
}


def record_of(name, msa_ids=()):
    method, released, resolution = INFO[name]
    return {
        "id": name,
        "structure": {"method": method, "released": released, "resolution": resolution},
        "chains": [{"chain_id": i, "chain_name": "x", "mol_type": 0, "cluster_id": -1,
                    "msa_id": msa, "num_residues": 1, "valid": True}
                   for i, msa in enumerate(msa_ids)],
        "interfaces": [],
    }  # fmt: skip


def run_import(megafold, folder):
    return megafold("import", folder / "boltz", "--from", "boltz", "--out", folder / "data")


def build(megafold, folder):
    shutil.copy(ROOT / "data/components.bcif.gz", folder / "data")
    done = megafold("cache", "build", "--data", folder / "data", "--out", folder / "cache")
    assert done.returncode == 0, done.stderr
    return reader.open(folder / "cache")


@pytest.mark.parametrize("version", [1, 2])
def test_an_entry_comes_back_as_it_was(megafold, original, tmp_path, version):
    for name in INFO:
        path = tmp_path / f"boltz/structures/{name}.npz"
        write_structure(path, read_assembly(name), version, compressed=name != "1kd8")
    records = [record_of(name) for name in INFO]
    manifest = records if version == 1 else {"records": records}
    (tmp_path / "boltz/manifest.json").write_text(json.dumps(manifest))
    done = run_import(megafold, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "its author's numbers" in done.stderr
    cache = build(megafold, tmp_path)
    for name in INFO:
        was, now = original[name], cache[name]
        for key in ("method", "release_date", "resolution"):
            assert now.meta[key] == was.meta[key]
        assert any("from Boltz's files" in note for note in now.meta["inferred"])
        assert len(now.meta["chains"]) == len(was.meta["chains"])

        def facts(entry):
            """Chains in any order: what each consists of, and where."""
            out = []
            for number, chain in enumerate(entry.meta["chains"]):
                tokens = np.flatnonzero(entry["token_chain"] == number)
                atoms = np.concatenate([
                    np.arange(entry["token_atom_start"][t],
                              entry["token_atom_start"][t] + entry["token_atom_count"][t])
                    for t in tokens
                ])  # fmt: skip
                seen = entry["atom_resolved"][atoms].astype(bool)
                centre = np.round(entry["atom_position"][atoms][seen].mean(0), 2).tolist()
                names, elements = entry["atom_name"][atoms], entry["atom_element"][atoms]
                out.append((chain["type"], chain["sequence"], centre, names.tobytes(),
                            elements.tobytes(), seen.tobytes(),
                            entry["token_restype"][tokens].tolist()))  # fmt: skip
            return sorted(out)

        assert facts(now) == facts(was)
        assert len(now["token_bond"]) == len(was["token_bond"])


def test_alignments_with_species_and_deletions(megafold, tmp_path):
    structure = read_assembly("2q2k")
    write_structure(tmp_path / "boltz/structures/2q2k.npz", structure, 1)
    sequence = "MGSSHHHHHHSSGLVPGSHMDKKETKHLLKIKKEDYPQIFDFLENVPRGTKTAHIREALRRYIEEIGENP"
    rows = [(-1, sequence), (9606, "-" * 10 + "ac" + sequence[10:]), (-1, sequence[:-1] + "A")]
    write_alignment(tmp_path / "boltz/msa/f00.npz", rows)
    write_alignment(tmp_path / "boltz/msa/unused.npz", rows)
    (tmp_path / "boltz/manifest.json").write_text(
        json.dumps([record_of("2q2k", [-1, "f00", "f00", "", "gone"])])
    )
    done = run_import(megafold, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "alignment 'gone': no gone.npz" in done.stderr
    assert "1 alignments belong to no chain" in done.stderr
    folder = tmp_path / "data/alignments/seq_boltz-f00"
    text = (folder / "boltz.a3m").read_text()
    assert [s for s in text.splitlines() if s[0] != ">"] == [
        sequence, "-" * 10 + "xx" + sequence[10:], sequence[:-1] + "A"]  # fmt: skip
    assert (folder / "pairing.a3m").read_text().count(">") == 2
    entry = build(megafold, tmp_path)["2q2k"]
    label = next(c["label"] for c in entry.meta["chains"] if c["type"] == "protein")
    alignment = entry.alignment(label)
    assert alignment["msa"].shape == (3, 70)
    assert alignment["deletion"][1, 10] == 2


def test_masked_chains_and_missing_records(megafold, tmp_path):
    structure = read_assembly("2q2k")
    count = len(list(structure[0].subchains()))
    mask = [i == 1 for i in range(count)]
    write_structure(tmp_path / "boltz/structures/2q2k.npz", structure, 2, mask)
    done = run_import(megafold, tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{count - 1} chains that Boltz's filters took out" in done.stderr
    assert "1 entries have no record" in done.stderr
    entry = build(megafold, tmp_path)["2q2k"]
    assert len(entry.meta["chains"]) == 1


def test_damaged_tables_are_refused(megafold, tmp_path):
    structure = read_assembly("1kd8")
    path = tmp_path / "boltz/structures/1kd8.npz"
    tables = write_structure(path, structure, 1)
    whole = path.read_bytes()

    def said():
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        done = run_import(megafold, tmp_path)
        assert done.returncode in (2, 3), done.stderr
        assert "1kd8.npz" in done.stderr
        return done.stderr

    def changed(**other):
        np.savez_compressed(path, **{**tables, **other})
        return said()

    path.write_bytes(whole[: len(whole) // 2])
    assert "no zip archive" in said()
    broken = bytearray(whole)
    broken[200] ^= 0xFF
    path.write_bytes(broken)
    assert re.search("damaged|checksum", said())
    path.write_bytes(b"PK nothing")
    assert "no zip archive" in said()
    assert "mask: 1 of them for" in changed(mask=np.ones(1, bool))
    assert "the type '|O' is not read here" in changed(mask=np.array([None], dtype=object))
    assert "has no field 'is_present'" in changed(atoms=tables["atoms"][["name", "element"]])
    chains = tables["chains"].copy()
    chains["res_num"][0] = 100000
    assert "chains: rows 0 to 100000 of a table of" in changed(chains=chains)
    residues = tables["residues"].copy()
    residues["atom_idx"][3] = -1
    assert "residues: rows -1 to" in changed(residues=residues)
    atoms = tables["atoms"].copy()
    atoms["coords"][5] = np.nan
    assert "atoms: row 5: the coordinate nan" in changed(atoms=atoms)
    atoms = tables["atoms"].copy()
    atoms["name"][5] = 127
    assert "is no character of a name" in changed(atoms=atoms)
    assert "has 2 dimensions" in changed(mask=np.ones((2, 2), bool))
    path.write_bytes(whole)
    (tmp_path / "boltz/manifest.json").write_text("[{]")
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    done = run_import(megafold, tmp_path)
    assert done.returncode == 2 and "manifest.json" in done.stderr
