// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 10, MSAPairWeightedAveraging: v, g_MIHD = Linear(LN(m_MIC)); b_IJH = Linear(LN(z_IJC));
//   o_MIHD = sigmoid(g) * sum_J softmax_J(b_IJH) v_MJHD;  out_MIC = Linear(flatten(o))
#pragma once

#include "model/primitives.h"

namespace megafold {

struct PairWeightedAveraging {
  int64_t heads;
  LayerNorm norm_m, norm_z;
  at::Tensor value_gate;  // [2 H D, C_m]: rows of v, then rows of g
  Linear bias, out;

  PairWeightedAveraging(const Scope& scope, int64_t c_m, int64_t c_z, int64_t num_heads,
                        int64_t head_width);
  /// m [M, N, C_m], z [N, N, C_z]; mask bool [N] of the averaged tokens or [N, N] of pairs, or
  /// undefined. A row whose pairs are all masked averages all alike. Returns the update of m.
  at::Tensor operator()(const at::Tensor& m, const at::Tensor& z, const at::Tensor& mask) const;
};

}  // namespace megafold
