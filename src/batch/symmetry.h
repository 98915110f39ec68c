// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the labels of a sample may be exchanged with (SI 4.2): the whole molecules of the truth that
// chains of the crop may stand for, and the permutations of their residues' atoms. Plain values in
// host memory: choosing among them is the loss's work (loss/permutation.h).
#pragma once

#include <cstdint>
#include <vector>

namespace megafold {

class StructureView;

/// Tokens and atoms here are those of the truth: of the molecules below, in the structure's order,
/// counted from 0. A residue's atoms are consecutive.
struct Symmetry {
  /// Chains joined by covalent bonds. The k-th tokens of molecules of one entity correspond: the
  /// same atoms in the same order.
  struct Molecule {
    int32_t entity = 0;
    bool polymer = false;  // has a protein, RNA or DNA chain
    std::vector<int32_t> tokens;
  };
  std::vector<Molecule> molecules;

  std::vector<int32_t> atom_start, atom_count, center_atom;  // per token
  std::vector<float> position;                               // A,3; Angstrom, 0 where unresolved
  std::vector<uint8_t> resolved;                             // A

  /// A residue whose atoms may stand for each other.
  struct Component {
    int32_t first_atom = 0, count = 0;  // of its atoms
    /// P x count, P >= 2: the place within the residue that stands for place k. The identity first;
    /// at most 1000.
    std::vector<int32_t> permutations;
  };
  std::vector<Component> components;  // by first atom

  std::vector<int32_t> tokens;  // N: the truth's token of each of the sample's, ascending
};

/// `tokens`: the crop. The truth is every molecule of an entity that the crop has, or, for a
/// spatial crop, the molecules that it has: a copy far away is not what the crop was cut around
/// (OpenFold 3's rule).
Symmetry find_symmetry(const StructureView& structure, const std::vector<int32_t>& tokens,
                       bool spatial);

}  // namespace megafold
