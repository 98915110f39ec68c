// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/triangle_attention.h"

namespace megafold {

TriangleAttention::TriangleAttention(const Scope& scope, const Conventions& conventions, Node which,
                                     int64_t c_z, int64_t heads, int64_t head_width)
    : node(which),
      bias_transposed(which == ending && conventions.ending_bias_transposed),
      norm(scope / "norm", c_z),
      bias(scope / "bias", c_z, heads),
      attention(scope / "attention", c_z, heads, head_width, /*with_query_bias=*/false, kZeros) {}

at::Tensor TriangleAttention::operator()(const at::Tensor& z, const at::Tensor& mask) const {
  const at::Tensor x = norm(z);
  at::Tensor b_HJK = bias(x).permute({2, 0, 1});
  if (node == starting) return attention(x, x, b_HJK, mask);
  if (bias_transposed) b_HJK = b_HJK.transpose(1, 2);
  const at::Tensor x_JIC = x.transpose(0, 1);
  return attention(x_JIC, x_JIC, b_HJK, mask.defined() ? mask.t() : mask).transpose(0, 1);
}

}  // namespace megafold
