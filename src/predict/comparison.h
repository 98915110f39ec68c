// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// How near a predicted structure is to the entry's. Copies of a molecule and equivalent atoms have
// no names of their own: of the entry's names and those that the prediction, or its mirror image,
// gives the truth (loss/permutation.h) the ones with the best lDDT count.
#pragma once

#include <ATen/ATen.h>

#include "batch/batch.h"
#include "predict/entry.h"
#include "predict/lddt.h"

namespace megafold {

struct Comparison {
  Lddt lddt;                     // score NaN and no residues where no atom is resolved
  double lddt_as_deposited = 0;  // the score by the entry's own names
  double rmsd = 0;               // Angstrom, resolved atoms, after superposition; NaN without truth
  double mirror_rmsd = 0;        // the same of the prediction's mirror image

  /// The fold is right and its hand is wrong: distances, and so lDDT, cannot tell.
  [[nodiscard]] bool is_mirror_image() const { return mirror_rmsd < 0.5 * rmsd; }
};

/// `batch`: the whole entry, which tells what may be exchanged. x [A, 3], Angstrom, finite, in the
/// order of the entry's atoms. Throws BadInput with both numbers where they have others.
[[nodiscard]] Comparison compare(const Entry& entry, const Batch& batch, const at::Tensor& x);

}  // namespace megafold
