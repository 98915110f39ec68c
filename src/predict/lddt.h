// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// lDDT, the local distance difference test (Mariani, Biasini, Barbato and Schwede 2013,
// Bioinformatics 29, 2722): which share of the true structure's short distances does the predicted
// one keep? Needs no superposition. All atoms take part.
//
//   pairs  P = { (a, b) : a < b, both resolved, in different residues, d_true(a, b) <= R0 }
//   score    = mean over t in {0.5, 1, 2, 4} A of  #{ P : |d_pred - d_true| <= t } / #P
//   residue  = the same over the pairs that have at least one atom in that residue
//
// R0 = 15 A, as published. Two rules of the publication are left out: the penalty for bad
// stereochemistry, and the choice between the names of equivalent atoms (CD1/CD2 of PHE ...): atoms
// are compared by name as they stand (predict/comparison.h chooses the names).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace megafold {

struct LddtOptions {
  double inclusion_radius = 15.0;                        // A
  std::array<double, 4> thresholds{0.5, 1.0, 2.0, 4.0};  // A
};

struct Lddt {
  double score = 0;                 // 0..1; NaN when there is no pair to compare
  std::vector<double> per_residue;  // 0..1 by residue number; NaN where a residue has no pair
  int64_t num_pairs = 0;
};

/// Compares `predicted` with `truth`, both [A, 3] in Angstrom and row-major. `resolved` [A]: atoms
/// of `truth` that count. `residue` [A]: number of each atom's residue, 0-based (a ligand is one
/// residue: atom_ref_space_uid of a cache record). Memory is O(A) and time O(A x neighbours): atoms
/// are sorted into cells as wide as the radius, so no A x A table is ever made.
///
/// A coordinate that is not finite keeps no distance when it is predicted, and is refused
/// (BadInput) when it is a resolved atom of the truth. Throws BadInput on lengths that differ.
[[nodiscard]] Lddt lddt(std::span<const float> truth, std::span<const float> predicted,
                        std::span<const uint8_t> resolved, std::span<const int32_t> residue,
                        const LddtOptions& options = {});

}  // namespace megafold
