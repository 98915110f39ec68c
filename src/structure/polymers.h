// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Which residues of a chain are a polymer, and of which kind: the first step of cleaning, on the
// asymmetric unit.
#pragma once

#include <string>
#include <vector>

#include "structure/entry.h"

namespace megafold {

/// A chain on its way through cleaning.
struct WorkChain {
  Chain chain;
  std::string operation;         // which copy; empty in the asymmetric unit
  bool has_sequence = false;     // residues without coordinates are known
  bool has_file_numbers = true;  // its residues' seq_id are the file's label_seq_id
  bool alive = true;
};

/// Sets types and sequences. Residues that stand in a polymer's chain without belonging to it (as
/// programs other than the wwPDB's write ligands) become ligand chains of their own, called
/// "A.MG167". What the file leaves out is inferred (structure/infer.h) and noted in entry.inferred.
/// `residue.component` must be set.
std::vector<WorkChain> tell_polymers(FileEntry& entry);

}  // namespace megafold
