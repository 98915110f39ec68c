# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""megafold-conformers: components with reference conformers, from SMILES, SDF or a dictionary.

What it writes lies over the component dictionary (NAME.components.cif in a data folder; see
`megafold cache build --help`). A conformer is RDKit's ETKDGv3 with hydrogens, from a seed and the
component's code alone; where RDKit finds none, the ideal and then the model coordinates stay
(AlphaFold 3's supplement 2.8), and that is said. Needs `pip install rdkit gemmi`.
"""

import argparse
import hashlib
import sys
import time
from pathlib import Path

try:
    import gemmi
    from rdkit import Chem, RDLogger
    from rdkit.Chem import AllChem
except ImportError as error:  # the rest of megafold needs neither
    sys.exit(f"megafold-conformers: {error}; pip install rdkit gemmi")

ORDERS = {
    "SING": Chem.BondType.SINGLE,
    "DOUB": Chem.BondType.DOUBLE,
    "TRIP": Chem.BondType.TRIPLE,
    "QUAD": Chem.BondType.QUADRUPLE,
    "AROM": Chem.BondType.AROMATIC,
    "DELO": Chem.BondType.AROMATIC,
}
EXAMPLES = """\
examples:
  megafold-conformers 'CC(=O)Oc1ccccc1C(=O)O' --code ASPRN --out mine.components.cif
  megafold-conformers inhibitor.sdf --code INH --seed 3 --out data/inhibitor.components.cif
  megafold-conformers components.cif --code ATP --code GTP --out nucleotides.components.cif
  megafold-conformers components.cif.gz --pool 8 --out all.components.cif
"""


class BadInput(Exception):
    """Something that the user can mend; ends the program with 2."""


def seed_of(seed, code):
    """31 bits that any machine draws from the seed and the code."""
    return int.from_bytes(hashlib.sha256(f"{seed} {code}".encode()).digest()[:4], "little") >> 1


def embed(mol, seed):
    """Positions [atoms, 3] in Angstrom of `mol`'s atoms, or None where RDKit finds no conformer."""
    try:
        whole = Chem.AddHs(mol)
        parameters = AllChem.ETKDGv3()
        parameters.randomSeed = seed
        if AllChem.EmbedMolecule(whole, parameters) != 0:
            parameters.useRandomCoords = True
            if AllChem.EmbedMolecule(whole, parameters) != 0:
                return None
        return whole.GetConformer().GetPositions()[: mol.GetNumAtoms()]
    except (ValueError, RuntimeError):
        return None


class Component:
    """Heavy atoms: rows of names, symbols, charges, leaving flags and positions; bonds by name."""

    def __init__(self, code, name, kind="NON-POLYMER", letter="?", parent="?"):
        self.code, self.name, self.kind, self.letter, self.parent = code, name, kind, letter, parent
        self.atoms, self.bonds = [], []
        self.pool = []  # further conformers: [heavy atoms, 3] each
        self.source = "RDKit"  # of the coordinates: RDKit, ideal, model, file

    def write(self, block):
        pairs = {"id": self.code, "name": self.name, "type": self.kind}
        pairs |= {"one_letter_code": self.letter, "mon_nstd_parent_comp_id": self.parent}
        for key, value in pairs.items():
            block.set_pair("_chem_comp." + key, value if value == "?" else gemmi.cif.quote(value))
        atoms = block.init_loop(
            "_chem_comp_atom.",
            ["comp_id", "atom_id", "type_symbol", "charge", "pdbx_leaving_atom_flag"]
            + [f"pdbx_model_Cartn_{axis}_ideal" for axis in "xyz"],
        )
        for name, symbol, charge, leaving, place in self.atoms:
            numbers = ["?"] * 3 if place is None else [f"{x:.3f}" for x in place]
            quoted = gemmi.cif.quote(name)
            atoms.add_row(
                [gemmi.cif.quote(self.code), quoted, symbol, str(charge), leaving, *numbers]
            )
        if self.bonds:
            bonds = block.init_loop(
                "_chem_comp_bond.",
                ["comp_id", "atom_id_1", "atom_id_2", "value_order", "pdbx_aromatic_flag"],
            )
            for first, second, order, aromatic in self.bonds:
                ends = [gemmi.cif.quote(first), gemmi.cif.quote(second)]
                bonds.add_row([gemmi.cif.quote(self.code), *ends, order, aromatic])
        if self.pool:
            tags = ["comp_id", "number", "atom_id", "x", "y", "z"]
            further = block.init_loop("_megafold_conformer.", tags)
            for number, places in enumerate(self.pool, 1):
                for atom, place in zip(self.atoms, places):
                    names = [gemmi.cif.quote(self.code), str(number), gemmi.cif.quote(atom[0])]
                    further.add_row(names + [f"{x:.3f}" for x in place])


def embed_pool(mol, code, seed, count):
    """Up to `count` conformers beside the first, each from a seed of its own."""
    found = (embed(mol, seed_of(seed, f"{code} {number}")) for number in range(1, count + 1))
    return [places for places in found if places is not None]


def from_molecule(mol, code, name, seed, pool):
    """Of a molecule with its own coordinates (an SDF with 3D) or without (SMILES)."""
    mol = Chem.RemoveHs(mol)
    component = Component(code, name)
    places = None
    if mol.GetNumConformers() and mol.GetConformer().Is3D():
        places, component.source = mol.GetConformer().GetPositions(), "file"
    else:
        places = embed(mol, seed_of(seed, code))
        if places is None:
            raise BadInput(
                f"{code} ({name}): RDKit finds no conformer; give an SDF with coordinates"
            )
    component.pool = embed_pool(mol, code, seed, pool)
    count, names = {}, []
    for atom, place in zip(mol.GetAtoms(), places):
        symbol = atom.GetSymbol().upper()
        if symbol == "*":
            raise BadInput(f"{code} ({name}): an atom without an element ('*')")
        count[symbol] = count.get(symbol, 0) + 1
        names.append(f"{symbol}{count[symbol]}")
        component.atoms.append((names[-1], symbol, atom.GetFormalCharge(), "N", place))
    aromatic = [bond.GetIsAromatic() for bond in mol.GetBonds()]
    Chem.Kekulize(mol, clearAromaticFlags=True)
    words = {order: word for word, order in ORDERS.items()}
    for bond, flag in zip(mol.GetBonds(), aromatic):
        order = words.get(bond.GetBondType(), "SING")
        ends = names[bond.GetBeginAtomIdx()], names[bond.GetEndAtomIdx()]
        component.bonds.append((*ends, order, "Y" if flag else "N"))
    return component


def from_block(block, code, seed, pool):
    """Of a component of a dictionary: everything stays but the ideal coordinates."""

    def column(category, tag):
        return list(block.find_values(category + tag))

    def value(tag):
        found = block.find_value("_chem_comp." + tag)
        return gemmi.cif.as_string(found) if found and found not in "?." else "?"

    component = Component(code, value("name"), value("type"), value("one_letter_code"))
    component.parent = value("mon_nstd_parent_comp_id")
    names = [gemmi.cif.as_string(s) for s in column("_chem_comp_atom.", "atom_id")]
    symbols = column("_chem_comp_atom.", "type_symbol")
    charges = column("_chem_comp_atom.", "charge") or ["0"] * len(names)
    leaving = column("_chem_comp_atom.", "pdbx_leaving_atom_flag") or ["N"] * len(names)

    def coordinates(pattern):
        axes = [column("_chem_comp_atom.", pattern.format(axis)) for axis in "xyz"]
        if not all(len(axis) == len(names) for axis in axes):
            return [None] * len(names)
        rows = zip(*axes)
        return [None if any(x in "?." for x in row) else [float(x) for x in row] for row in rows]

    ideal, model = coordinates("pdbx_model_Cartn_{}_ideal"), coordinates("model_Cartn_{}")
    known = ideal if all(ideal) else model if all(model) else None
    mol = Chem.RWMol()
    for name, symbol, charge in zip(names, symbols, charges):
        try:
            atom = Chem.Atom("H" if symbol.upper() == "D" else symbol.capitalize())
        except RuntimeError:
            raise BadInput(f"{code}: atom {name} has the symbol '{symbol}'") from None
        atom.SetFormalCharge(int(charge) if charge not in "?." else 0)
        mol.AddAtom(atom)
    index = {name: i for i, name in enumerate(names)}
    firsts = [gemmi.cif.as_string(s) for s in column("_chem_comp_bond.", "atom_id_1")]
    seconds = [gemmi.cif.as_string(s) for s in column("_chem_comp_bond.", "atom_id_2")]
    orders = [s.upper() for s in column("_chem_comp_bond.", "value_order")] or ["SING"] * len(
        firsts
    )
    flags = column("_chem_comp_bond.", "pdbx_aromatic_flag") or ["N"] * len(firsts)
    for first, second, order in zip(firsts, seconds, orders):
        mol.AddBond(index[first], index[second], ORDERS.get(order, Chem.BondType.SINGLE))
    places = None
    try:
        Chem.SanitizeMol(mol)
        if known is not None and len(names) > 0:
            conformer = Chem.Conformer(len(names))
            for i, place in enumerate(known):
                conformer.SetAtomPosition(i, place)
            mol.AddConformer(conformer)
            Chem.AssignStereochemistryFrom3D(mol)
            mol.RemoveAllConformers()
        places = embed(mol, seed_of(seed, code))
        if places is not None:
            further = embed_pool(mol, code, seed, pool)
            heavy = [i for i, symbol in enumerate(symbols) if symbol.upper() not in ("H", "D")]
            component.pool = [[found[i] for i in heavy] for found in further]
    except (ValueError, RuntimeError):  # RDKit refuses the valences (metals, clusters)
        pass
    if places is None:
        component.source = "ideal" if any(ideal) else "model" if any(model) else "nothing"
        places = ideal if any(ideal) else model
    for i, name in enumerate(names):
        if symbols[i].upper() not in ("H", "D"):
            charge = charges[i] if charges[i] not in "?." else "0"
            component.atoms.append((name, symbols[i].upper(), charge, leaving[i], places[i]))
    heavy = {atom[0] for atom in component.atoms}
    for first, second, order, flag in zip(firsts, seconds, orders, flags):
        if first in heavy and second in heavy:
            component.bonds.append((first, second, order, flag))
    return component


def read_dictionary(path, codes):
    try:
        document = gemmi.cif.read(str(path))
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(f"{path}: {error}") from None
    blocks = {}
    for block in document:
        found = block.find_value("_chem_comp.id")
        if found:
            blocks[gemmi.cif.as_string(found)] = block
    if not blocks:
        raise BadInput(f"{path}: no _chem_comp.id in any block: this is no component dictionary")
    for code in codes:
        if code not in blocks:
            raise BadInput(f"{path}: no component '{code}' among {len(blocks)}")
    return {code: blocks[code] for code in codes or blocks}


def make(arguments):
    """The components that the command line asks for."""
    source = arguments.source
    path = Path(source)
    suffixes = [s.lower() for s in path.suffixes]
    if ".cif" in suffixes:
        blocks = read_dictionary(path, arguments.code)
        began = last = time.monotonic()
        for done, (code, block) in enumerate(blocks.items()):
            yield from_block(block, code, arguments.seed, arguments.pool)
            now = time.monotonic()
            if now - last > 2:
                last = now
                left = (now - began) / (done + 1) * (len(blocks) - done - 1)
                print(f"{done + 1}/{len(blocks)} components, {left:.0f} s left", file=sys.stderr)
        return
    if ".sdf" in suffixes or ".mol" in suffixes:
        if not path.is_file():
            raise BadInput(f"{source}: no such file")
        molecules = list(Chem.SDMolSupplier(source, removeHs=False))
        if not molecules:
            raise BadInput(f"{source}: no molecule in it")
        if len(arguments.code) != len(molecules):
            raise BadInput(f"{source}: {len(molecules)} molecules; give --code for each")
        for number, (mol, code) in enumerate(zip(molecules, arguments.code), 1):
            if mol is None:
                raise BadInput(f"{source}: RDKit cannot read molecule {number}")
            name = mol.GetProp("_Name") if mol.HasProp("_Name") else ""
            yield from_molecule(mol, code, name or code, arguments.seed, arguments.pool)
        return
    if path.is_file():
        raise BadInput(
            f"{source}: .cif (a dictionary), .sdf and .mol can be read, or SMILES itself"
        )
    mol = Chem.MolFromSmiles(source)
    if mol is None or mol.GetNumAtoms() == 0:
        raise BadInput(f"'{source}' is no file, and RDKit does not read it as SMILES")
    if len(arguments.code) != 1:
        raise BadInput("SMILES needs one --code, the name that the component shall have")
    yield from_molecule(mol, arguments.code[0], source, arguments.seed, arguments.pool)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="megafold-conformers",
        description=__doc__.split("\n\n")[1],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", help="SMILES, an .sdf or .mol file, or a dictionary (.cif, .cif.gz)"
    )
    parser.add_argument(
        "--code",
        action="append",
        default=[],
        help="component's code, 1 to 8 characters; again for more",
    )
    parser.add_argument(
        "--pool",
        type=int,
        default=0,
        metavar="K",
        help="K further conformers of each; every sample that shows the component draws one",
    )
    parser.add_argument("--seed", type=int, default=0, help="another conformer (default 0)")
    parser.add_argument(
        "--out", required=True, type=Path, help="file to write, NAME.components.cif"
    )
    arguments = parser.parse_args(argv)
    RDLogger.DisableLog("rdApp.*")
    try:
        if not 0 <= arguments.pool <= 1000:
            raise BadInput(f"--pool {arguments.pool}: 0 to 1000")
        for code in arguments.code:
            if not 1 <= len(code) <= 8 or not code.isascii() or not code.isalnum():
                raise BadInput(f"--code {code}: 1 to 8 letters and digits")
        document = gemmi.cif.Document()
        count, fallbacks = 0, {}
        for component in make(arguments):
            component.write(document.add_new_block(component.code))
            count += 1
            if component.source not in ("RDKit", "file"):
                fallbacks.setdefault(component.source, []).append(component.code)
        document.write_file(str(arguments.out))
    except (BadInput, OSError) as error:
        print(f"megafold-conformers: {error}", file=sys.stderr)
        return 2
    for source, codes in fallbacks.items():
        shown = ", ".join(codes[:10]) + (" ..." if len(codes) > 10 else "")
        print(f"RDKit has no conformer, coordinates are from {source}: {len(codes)} ({shown})")
    print(f"{arguments.out}: {count} component{'s' if count != 1 else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
