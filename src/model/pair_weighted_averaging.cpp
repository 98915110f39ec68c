// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/pair_weighted_averaging.h"

namespace megafold {

PairWeightedAveraging::PairWeightedAveraging(const Scope& scope, int64_t c_m, int64_t c_z,
                                             int64_t num_heads, int64_t head_width)
    : heads(num_heads),
      norm_m(scope / "norm_m", c_m),
      norm_z(scope / "norm_z", c_z),
      value_gate(scope.parameter("value_gate", {2 * num_heads * head_width, c_m},
                                 {kLecun.of(num_heads * head_width), kZeros})),
      bias(scope / "bias", c_z, num_heads),
      out(scope / "out", num_heads * head_width, c_m, kZeros) {}

at::Tensor PairWeightedAveraging::operator()(const at::Tensor& m, const at::Tensor& z,
                                             const at::Tensor& mask) const {
  const int64_t rows = m.size(0), n = m.size(1), d = value_gate.size(0) / (2 * heads);
  const auto parts = project(norm_m(m), value_gate).chunk(2, -1);
  at::Tensor b_HIJ = bias(norm_z(z)).permute({2, 0, 1});
  if (mask.defined()) b_HIJ = b_HIJ.masked_fill(mask.logical_not(), -1e9);
  const at::Tensor v_HJX =
      parts[0].view({rows, n, heads, d}).permute({2, 1, 0, 3}).reshape({heads, n, rows * d});
  const at::Tensor o = at::bmm(b_HIJ.softmax(-1), v_HJX)
                           .view({heads, n, rows, d})
                           .permute({2, 1, 0, 3})
                           .reshape({rows, n, heads * d});
  return out(parts[1].sigmoid() * o);
}

}  // namespace megafold
