# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the first inputs of tests/fuzz/corpus from data/: small, but with every part of a file.

    .venv/bin/python tests/fuzz/make_corpus.py       # after ./dev build; needs numpy and torch

What fuzzing found (crash-*) is kept beside them and is not touched.
"""

import gzip
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests/fuzz/corpus"
PROGRAM = Path(os.environ.get("MEGAFOLD", ROOT / "build/cpu/megafold"))
KEPT = (
    "_entry.", "_struct.", "_exptl.", "_refine.", "_pdbx_audit_revision_history.", "_entity.",
    "_entity_poly.", "_entity_poly_seq.", "_struct_asym.", "_struct_conn.", "_atom_site.",
    "_pdbx_struct_assembly.", "_pdbx_struct_assembly_gen.", "_pdbx_struct_oper_list.",
    "_pdbx_entity_nonpoly.", "_chem_comp.", "_pdbx_poly_seq_scheme.",
)  # fmt: skip


def write(target: str, name: str, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def small_entry(name: str, residues: int) -> str:
    """The categories that are read, with the first residues of each chain."""
    text = gzip.decompress((ROOT / f"data/entries/{name}.cif.gz").read_bytes()).decode()
    parts = [text.split("\n", 1)[0]]
    for part in re.split(r"\n#\s*\n", text):
        tag = re.search(r"^_\w+\.", part, re.M)
        if tag is None or tag.group() not in KEPT:
            continue
        lines = []
        for line in part.splitlines():
            fields = line.split()
            is_atom = tag.group() == "_atom_site." and fields[:1] in (["ATOM"], ["HETATM"])
            if is_atom and (fields[5] == "HOH" or fields[8] != "." and int(fields[8]) > residues):
                continue
            if tag.group() in ("_entity_poly_seq.", "_pdbx_poly_seq_scheme.") and fields[1:]:
                at = 1 if tag.group() == "_entity_poly_seq." else 2
                if fields[at].isdigit() and int(fields[at]) > residues:
                    continue
            lines.append(line)
        parts.append("\n".join(lines))
    text = "\n#\n".join(parts) + "\n#\n"
    letters = re.compile(r"^;[A-Z()0-9]+\n(?:[A-Z()0-9]*\n)*;", re.M)
    return letters.sub("?", text)


def entries(folder: Path):
    for name, residues in (("1ubq", 6), ("2q2k", 5), ("1pzp", 5), ("4i6p", 5)):
        text = small_entry(name, residues)
        write("mmcif", f"{name}.cif", text)
        (folder / f"{name}.cif").write_text(text)


def alignments():
    from_data = ROOT / "data/alignments/2q2k_A"
    write("a3m", "bfd.a3m", (from_data / "bfd_uniclust_hits.a3m").read_bytes())
    write("a3m", "wrapped.a3m", ">q\r\nACD\r\nEF\r\n>1 x\nAcC-EF\n\n>2\n--DEF\n")
    write("a2m", "dots.a2m", ">q\nA..D-EgF\n>1 x\nAccDKEkF\n>2\nA.c--E.-\n")
    lines = (from_data / "mgnify_hits.sto").read_text().splitlines()
    write("stockholm", "mgnify.sto", "\n".join(lines) + "\n")
    write("stockholm", "blocks.sto",
          "# STOCKHOLM 1.0\n#=GF ID x\nq AC\nh A-\n\nq DE.F\nh DEfF\n#=GC RF xx.xx\n"
          "//\n")  # fmt: skip


def hits():
    """Made by hand after the programs' outputs, as src/alignment/hits_test.cpp has them."""
    write("m8", "cigar.m8",
          "101\t6O25_A\t0.675\t8\t2\t1\t2\t8\t11\t18\t2.421E-38\t141\t3M2D1I3M\n"
          "101\t721p_B\t1.000\t4\t0\t0\t1\t4\t3\t6\t1E-3\t20\t4M\r\n")  # fmt: skip
    write("m8", "plain.m8", "q\tpdb|1ABC|AA\t100\t4\t0\t0\t1\t4\t3\t6\t0\t20\n")
    test = (ROOT / "src/alignment/hits_test.cpp").read_text()
    body = re.search(r"kHhr =\n(.*?);\n\n", test, re.S).group(1)
    text = "".join(re.findall(r'"(.*)"', body)).replace("\\n", "\n")
    write("hhr", "two.hhr", text)
    write("hit_rows", "query_first.sto",
          "# STOCKHOLM 1.0\n#=GS 1abc_A/2-8 DE [subseq from] mol:protein length:9\n"
          "q          MNDRQKFLKAVAELHWCGYPTS\n1abc_A/2-8 --DRQ-Fl.AVA----------\n//\n")  # fmt: skip
    write("hit_rows", "rows.a3m",
          ">q\nMNDRQKFLKAVAELHWCGYPTS\n>1abc_A/3-9 x\n--DRQaK-LKA-----------\n")  # fmt: skip


