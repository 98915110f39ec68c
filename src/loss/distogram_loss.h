// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Distogram loss (SI 4.4): cross-entropy of the distance of representative atoms, bins between 2
// and 22 A (the first reaches down to 0, the last up to infinity), mean over the ordered pairs of
// resolved ones, i = j included.
#pragma once

#include <ATen/ATen.h>

namespace megafold {

/// logits [N, N, bins], x_true [N, 3] of representative atoms, Angstrom, resolved [N], 0 or 1;
/// `epsilon` joins the number of pairs (OpenFold 3 1e-8).
at::Tensor distogram_loss(const at::Tensor& logits, const at::Tensor& x_true,
                          const at::Tensor& resolved, double epsilon = 1e-6);

}  // namespace megafold
