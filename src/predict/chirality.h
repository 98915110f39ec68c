// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Hands of a structure's stereocentres against the reference conformers: what tells a sample from
// its mirror image, and a D amino acid from an L one, without the truth. A = atoms.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace megafold {

/// An atom whose neighbours within its reference conformer are told apart by the bonds.
struct Stereocentre {
  int32_t atom = 0;
  std::array<int32_t, 3> neighbour{};  // of its heavy ones, the first three in the order of atoms
  bool is_positive = false;            // sign of their triple product in the conformer
};

/// The reference conformers, [A] or [A, 3], in the order of a record's atoms.
struct Conformers {
  std::span<const float> position;     // Angstrom
  std::span<const uint8_t> mask;       // 1: the conformer has the atom
  std::span<const uint8_t> element;    // atomic number
  std::span<const int32_t> space_uid;  // atoms of one conformer are consecutive and share it
};

/// Stereocentres with three or four heavy neighbours. Bonds are the pairs of a conformer nearer
/// than their covalent radii allow (ideal geometry leaves no doubt). Left out are flat centres,
/// three-bonded nitrogen (it inverts), and centres with two neighbours that bonds, elements and
/// carbons' double bonds do not tell apart: exchanging those (CG1 and CG2 of valine, OP1 and OP2)
/// changes names only. Throws BadInput when the lengths do not agree.
[[nodiscard]] std::vector<Stereocentre> find_stereocentres(const Conformers& conformers);

/// How many of them have the other hand in `position` [A, 3], or none: a triple product of 0 or
/// NaN counts as wrong.
[[nodiscard]] int64_t count_wrong_hands(std::span<const Stereocentre> centres,
                                        std::span<const float> position);

}  // namespace megafold
