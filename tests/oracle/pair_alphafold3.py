#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""AlphaFold 3's own pairing of constructed hits, as the table in src/batch/pairing_test.cpp.

Usage: pair_alphafold3.py SRC, where SRC is the src folder of google-deepmind/alphafold3 (commit
c0f97ed was read; numpy is all it needs). Every chain has another sequence, for AlphaFold 3 counts
chains where megafold counts sequences; no two rows of a group have one product of places, for it
leaves the order of those to numpy.
"""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np

# Species by hit; "" has none. The query stands before them.
HITS = [
    "HUMAN MOUSE  RAT HUMAN YEAST MOUSE HUMAN ECOLI".split(" "),
    "MOUSE YEAST HUMAN HUMAN DROME RAT HUMAN".split(" "),
    "ECOLI HUMAN  YEAST  HUMAN HUMAN".split(" "),
]


def load(source: Path) -> types.ModuleType:
    """msa_pairing alone, without the package, whose other parts want JAX."""
    constants = types.ModuleType("alphafold3.model.data_constants")
    constants.MSA_GAP_IDX = 21
    constants.MSA_PAD_VALUES = {"msa": 21, "deletion_matrix": 0}
    constants.NUM_SEQ_MSA_FEATURES = constants.NUM_SEQ_NUM_RES_MSA_FEATURES = ()
    model = types.ModuleType("alphafold3.model")
    model.data_constants = constants
    sys.modules |= {
        "alphafold3": types.ModuleType("alphafold3"),
        "alphafold3.model": model,
        "alphafold3.model.data_constants": constants,
    }
    path = source / "alphafold3" / "model" / "msa_pairing.py"
    spec = importlib.util.spec_from_file_location("msa_pairing", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    pairing = load(Path(sys.argv[1]))
    chains = []
    for name, hits in zip("ABC", HITS, strict=True):
        species = np.array([""] + hits, dtype=object)
        # A row's only column is its place among the hits, so the result names the rows.
        rows = np.arange(len(species), dtype=np.int32)[:, None]
        chains.append(
            {
                "chain_id": name,
                "msa_species_identifiers_all_seq": species,
                "msa_all_seq": rows,
                "deletion_matrix_all_seq": np.zeros_like(rows),
            }
        )
    paired = pairing.create_paired_features(chains, 8192, set("ABC"), 600)
    table = np.concatenate([chain["msa_all_seq"] for chain in paired], axis=1)
    gap = 21
    for row in table[1:]:  # the first is the queries'
        print("{" + ", ".join("-1" if x == gap else str(x) for x in row) + "},")


if __name__ == "__main__":
    main()
