#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""An independent reading of the six demonstration entries, for comparison with megafold's.

    python3 -m venv v && v/bin/pip install gemmi==0.7.5 biotite==1.6.0 numpy==2.4.6
    v/bin/python tests/oracle/make_expected.py      # writes tests/oracle/expected.json

gemmi reads the mmCIF (megafold's C++ uses gemmi's tokenizer alone, none of its structure code),
biotite decodes the dictionary's BinaryCIF, and everything after that is written here in plain
Python, from docs and not from the C++. All that is compared is integers; coordinates are sums in
units of 0.001 A.
"""

import gzip
import io
import json
import re
import zlib
from itertools import pairwise
from pathlib import Path

import biotite.structure.io.pdbx as pdbx
import gemmi

ROOT = Path(__file__).resolve().parents[2]
STANDARD = (
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL UNK "
    "A G C U N DA DG DC DT DN"
).split(" ")
AIDS = "SO4 GOL EDO PO4 ACT PEG DMS TRS PGE PG4 FMT EPE MPD MES CD IOD".split(" ")
TYPES = {
    "polypeptide(L)": 0,
    "polyribonucleotide": 1,
    "polydeoxyribonucleotide": 2,
}


def unpacked(path):
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def read_dictionary(path):
    """{code: ([(atom, element, leaving)], [(atom, atom)])}, heavy atoms only."""
    block = pdbx.BinaryCIFFile.read(io.BytesIO(unpacked(path))).block
    atoms, bonds = block["chem_comp_atom"], block["chem_comp_bond"]
    out = {code: ([], []) for code in block["chem_comp"]["id"].as_array()}
    columns = [atoms[c].as_array() for c in ("comp_id", "atom_id", "type_symbol")]
    flags = atoms["pdbx_leaving_atom_flag"].as_array()
    for code, name, element, flag in zip(*columns, flags, strict=True):
        if element not in ("H", "D"):
            number = gemmi.Element(element).atomic_number
            out[code][0].append((str(name), number, flag == "Y"))
    names = {code: {a[0] for a in value[0]} for code, value in out.items()}
    columns = [bonds[c].as_array() for c in ("comp_id", "atom_id_1", "atom_id_2")]
    for code, first, second in zip(*columns, strict=True):
        if first in names[code] and second in names[code]:
            out[code][1].append((str(first), str(second)))
    return out


def read_entry(path):
    block = gemmi.cif.read_string(unpacked(path).decode()).sole_block()

    def rows(category, *columns):
        table = block.find(category, list(columns))
        return [tuple(gemmi.cif.as_string(v) for v in row) for row in table]

    poly = dict(rows("_entity_poly.", "entity_id", "type"))
    entity = dict(rows("_struct_asym.", "id", "entity_id"))
    sequence = {}
    for e, num, mon in rows("_entity_poly_seq.", "entity_id", "num", "mon_id"):
        sequence.setdefault(e, {}).setdefault(int(num), mon)
    scheme = rows("_pdbx_poly_seq_scheme.", "asym_id", "seq_id", "mon_id")
    for asym, num, mon in scheme if not sequence else ():  # as PDB-REDO and the like leave it
        sequence.setdefault(entity[asym], {}).setdefault(int(num), mon)
    chains = {}
    columns = ["label_asym_id", "label_seq_id", "auth_seq_id", "label_comp_id", "label_atom_id"]
    columns += ["label_alt_id", "type_symbol", "occupancy", "Cartn_x", "Cartn_y", "Cartn_z"]
    columns += ["pdbx_PDB_model_num"]
    for row in rows("_atom_site.", *columns):
        asym, seq, auth, comp, name, alt, element, occupancy, x, y, z, model = row
        if model != "1" or element in ("H", "D") or comp == "HOH":
            continue
        key = int(seq) if seq else int(auth)
        residue = chains.setdefault(asym, {}).setdefault(key, (comp, []))
        xyz = (float(x), float(y), float(z))
        residue[1].append((name, alt, float(occupancy), xyz))
    assembly = rows("_pdbx_struct_assembly_gen.", "assembly_id", "oper_expression", "asym_id_list")
    operations = {}
    for row in block.find("_pdbx_struct_oper_list.", ["id"]):
        operations[row[0]] = None
    matrix = [f"matrix[{i}][{j}]" for i in (1, 2, 3) for j in (1, 2, 3)]
    shift = [f"vector[{i}]" for i in (1, 2, 3)]
    for row in rows("_pdbx_struct_oper_list.", "id", *matrix, *shift):
        values = [float(v) for v in row[1:]]
        operations[row[0]] = (values[:9], values[9:])
    if not assembly:  # NMR entries often have none: the asymmetric unit as it is
        assembly = [("1", "1", ",".join(chains))]
        operations["1"] = ([1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 0, 0])
    return poly, entity, sequence, chains, assembly, operations


def members_of(expression):
    """Operations of "1,3", "(1-60)"; products such as (1)(2) do not occur in these entries."""
    for part in re.findall(r"[\w-]+", expression):
        first, _, last = part.partition("-")
        if last:
            yield from map(str, range(int(first), int(last) + 1))
        else:
            yield first


def pick(atoms):
    """One atom per name: no alternative, or that of the largest total occupancy, then the rest."""
    total = {}
    for _, alt, occupancy, _ in atoms:
        if alt:
            total[alt] = total.get(alt, 0) + occupancy
    order = ["", *sorted(total, key=lambda a: (-total[a], a))]
    out = {}
    for rank in order:
        for name, alt, occupancy, xyz in atoms:
            preferred = alt in ("", order[1] if len(order) > 1 else "")
            if alt == rank and (name not in out or (preferred and not out[name][2])):
                out.setdefault(name, (occupancy, xyz, preferred))
    return out


def expected(path, dictionary):
    poly, entity, sequence, chains, assembly, operations = read_entry(path)
    prepared = {}
    for asym, residues in chains.items():
        e = entity[asym]
        kind = TYPES.get(poly.get(e), 3)
        done = []
        numbers = sorted(sequence[e]) if kind < 3 else list(residues)
        for number in numbers:
            comp, atoms = residues.get(number, (sequence.get(e, {}).get(number), []))
            found = pick(atoms)
            if comp == "MSE":
                comp = "MET"
                if "SE" in found:
                    found["SD"] = found.pop("SE")
            if kind == 3 and comp in AIDS:
                continue
            if comp == "ARG" and {"CD", "NH1", "NH2"} <= set(found):

                def from_cd(name, atoms=found):
                    pairs = zip(atoms[name][1], atoms["CD"][1], strict=True)
                    return sum((a - b) ** 2 for a, b in pairs)

                if from_cd("NH2") < from_cd("NH1"):
                    found["NH1"], found["NH2"] = found["NH2"], found["NH1"]
            done.append((number, comp, found))
        if done:
            prepared[asym] = (kind, done)

    out = {"chain_type": [], "chain_tokens": [], "chain_sequence": []}
    restype, names, elements, resolved, bonds = [], [], [], [], set()
    atoms_per_token, entities, entity_ids, sym_ids = [], {}, [], []
    sums = [0.0, 0.0, 0.0]
    copies = {}
    gens = [row for row in assembly if row[0] == "1"]
    for _, expression, members in gens:
        for operation in members_of(expression):
            rotation, shift = operations[operation]
            for asym in prepared:
                if asym not in members.split(","):
                    continue
                kind, residues = prepared[asym]
                key = (kind, tuple(r[1] for r in residues))
                number = entities.setdefault(key, len(entities) + 1)
                copies[number] = copies.get(number, 0) + 1
                entity_ids.append(number)
                sym_ids.append(copies[number])
                out["chain_type"].append(kind)
                out["chain_sequence"].append(zlib.crc32(" ".join(key[1]).encode()))
                start = len(restype)
                token_of = []
                for i, (_, comp, found) in enumerate(residues):
                    whole, inner = dictionary[comp]
                    gone = set()
                    if kind < 3 and i + 1 < len(residues):
                        gone |= leaving(dictionary[comp], "C" if kind == 0 else "O3'")
                    if kind < 3 and i > 0:
                        gone |= leaving(dictionary[comp], "N" if kind == 0 else "P")
                    present = [a for a in whole if a[0] not in gone]
                    single = kind < 3 and comp in STANDARD
                    tokens = {}
                    if single:
                        restype.append(STANDARD.index(comp))
                        atoms_per_token.append(len(present))
                    for name, element, _ in present:
                        tokens[name] = len(restype) - 1 if single else len(restype)
                        if not single:
                            restype.append(20)
                            atoms_per_token.append(1)
                        names.append(name)
                        elements.append(element)
                        occupancy, xyz, _ = found.get(name, (0, None, False))
                        resolved.append(int(occupancy > 0))
                        if occupancy > 0:
                            for k in range(3):
                                moved = sum(rotation[3 * k + m] * xyz[m] for m in range(3))
                                sums[k] += moved + shift[k]
                    token_of.append((single, tokens))
                    if not single:
                        for a, b in inner:
                            if a in tokens and b in tokens:
                                bonds.add(tuple(sorted((tokens[a], tokens[b]))))
                ends = ("C", "N") if kind == 0 else ("O3'", "P")
                for (s, left), (t, right) in pairwise(token_of) if kind < 3 else ():
                    if not s and not t and ends[0] in left and ends[1] in right:
                        bonds.add(tuple(sorted((left[ends[0]], right[ends[1]]))))
                out["chain_tokens"].append(len(restype) - start)
    out |= {
        "tokens": len(restype),
        "atoms": len(names),
        "resolved": sum(resolved),
        "chain_entity": entity_ids,
        "chain_sym": sym_ids,
        "restype_crc": zlib.crc32(bytes(restype)),
        "atoms_per_token_crc": zlib.crc32(bytes(atoms_per_token)),
        "atom_name_crc": zlib.crc32("".join(f"{n:<4}" for n in names).encode()),
        "element_crc": zlib.crc32(bytes(elements)),
        "resolved_crc": zlib.crc32(bytes(resolved)),
        "bonds": [list(b) for b in sorted(bonds)],
        "position_sum": [round(1000 * s) for s in sums],
    }
    return out


def leaving(component, bonded):
    atoms, bonds = component
    flags = {name for name, _, flag in atoms if flag}
    pairs = [*bonds, *((b, a) for a, b in bonds)]
    return {b for a, b in pairs if a == bonded and b in flags}


def read_stockholm(path):
    rows = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith(("#", "//")):
            name, letters = line.split()
            rows[name] = rows.get(name, "") + letters
    return list(rows.values())


def read_a3m(path):
    rows = []
    for line in path.read_text().splitlines():
        if line.startswith(">"):
            rows.append("")
        else:
            rows[-1] += line.strip()
    return rows


def expected_alignment(folder):
    order = {letter: i for i, letter in enumerate("ARNDCQEGHILKMFPSTWYV")} | {"-": 31}
    order |= {"B": 3, "Z": 6, "U": 4}
    seen, rows, deletions, read = set(), [], [], 0
    for name in ("uniref90_hits.sto", "bfd_uniclust_hits.a3m", "mgnify_hits.sto"):
        path = folder / name
        texts = read_stockholm(path) if path.suffix == ".sto" else read_a3m(path)
        query = texts[0]
        for text in texts:
            read += 1
            row, counts, pending = [], [], 0
            if path.suffix == ".sto":
                pairs = [(q not in "-.", c) for q, c in zip(query, text, strict=True)]
            else:
                pairs = [(c.isupper() or c == "-", c) for c in text]
            for kept, c in pairs:
                if kept:
                    row.append(order.get(c.upper().replace(".", "-"), 20))
                    counts.append(pending)
                    pending = 0
                elif c not in "-.":
                    pending += 1
            if tuple(row) not in seen:
                seen.add(tuple(row))
                rows.append(row)
                deletions.append(counts)
    flat = [c for row in rows for c in row]
    return {
        "rows_read": read,
        "rows": len(rows),
        "columns": len(rows[0]),
        "msa_crc": zlib.crc32(bytes(flat)),
        "deletion_crc": zlib.crc32(bytes(min(d, 255) for row in deletions for d in row)),
        "deletion_sum": [sum(row[i] for row in deletions) for i in range(len(rows[0]))],
        "gap_count": [sum(row[i] == 31 for row in rows) for i in range(len(rows[0]))],
    }


def typed(name, column):
    """A text column as BinaryCIF has it: coordinates and the like as numbers, the rest as text."""
    mask = None if column.mask is None else column.mask.array
    if name.startswith("Cartn_") or name in ("occupancy", "B_iso_or_equiv"):
        return pdbx.BinaryCIFColumn(column.as_array(float), mask)
    if name in ("label_seq_id", "auth_seq_id", "num"):
        return pdbx.BinaryCIFColumn(column.as_array(int, masked_value=0), mask)
    return pdbx.BinaryCIFColumn(column.as_array(str), mask)


def main():
    dictionary = read_dictionary(ROOT / "data/components.bcif.gz")
    entries = {
        path.name.split(".")[0]: expected(path, dictionary)
        for path in sorted((ROOT / "data/entries").glob("*.cif.gz"))
    }
    out = {"entries": entries, "2q2k": expected_alignment(ROOT / "data/alignments/2q2k_A")}
    # The same entry as BinaryCIF, by an independent writer.
    text = gzip.decompress((ROOT / "data/entries/1ubq.cif.gz").read_bytes()).decode()
    source = pdbx.CIFFile.read(io.StringIO(text)).block
    block = pdbx.BinaryCIFBlock()
    for name in source:
        columns = {c: typed(c, source[name][c]) for c in source[name]}
        block[name] = pdbx.BinaryCIFCategory(columns)
    packed = io.BytesIO()
    pdbx.compress(pdbx.BinaryCIFFile({"1UBQ": block})).write(packed)
    Path(__file__).with_name("1ubq.bcif.gz").write_bytes(
        gzip.compress(packed.getvalue(), compresslevel=9, mtime=0)
    )
    target = Path(__file__).with_name("expected.json")
    target.write_text(json.dumps(out, separators=(",", ":")) + "\n")
    print(f"{target.name}: {len(entries)} entries, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
