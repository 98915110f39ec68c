// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 9, OuterProductMean: a, b_MID = Linear(LN(m_MIC));
//   z_IJC = (Linear(flatten(sum_M a_MID (x) b_MJD)) + bias) / (number of rows + 1e-3)
// (SI takes the mean first; both peers and the released code divide the bias as well.)
#pragma once

#include "model/primitives.h"

namespace megafold {

struct OuterProductMean {
  LayerNorm norm;
  at::Tensor project;  // [2 D, C_m]: rows of a, then rows of b
  Linear out;

  OuterProductMean(const Scope& scope, int64_t c_m, int64_t c_z, int64_t width);
  /// m [M, N, C_m]; mask [M, N] of m's type or undefined. Returns the update, [N, N, C_z].
  at::Tensor operator()(const at::Tensor& m, const at::Tensor& mask) const;
};

}  // namespace megafold
