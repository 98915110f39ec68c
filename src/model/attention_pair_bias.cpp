// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/attention_pair_bias.h"

namespace megafold {

SingleAttention::SingleAttention(const Scope& scope, int64_t c_s, int64_t c_z, int64_t heads)
    : norm_a(scope / "norm_a", c_s),
      norm_z(scope / "norm_z", c_z),
      bias(scope / "bias", c_z, heads),
      attention(scope / "attention", c_s, heads, c_s / heads, /*with_query_bias=*/true, kZeros) {}

at::Tensor SingleAttention::operator()(const at::Tensor& s, const at::Tensor& z,
                                       const at::Tensor& mask) const {
  const at::Tensor x = norm_a(s).unsqueeze(0);
  const at::Tensor row_mask = mask.defined() ? mask.unsqueeze(0) : mask;
  return attention(x, x, bias(norm_z(z)).permute({2, 0, 1}), row_mask).squeeze(0);
}

ConditionedAttention::ConditionedAttention(const Scope& scope, const Conventions& conventions,
                                           Over what, int64_t c_a, int64_t c_s, int64_t heads)
    : over(what),
      keys_normed_twice(conventions.atom_keys_normed_twice),
      windows_padded(conventions.atom_windows_padded),
      norm_a(scope / "norm_a", c_a, c_s),
      attention(scope / "attention", c_a, heads, c_a / heads, /*with_query_bias=*/true, kLecun),
      gate(Linear::with_bias(scope / "gate", c_s, c_a, kZeros, -2)) {
  if (what == atoms) norm_kv.emplace(scope / "norm_kv", c_a, c_s);
}

at::Tensor ConditionedAttention::operator()(const at::Tensor& a, const at::Tensor& s,
                                            const at::Tensor& pair_bias,
                                            const at::Tensor& mask) const {
  const at::Tensor x = norm_a(a, s);
  const at::Tensor out = over == tokens
                             ? attention(x, x, pair_bias, mask)
                             : attention.windowed(x, (*norm_kv)(keys_normed_twice ? x : a, s),
                                                  pair_bias, mask, windows_padded);
  return gate(s).sigmoid() * out;
}

}  // namespace megafold
