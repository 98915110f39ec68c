// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// One entry of the Protein Data Bank in memory: first as read (entry.h), then cleaned (clean.h).
// Coordinates in Angstrom.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "structure/ccd.h"
#include "structure/chain_type.h"
#include "structure/short_name.h"

namespace megafold {

inline bool is_polymer(ChainType type) {
  return type != ChainType::ligand;
}

struct Atom {
  ShortName name;
  uint8_t element = 0;  // atomic number
  char altloc = '\0';
  bool resolved = false;  // occupancy > 0 and coordinates present
  std::array<float, 3> position{};
  float occupancy = 0;
  float b_factor = 0;  // Angstrom^2
};

struct Residue {
  ShortName code;
  int32_t seq_id = 0;       // label_seq_id, 1-based; 0: none (not a polymer)
  int32_t auth_seq_id = 0;  // the author's number
  char ins_code = ' ';
  bool is_hetero = false;   // its atoms are written as HETATM
  std::vector<Atom> atoms;  // as read; after cleaning: the component's heavy atoms, in its order
  const Component* component = nullptr;  // set by cleaning

  [[nodiscard]] const Atom* find(ShortName name) const {
    for (const Atom& atom : atoms)
      if (atom.name == name) return &atom;
    return nullptr;
  }
  [[nodiscard]] bool any_resolved() const {
    for (const Atom& atom : atoms)
      if (atom.resolved) return true;
    return false;
  }
};

struct Chain {
  std::string label;   // unique: label_asym_id; of a copy: with "-2" and so on
  std::string origin;  // label_asym_id in the file
  std::string auth;    // auth_asym_id
  std::string entity;  // the file's entity id, or empty
  ChainType type = ChainType::ligand;
  std::vector<Residue> residues;
  std::vector<ShortName> sequence;  // polymers: every residue from label_seq_id 1, resolved or not
};

/// An atom of a Structure.
struct AtomPlace {
  int32_t chain = 0, residue = 0, atom = 0;
  bool operator==(const AtomPlace&) const = default;
  auto operator<=>(const AtomPlace&) const = default;
};

struct Bond {
  AtomPlace first, second;
};

/// Something that cleaning took out, and by which rule.
struct Removal {
  std::string what, rule;
};

struct EntryInfo {
  std::string id, title, method;            // the first experimental method, upper case
  std::optional<std::string> release_date;  // YYYY-MM-DD, the earliest revision
  std::optional<double> resolution;         // Angstrom
};

/// The cleaned first assembly.
struct Structure {
  EntryInfo info;
  std::vector<Chain> chains;
  std::vector<Bond> bonds;  // between residues; those inside one stand in its component
  std::vector<Removal> removed;
  std::vector<std::string> inferred;  // what the file left out and was told from the rest
};

}  // namespace megafold