def own_formats(folder: Path):
    cache = folder / "cache"
    shutil.copytree(ROOT / "data/alignments", folder / "alignments")
    for name in ("2q2k", "1pzp", "4i6p"):
        (folder / f"{name}.cif").unlink()
    (folder / "9bad.cif").write_text("data_x\n")
    subprocess.run(
        [PROGRAM, "cache", "build", "--data", folder, "--out", cache, "--ccd",
         ROOT / "data/components.bcif.gz"],
        check=True, capture_output=True,
    )  # fmt: skip
    write("index", "tiny.mfi", (cache / "index.mfi").read_bytes())
    for shard in (cache / "shards").iterdir():
        data = shard.read_bytes()
        write("shard", "tiny.mfs", data)
        rows = int.from_bytes(data[-40:-32], "little"), int.from_bytes(data[-32:-24], "little")
        at = int.from_bytes(data[rows[0] + 40 : rows[0] + 48], "little")
        size = int.from_bytes(data[rows[0] + 48 : rows[0] + 56], "little")
        write("record", "structure.mfr", data[at : at + size])


def weights(folder: Path):
    import torch

    path = folder / "w.pt"
    state = {
        "model": {
            "a.weight": torch.arange(6.0).reshape(2, 3),
            "b": torch.ones(2, dtype=torch.bfloat16).as_strided([2, 2], [1, 0]),
            "c": torch.zeros(0, dtype=torch.int64),
        },
        "step": 3,
    }
    torch.save(state, path)
    write("torch", "state.pt", path.read_bytes())
    header = (
        b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},'
        b'"b":{"dtype":"BF16","shape":[],"data_offsets":[16,18]}}'
    )
    write("safetensors", "two.safetensors", len(header).to_bytes(8, "little") + header + bytes(18))


def tables():
    """Records, texts and plain numbers, stored and deflated."""
    import numpy as np

    atoms = np.array(
        [("CA", (1, 2, 3), True), ("N1", (4, 5, 6), False)],
        dtype=[("name", "<U4"), ("coords", "3f4"), ("is_present", "?")],
    )
    with tempfile.TemporaryDirectory() as name:
        for save in (np.savez, np.savez_compressed):
            path = Path(name) / "x.npz"
            save(path, atoms=atoms, mask=np.array([True, False]), number=np.arange(3))
            write("npz", save.__name__ + ".npz", path.read_bytes())
        for what, array in {"atoms": atoms, "numbers": np.arange(5, dtype=np.int16)}.items():
            np.save(Path(name) / "x.npy", array)
            write("npy", what + ".npy", (Path(name) / "x.npy").read_bytes())


def dictionary():
    text = (
        "data_GLY\n_chem_comp.id GLY\n_chem_comp.type 'PEPTIDE LINKING'\n"
        "_chem_comp.name GLYCINE\n_chem_comp.one_letter_code G\n"
        "loop_\n_chem_comp_atom.comp_id\n_chem_comp_atom.atom_id\n_chem_comp_atom.type_symbol\n"
        "_chem_comp_atom.charge\n_chem_comp_atom.pdbx_leaving_atom_flag\n"
        "_chem_comp_atom.pdbx_model_Cartn_x_ideal\n_chem_comp_atom.pdbx_model_Cartn_y_ideal\n"
        "_chem_comp_atom.pdbx_model_Cartn_z_ideal\n"
        "GLY N N 0 N 1.931 0.090 -0.034\nGLY CA C 0 N 0.761 -0.799 -0.008\n"
        "GLY C C 0 N -0.498 0.029 -0.005\nGLY O O 0 N -0.429 1.235 -0.023\n"
        "GLY OXT O 0 Y -1.697 -0.574 0.018\n"
        "loop_\n_chem_comp_bond.comp_id\n_chem_comp_bond.atom_id_1\n_chem_comp_bond.atom_id_2\n"
        "_chem_comp_bond.value_order\nGLY N CA SING\nGLY CA C SING\nGLY C O DOUB\nGLY C OXT SING\n"
    )
    write("ccd", "gly.cif", text)


