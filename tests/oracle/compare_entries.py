#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""A cache against the independent reading of make_expected.py, over any folder of entries.

    python3 -m venv v && v/bin/pip install gemmi==0.7.5 biotite==1.6.0 numpy==2.4.6 zstandard xxhash
    build/cpu/megafold cache build --data FOLDER --ccd components.bcif --out CACHE
    v/bin/python tests/oracle/compare_entries.py FOLDER CACHE components.bcif

Integers must be equal: tokens, types, atoms, elements, which atoms are resolved, entities, copies,
bonds. It prints what differs and ends with the number of entries that do. docs/data.md explains the
differences that remain over the entries of OpenFold 3's tests.
"""

import argparse
import sys
import zlib
from pathlib import Path

import make_expected
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python/megafold"))
import cache as reader


def of_cache(entry) -> dict:
    """What make_expected.expected() tells, from a record."""
    meta = entry.meta
    start = entry["chain_token_start"]
    return {
        "tokens": len(entry["token_restype"]),
        "atoms": len(entry["atom_element"]),
        "resolved": int(entry["atom_resolved"].sum()),
        "chain_type": entry["chain_type"].tolist(),
        "chain_tokens": entry["chain_token_count"].tolist(),
        "chain_entity": entry["chain_entity_id"].tolist(),
        "chain_sym": entry["token_sym_id"][start].tolist(),
        "restype_crc": zlib.crc32(entry["token_restype"].tobytes()),
        "atoms_per_token_crc": zlib.crc32(entry["token_atom_count"].astype(np.uint8).tobytes()),
        "atom_name_crc": zlib.crc32(entry["atom_name"].tobytes()),
        "element_crc": zlib.crc32(entry["atom_element"].tobytes()),
        "resolved_crc": zlib.crc32(entry["atom_resolved"].tobytes()),
        "bonds": entry["token_bond"].tolist(),
        "removed": meta["removed"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("dictionary", type=Path)
    options = parser.parse_args()
    cache = reader.open(options.cache)
    dictionary = make_expected.read_dictionary(options.dictionary)
    differing = 0
    for path in sorted(options.folder.glob("*.cif*")):
        name = path.name.split(".")[0]
        if name not in cache:
            print(f"{name}: {' '.join(cache.verdicts.get(name, ('not in the cache',)))}")
            differing += 1
            continue
        got = of_cache(cache[name])
        try:
            want = make_expected.expected(path, dictionary)
        except (KeyError, IndexError, ValueError) as error:
            print(f"{name}: the independent reading fails: {type(error).__name__} {error}")
            differing += 1
            continue
        wrong = [key for key in got if key in want and got[key] != want[key]]
        position = cache[name]["atom_position"].astype(float).sum(0)
        bound = 0.0005 + 8e-6 * got["atoms"]
        if np.abs(position - np.array(want["position_sum"]) / 1000).max() > bound:
            wrong.append("position_sum")
        differing += bool(wrong)
        verdict = "equal" if not wrong else "differs in " + ", ".join(wrong)
        print(f"{name}: {got['tokens']} tokens, {got['atoms']} atoms: {verdict}")
        for key in wrong:
            if key in got and not key.endswith("_crc"):
                print(f"    {key}: {str(got[key])[:160]}\n    expected {str(want[key])[:160]}")
        if wrong and got["removed"]:
            print(f"    taken out: {str(got['removed'])[:300]}")
    sys.exit(min(differing, 100))


if __name__ == "__main__":
    main()
