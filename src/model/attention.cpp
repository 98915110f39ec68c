// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/attention.h"

#include "model/atom_windows.h"
#include "ops/evo_attention.h"

namespace megafold {
namespace {

/// The two halves of a projection, [1, R, N, H, D] each.
std::pair<at::Tensor, at::Tensor> halves_of(const at::Tensor& x, const at::Tensor& weight,
                                            int64_t heads) {
  const int64_t width = weight.size(0) / (2 * heads);
  const at::Tensor both = project(x, weight).view({1, x.size(0), x.size(1), 2, heads, width});
  auto halves = both.unbind(3);
  return {std::move(halves[0]), std::move(halves[1])};
}

at::Tensor add_bias(const at::Tensor& q, const at::Tensor& bias) {
  return bias.defined() ? q + like(q, bias).view({q.size(3), q.size(4)}) : q;
}

}  // namespace

Attention::Attention(const Scope& scope, int64_t channels, int64_t num_heads, int64_t head_width,
                     bool with_query_bias, Init final)
    : heads(num_heads) {
  const int64_t width = num_heads * head_width;
  query_gate = scope.parameter("query_gate", {2 * width, channels}, {kLecun.of(width), kZeros});
  key_value = scope.parameter("key_value", {2 * width, channels}, {kLecun});
  if (with_query_bias) query_bias = scope.parameter("query_bias", {width}, {kZeros});
  out = scope.parameter("out", {channels, width}, {final});
}

at::Tensor Attention::operator()(const at::Tensor& x, const at::Tensor& y, const at::Tensor& bias,
                                 const at::Tensor& mask) const {
  const auto [q, g] = halves_of(x, query_gate, heads);
  const auto [k, v] = halves_of(y, key_value, heads);
  const at::Tensor mask_row = mask.defined() ? mask.unsqueeze(0) : mask;
  return project(ops::evo_attention(add_bias(q, query_bias), k, v, bias.unsqueeze(0), mask_row, g)
                     .squeeze(0)
                     .flatten(-2),
                 out);
}

at::Tensor Attention::windowed(const at::Tensor& x, const at::Tensor& y, const at::Tensor& bias,
                               const at::Tensor& mask, bool padded) const {
  const auto [q, g] = halves_of(x, query_gate, heads);
  const auto [k, v] = halves_of(y, key_value, heads);
  if (!padded) {
    // Each window is an entry of its own: [1, R, A, H, D] -> [W, R, 32 or 128, H, D].
    const int64_t rows = x.size(0), atoms = x.size(1);
    const ShiftedKeys shifted(atoms, mask.defined() ? mask[0] : mask, x.device());
    const auto queries = [&](const at::Tensor& t) {
      return query_windows(t.squeeze(0).transpose(0, 1)).transpose(1, 2);
    };
    const auto keys = [&](const at::Tensor& t) {
      return shifted(t.squeeze(0).transpose(0, 1)).transpose(1, 2);
    };
    const at::Tensor exists =
        shifted.exists.unsqueeze(1).expand({shifted.exists.size(0), rows, kWindowKeys});
    return project(ops::evo_attention(queries(add_bias(q, query_bias)), keys(k), keys(v), bias,
                                      exists.contiguous(), queries(g))
                       .transpose(1, 2)
                       .flatten(0, 1)
                       .slice(0, 0, atoms)
                       .transpose(0, 1)
                       .flatten(-2),
                   out);
  }
  const at::Tensor mask_row = mask.defined() ? mask.unsqueeze(0) : mask;
  return project(ops::atom_attention(add_bias(q, query_bias), k, v, bias.unsqueeze(0), mask_row, g)
                     .squeeze(0)
                     .flatten(-2),
                 out);
}

}  // namespace megafold