def packed(value) -> bytes:
    """MessagePack, as far as BinaryCIF needs it."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xd2" + value.to_bytes(4, "big", signed=True)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"\xd9" + bytes([len(value.encode())]) + value.encode()
    if isinstance(value, bytes):
        return b"\xc5" + len(value).to_bytes(2, "big") + value
    if isinstance(value, list):
        return b"\xdc" + len(value).to_bytes(2, "big") + b"".join(map(packed, value))
    head = b"\xde" + len(value).to_bytes(2, "big")
    return head + b"".join(packed(k) + packed(v) for k, v in value.items())


def texts(values: list) -> dict:
    known = list(dict.fromkeys(values))
    ends = [0]
    for word in known:
        ends.append(ends[-1] + len(word))
    plain = [{"kind": "ByteArray", "type": 3}]
    kind = {"kind": "StringArray", "stringData": "".join(known), "dataEncoding": plain,
            "offsets": struct.pack(f"<{len(ends)}i", *ends), "offsetEncoding": plain}  # fmt: skip
    rows = struct.pack(f"<{len(values)}i", *map(known.index, values))
    return {"data": rows, "encoding": [kind]}


def coordinates(values: list) -> dict:
    whole = [round(1000 * v) for v in values]
    steps = [b - a for a, b in zip([whole[0], *whole], whole)]
    return {
        "data": struct.pack(f"<{len(steps)}h", *steps),
        "encoding": [
            {"kind": "FixedPoint", "factor": 1000, "srcType": 32},
            {"kind": "Delta", "origin": whole[0], "srcType": 3},
            {"kind": "IntegerPacking", "byteCount": 2, "isUnsigned": False,
             "srcSize": len(steps)},
            {"kind": "ByteArray", "type": 2},
        ],
    }  # fmt: skip


def binary_entry():
    """The first residues of 1ubq in BinaryCIF, with the encodings that the PDB uses."""
    rows = [s.split() for s in small_entry("1ubq", 6).splitlines() if s.startswith("ATOM")]
    names = ["group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id",
             "label_asym_id", "label_entity_id", "label_seq_id", "pdbx_PDB_ins_code", "Cartn_x",
             "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv", "pdbx_formal_charge",
             "auth_seq_id", "auth_comp_id", "auth_asym_id", "auth_atom_id",
             "pdbx_PDB_model_num"]  # fmt: skip
    columns = []
    for i, name in enumerate(names):
        values = [row[i] for row in rows]
        mask = None
        if name.startswith("Cartn"):
            data = coordinates([float(v) for v in values])
        elif name == "label_seq_id":
            runs = [x for v in dict.fromkeys(values) for x in (int(v), values.count(v))]
            data = {"data": bytes(runs), "encoding": [
                {"kind": "RunLength", "srcSize": len(values), "srcType": 3},
                {"kind": "ByteArray", "type": 4}]}  # fmt: skip
        else:
            data = texts(values)
            missing = bytes(1 if v == "." else 2 if v == "?" else 0 for v in values)
            if any(missing):
                mask = {"data": missing, "encoding": [{"kind": "ByteArray", "type": 4}]}
        columns.append({"name": name, "mask": mask, "data": data})
    table = {"name": "_atom_site", "rowCount": len(rows), "columns": columns}
    block = {"header": "1UBQ", "categories": [table]}
    file = {"encoder": "megafold", "version": "0.3", "dataBlocks": [block]}
    write("bcif", "1ubq.bcif", packed(file))


def jobs():
    """AlphaFold 3's JSON: every kind of sequence, inline alignments, templates, bonds."""
    cif = small_entry("1ubq", 6)
    whole = {
        "name": "Fuzz job", "modelSeeds": [1, 2], "dialect": "alphafold3", "version": 4,
        "sequences": [
            {"protein": {
                "id": ["A", "B"], "sequence": "MQIFVK", "description": "ubiquitin",
                "modifications": [{"ptmType": "MSE", "ptmPosition": 1}],
                "unpairedMsa": ">query\nMQIFVK\n>hit\nMQ-aFVK\n",
                "pairedMsa": ">query\nMQIFVK\n",
                "templates": [
                    {"mmcif": cif, "queryIndices": [0, 1, 2], "templateIndices": [0, 1, 2]}
                ]}},
            {"rna": {"id": "C", "sequence": "ACGU",
                     "modifications": [{"modificationType": "2MG", "basePosition": 3}],
                     "unpairedMsa": ""}},
            {"dna": {"id": "D", "sequence": "ACGT"}},
            {"ligand": {"id": ["E", "F"], "ccdCodes": ["NAG", "NAG"]}},
        ],
        "bondedAtomPairs": [[["A", 2, "NE2"], ["E", 1, "C1"]], [["E", 1, "O4"], ["E", 2, "C1"]]],
    }  # fmt: skip
    write("alphafold3", "whole.json", json.dumps(whole, indent=1))
    small = {key: whole[key] for key in ("name", "modelSeeds", "dialect")}
    small |= {"version": 1, "sequences": [{"protein": {"id": "A", "sequence": "MK"}}]}
    write("alphafold3", "small.json", json.dumps(small))


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entries(folder)
        alignments()
        jobs()
        hits()
        tables()
        dictionary()
        binary_entry()
        weights(folder)
        own_formats(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
