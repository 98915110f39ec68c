// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Cache records with their arrays typed and checked, so that what follows may index without
// looking: every array of features/schema.h is there with its type and shape, and every index
// (atoms of a token, tokens of a chain, columns, bonds, permutations) lies inside. N tokens, A
// atoms, C chains, B bonds.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cache/reader.h"
#include "features/schema.h"

namespace megafold {

/// What a structure's meta says about one chain.
struct ChainInfo {
  std::string label;                          // label_asym_id (of the copy)
  std::optional<std::string> alignment = {};  // key of the sequence's record; none: no alignment
  std::optional<std::string> templates = {};  // key of its templates; none: none were looked for
};

class StructureView {
 public:
  /// Throws Corrupt naming the record, the array and both values when something does not fit.
  explicit StructureView(std::shared_ptr<const Record> record);

  [[nodiscard]] int64_t num_tokens() const { return std::ssize(residue_index); }
  [[nodiscard]] int64_t num_atoms() const { return std::ssize(element); }
  [[nodiscard]] int64_t num_chains() const { return std::ssize(chain_type); }
  [[nodiscard]] int64_t num_bonds() const { return std::ssize(bonds) / 2; }
  /// The token's centre atom is in the density.
  [[nodiscard]] bool center_resolved(int32_t token) const {
    return resolved[static_cast<size_t>(center_atom[static_cast<size_t>(token)])] != 0;
  }
  /// Position of the token's centre atom, Angstrom: three floats.
  [[nodiscard]] const float* center(int32_t token) const {
    return &position[3 * static_cast<size_t>(center_atom[static_cast<size_t>(token)])];
  }
  [[nodiscard]] ChainType type_of(int32_t row) const {
    return static_cast<ChainType>(chain_type[static_cast<size_t>(row)]);
  }
  [[nodiscard]] const std::string& key() const { return record_->key(); }

  // Tokens: N.
  std::span<const int32_t> residue_index, asym_id, entity_id, sym_id, chain, msa_column;
  std::span<const int32_t> atom_start, atom_count, center_atom, representative_atom;
  std::span<const uint8_t> restype, is_atomized;
  // Atoms: A; position and ref_position A,3; name A,4.
  std::span<const float> position, ref_position;
  std::span<const uint8_t> resolved, element, name, ref_mask;
  std::span<const int8_t> charge;
  std::span<const int32_t> ref_space_uid;
  std::span<const int32_t> bonds;  // B,2
  // Chains: C.
  std::span<const uint8_t> chain_type;
  std::span<const int32_t> chain_start, chain_count;
  std::span<const int32_t> molecule, molecule_entity, molecule_rank;  // of chains
  // Residues R (by ref_space_uid); P lists of permutations with V values in all.
  std::span<const int32_t> residue_permutation;
  std::span<const int32_t> permutation_atoms, permutation_start, permutation_count, permutation;
  // Further conformers: of atoms, of residues R (by ref_space_uid), of components G.
  std::span<const int32_t> conformer_place, residue_conformer;
  std::span<const int32_t> conformer_atoms, conformer_start, conformer_count;
  std::span<const float> conformer_position;  // F,3
  std::vector<ChainInfo> chains;
  std::string id;            // of the entry, as its meta says
  double resolution = -1;    // Angstrom; -1: none reported
  std::string release_date;  // YYYY-MM-DD; empty: not known

 private:
  void check_indices() const;
  void check_symmetry() const;
  void check_conformers() const;
  std::shared_ptr<const Record> record_;
};

/// A sequence's alignment: S rows, L columns. The rows are read when asked for, block by block.
class AlignmentView {
 public:
  /// Throws as StructureView does.
  explicit AlignmentView(std::shared_ptr<const Record> record);

  /// Some rows, consecutive: `msa` and `deletion` are [count, columns].
  struct Rows {
    int64_t first = 0, count = 0;
    const uint8_t* msa = nullptr;
    const uint8_t* deletion = nullptr;
  };
  /// Calls f for the blocks that hold rows [0, last), in order. What f is handed stays until it
  /// returns. Blocks beyond are not read.
  void for_each_block(int64_t last, const std::function<void(const Rows&)>& f) const;
  /// The same for those of the rows to be paired that are in `wanted` (ascending): blocks without
  /// one are not read.
  void for_each_pairing_block(const std::vector<int64_t>& wanted,
                              const std::function<void(const Rows&)>& f) const;
  /// Species, place among the hits and equal row of the main alignment (-1: none) of the rows to be
  /// paired: [pairing_rows] each, read when asked for.
  [[nodiscard]] std::span<const uint64_t> pairing_species() const;
  [[nodiscard]] std::span<const int32_t> pairing_hit() const;
  [[nodiscard]] std::span<const int32_t> pairing_main_row() const;

  int64_t rows = 0, columns = 0, pairing_rows = 0;
  std::span<const float> profile, deletion_mean;  // L,32; L
  [[nodiscard]] const std::string& key() const { return record_->key(); }

 private:
  void read_block(std::string_view msa, std::string_view deletion, int64_t first, int64_t count,
                  const std::function<void(const Rows&)>& f) const;
  std::shared_ptr<const Record> record_;
};

}  // namespace megafold
