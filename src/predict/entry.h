// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A cache record's structure as rows of chains, residues and atoms: what a writer of files and a
// page need, where the model needs tokens. Same order as the record, nothing added or dropped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cache/reader.h"

namespace megafold {

struct EntryChain {
  std::string label, auth;  // label_asym_id, auth_asym_id
  std::string sequence;     // one letter per residue, X where modified; empty for ligands
  int32_t entity = 0;       // 1-based
  ChainType type{};
  int32_t first_residue = 0, num_residues = 0;
};

struct EntryResidue {
  int32_t chain = 0;        // row of `chains`
  int32_t sequence_id = 0;  // label_seq_id, 1-based
  int32_t author_id = 0;
  char insertion_code = ' ';
  std::string component;     // CCD code
  bool is_atomized = false;  // modified residue or ligand: one token per atom
  int32_t first_atom = 0, num_atoms = 0;
  int32_t center_atom = 0;  // CA, C1', or the first atom of an atomized residue
};

struct Entry {
  std::string id, title;
  std::vector<EntryChain> chains;
  std::vector<EntryResidue> residues;
  std::vector<std::string> atom_name;  // [A], without blanks
  std::vector<uint8_t> element;        // [A], atomic number
  std::vector<int32_t> charge;         // [A]
  std::vector<float> position;         // [A, 3], Angstrom; 0 where not resolved
  std::vector<uint8_t> resolved;       // [A]
  std::vector<int32_t> residue;        // [A], row of `residues`

  [[nodiscard]] size_t num_atoms() const { return resolved.size(); }
};

/// Throws Corrupt, naming the record and the array, when arrays disagree with each other or with
/// the meta data.
[[nodiscard]] Entry read_entry(const Record& record);

}  // namespace megafold
