#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Makes data/ again from packages of the Python index, every hash checked.

    python3 tools/make_demo_data.py --out data

The six entries and the alignments of 2q2k come from the test data inside the openfold3 wheel, the
chemical component dictionary from biotite's wheel. Nothing of the packages' code is used, except
that biotite (in a virtual environment of its own, in a temporary folder) reads and writes the
BinaryCIF of the dictionary. The result is the same byte for byte: data/SHA256SUMS says so.
"""

import argparse
import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

WHEELS = {
    "openfold3==0.5.0": "9948071ed086ec063dac2b7d47a8d31a352536baab80a23f436158dbedfde721",
    "biotite==1.6.0": "f1179c10d8beeb95fe5c11db0ee5384501d97d28cedee8c60edc044d96fbf6c4",
}
# The wheels that the hashes above belong to; any Python may download them.
TARGET = ["--only-binary=:all:", "--python-version=311", "--platform=manylinux_2_28_x86_64"]

ENTRIES = ["1kd8", "1pzp", "1ubq", "2q2k", "4i6p", "4zey"]
ALIGNMENTS = [
    "uniref90_hits.sto",
    "bfd_uniclust_hits.a3m",
    "mgnify_hits.sto",
    "uniprot_hits.sto",
]

# Standard residues; every component of the six entries and of the entries that the tests read where
# they are present; the crystallisation aids of the AF3 supplement's Table 9; frequent others.
COMPONENTS = """
ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL UNK
A G C U N DA DG DC DT DN
HOH MSE 5IU EPE SO4 ACE FTA
MG GNP DVA MVA SAR PXA NH2 CSO SEP TPO PTR NAG
GOL EDO PO4 ACT PEG DMS TRS PGE PG4 FMT MPD MES CD IOD
NA CL K CA ZN MN FE NI CU CO BR HEM ATP ADP
"""

ATOM_COLUMNS = [
    "comp_id",
    "atom_id",
    "type_symbol",
    "charge",
    "pdbx_leaving_atom_flag",
    "model_Cartn_x",
    "model_Cartn_y",
    "model_Cartn_z",
    "pdbx_model_Cartn_x_ideal",
    "pdbx_model_Cartn_y_ideal",
    "pdbx_model_Cartn_z_ideal",
]
COMPONENT_COLUMNS = [
    "id",
    "name",
    "type",
    "one_letter_code",
    "mon_nstd_parent_comp_id",
    "pdbx_modified_date",
    "pdbx_release_status",
]
BOND_COLUMNS = ["comp_id", "atom_id_1", "atom_id_2", "value_order", "pdbx_aromatic_flag"]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def download(requirement: str, folder: Path) -> Path:
    """Downloads one wheel and checks its hash."""
    print(f"downloading {requirement}")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *TARGET]
    subprocess.run([*command, requirement, "--dest", str(folder)], check=True)
    wheel = next(folder.glob(requirement.split("==")[0] + "-*.whl"))
    if (found := sha256(wheel.read_bytes())) != WHEELS[requirement]:
        sys.exit(f"{wheel.name}: SHA-256 is {found}, expected {WHEELS[requirement]}")
    return wheel


def pack(data: bytes) -> bytes:
    """gzip without a time or a name, so that the same input gives the same bytes."""
    return gzip.compress(data, compresslevel=9, mtime=0)


def same_content(path: Path, data: bytes) -> bool:
    """Whether the file holds this already; another zlib may pack the same content differently."""
    if not path.exists():
        return False
    old = path.read_bytes()
    if path.suffix != ".gz":
        return old == data
    return gzip.decompress(old) == gzip.decompress(data)


def subset_dictionary(source: Path, target: Path) -> None:
    """Runs inside the temporary environment that holds biotite."""
    import numpy as np
    from biotite.structure.io import pdbx

    wanted = COMPONENTS.split()
    block = pdbx.BinaryCIFFile.read(source).block
    columns = {
        "chem_comp": COMPONENT_COLUMNS,
        "chem_comp_atom": ATOM_COLUMNS,
        "chem_comp_bond": BOND_COLUMNS,
    }
    out = pdbx.BinaryCIFBlock()
    for name, names in columns.items():
        table = block[name]
        key = "id" if name == "chem_comp" else "comp_id"
        rows = np.flatnonzero(np.isin(table[key].as_array(), wanted))
        category = {}
        for column in names:
            data, mask = table[column].data.array[rows], table[column].mask
            mask = None if mask is None else mask.array[rows]
            category[column] = pdbx.BinaryCIFColumn(data, mask)
        out[name] = pdbx.BinaryCIFCategory(category)
    missing = set(wanted) - set(out["chem_comp"]["id"].as_array())
    if missing:
        sys.exit(f"the dictionary has no component {', '.join(sorted(missing))}")
    packed = pdbx.compress(pdbx.BinaryCIFFile({"components": out}))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "components.bcif"
        packed.write(plain)
        target.write_bytes(pack(plain.read_bytes()))


def make(out: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        openfold = zipfile.ZipFile(download("openfold3==0.5.0", folder))
        biotite = download("biotite==1.6.0", folder)
        base = "openfold3/tests/test_data"
        files = {}
        for entry in ENTRIES:
            files[f"entries/{entry}.cif.gz"] = pack(openfold.read(f"{base}/mmcifs/{entry}.cif"))
        for name in ALIGNMENTS:  # the wheel's copies for chains A and B are equal
            for chain in "AB":
                text = openfold.read(f"{base}/alignments/2q2k_{chain}/{name}")
                files[f"alignments/2q2k_{chain}/{name}"] = text

        zipfile.ZipFile(biotite).extract("biotite/structure/info/components.bcif", folder)
        environment = folder / "environment"
        print("making a temporary environment for biotite")
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", "biotite==1.6.0", "numpy==2.4.6"]
        subprocess.run(install, check=True)
        source = folder / "biotite/structure/info/components.bcif"
        packed = folder / "components.bcif.gz"
        subprocess.run([python, __file__, "--subset", source, packed], check=True)
        files["components.bcif.gz"] = packed.read_bytes()

        for name, data in files.items():
            path = out / name
            if same_content(path, data):
                files[name] = path.read_bytes()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary_path = path.with_name(path.name + ".tmp")
            temporary_path.write_bytes(data)
            os.replace(temporary_path, path)
        sums = "".join(f"{sha256(files[name])}  {name}\n" for name in sorted(files))
        recorded = out / "SHA256SUMS"
        if recorded.exists() and recorded.read_text() != sums:
            (out / "SHA256SUMS.new").write_text(sums)
            sys.exit(f"{out}: the files differ from SHA256SUMS (see SHA256SUMS.new)")
        recorded.write_text(sums)
        total = sum(len(data) for data in files.values())
        print(f"{out}: {len(files)} files, {total} bytes, hashes as recorded")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "data")
    parser.add_argument("--subset", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.subset:
        subset_dictionary(*arguments.subset)
    else:
        make(arguments.out)


if __name__ == "__main__":
    main()
