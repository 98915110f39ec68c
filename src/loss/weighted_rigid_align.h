// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 28, WeightedRigidAlign: moves x by the rotation and shift that bring it nearest to the
// target in the weighted sum of squares (Kabsch, determinant +1). No gradient flows through it.
#pragma once

#include <ATen/ATen.h>

namespace megafold {

/// x [S, A, 3] or [A, 3], target [S, A, 3], weight [A] (>= 0, not all 0). Returns x moved, [S, A,
/// 3].
at::Tensor weighted_rigid_align(const at::Tensor& x, const at::Tensor& target,
                                const at::Tensor& weight);

}  // namespace megafold
