// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 27, SmoothLDDTLoss, over the pairs l != m of resolved atoms whose true distance is
// under 30 A where l is of a nucleic acid, else under 15 A:
//   e_lm = 1/4 sum_c sigmoid(c - |d_lm - d_gt_lm|), c = 0.5, 1, 2, 4 A;  loss = 1 - mean e
#pragma once

#include <ATen/ATen.h>

namespace megafold {

/// OpenFold 3's small numbers, for comparisons with it: distances are sqrt(d^2 + distance), and the
/// mean is over pairs + mean (n (n - 1) + mean) of n resolved atoms. Zeros: none (SI, Protenix).
struct SmoothLddtEpsilons {
  double distance = 0, mean = 0;
};

/// x [S, A, 3] and x_true [A, 3], Angstrom; resolved and is_nucleotide [A], 0 or 1. Returns the
/// loss of each sample, [S], by kernels/smooth_lddt: nothing of A x A is held.
at::Tensor smooth_lddt_loss(const at::Tensor& x, const at::Tensor& x_true,
                            const at::Tensor& resolved, const at::Tensor& is_nucleotide,
                            const SmoothLddtEpsilons& epsilons = {});

/// The same by ATen alone, over blocks of rows: for types and devices that no kernel takes.
at::Tensor smooth_lddt_loss_by_blocks(const at::Tensor& x, const at::Tensor& x_true,
                                      const at::Tensor& resolved, const at::Tensor& is_nucleotide,
                                      const SmoothLddtEpsilons& epsilons = {});

/// The pairs that count, bool [A, A] (for small A: tests and comparisons).
at::Tensor smooth_lddt_pairs(const at::Tensor& x_true, const at::Tensor& resolved,
                             const at::Tensor& is_nucleotide);

}  // namespace megafold
