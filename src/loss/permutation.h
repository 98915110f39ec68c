// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Permutation alignment (SI 4.2; af3-facts 11). Copies of a molecule and equivalent atoms of a
// residue have no names of their own, so before the losses the truth is named as the mini-rollout
// has it: molecules first, by their centroids after superposing one anchor on each of its predicted
// copies (AlphaFold-Multimer 7.3), then atoms, by the least RMSD of each residue. Follows OpenFold
// 3's core/utils/permutation_alignment.py, but a truth molecule is never given away twice and an
// anchor must be in the crop.
#pragma once

#include <ATen/ATen.h>

#include "batch/batch.h"
#include "batch/symmetry.h"
#include "model/model.h"

namespace megafold {

/// There is something to choose: copies of a molecule in the crop, or equivalent atoms.
[[nodiscard]] bool has_choice(const Symmetry& truth);

/// x [A, 3]: predicted positions of the crop's atoms, Angstrom. Returns which atom of the truth
/// each atom of the crop stands for, i64 [A], on the CPU. Throws BadInput where x has another
/// number of atoms or is not finite, or copies differ in their tokens.
[[nodiscard]] at::Tensor align_permutation(const Symmetry& truth, const at::Tensor& x);

/// The labels of a batch's atoms under align_permutation; the batch's own where it holds no choice.
/// x as above, on any device (it is read on the host). Padded atoms keep their labels.
[[nodiscard]] Labels permuted_labels(const Batch& batch, const at::Tensor& x);

}  // namespace megafold
