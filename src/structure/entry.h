// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Reading an entry: the asymmetric unit's first model with one position per atom, and what the file
// says about entities, bonds and the first assembly. Nothing is cleaned here yet. A file that names
// chains (_struct_asym) and has no coordinates is an entry to predict: every atom is unresolved.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "structure/structure.h"
#include "structure/tables.h"

namespace megafold {

/// What the file says about an entity. All may be empty: other programs leave the tables out.
struct Entity {
  std::string type;                                    // polymer, non-polymer, branched, water
  ChainType poly_type = ChainType::ligand;             // ligand: not given, or a hybrid
  std::map<int32_t, std::vector<ShortName>> sequence;  // label_seq_id -> components (first: chosen)
  bool is_from_letters = false;  // the sequence was told from its one-letter code
};

/// One end of a row of _struct_conn.
struct ConnectionEnd {
  std::string chain;  // label_asym_id
  int32_t seq_id = 0, auth_seq_id = 0;
  ShortName code, atom;
};

struct Connection {
  std::string type;  // covale, disulf, metalc ..., lower case
  ConnectionEnd first, second;
};

/// x' = rotation x + shift.
struct Operation {
  std::string name;  // "1", or "1x61" for a product
  std::array<double, 9> rotation{1, 0, 0, 0, 1, 0, 0, 0, 1};
  std::array<double, 3> shift{};
};

/// Some chains, each with the operations that make its copies.
struct AssemblyPart {
  std::vector<std::string> chains;  // label_asym_id
  std::vector<Operation> operations;
};

struct FileEntry {
  EntryInfo info;
  std::map<std::string, Entity> entities;
  std::map<std::string, std::map<int32_t, std::vector<ShortName>>> chain_sequences;
  std::vector<Chain> chains;            // in order of appearance; `type` is not set yet
  std::vector<Connection> connections;  // symmetry 1_555 on both ends
  std::vector<AssemblyPart> assembly;   // empty: the asymmetric unit
  bool all_unoccupied = false;          // every atom has occupancy 0
  bool to_predict = false;              // the file has no coordinates
  std::vector<std::string> inferred;    // what the file left out and was told from the rest
};

/// A category whose notes (item `note`) join `inferred`: an importer says in it what was lost.
inline constexpr const char* kImportNotes = "_megafold_import";

/// `id` is what the entry is called (the file's stem); messages name document.file().
/// Throws BadInput: no coordinates, values that are no numbers, required columns missing.
FileEntry read_entry(const Document& document, const std::string& id);

}  // namespace megafold
