// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/evo_attention_composition.h"

#include <ATen/ATen.h>

#include <limits>

#include "ops/evo_attention_arguments.h"

namespace megafold::ops {

at::Tensor evo_attention_composition(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     const at::Tensor& bias, const at::Tensor& mask,
                                     const at::Tensor& gate, double scale) {
  const auto type = q.scalar_type();
  const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
  auto scores =
      at::matmul(q.permute({0, 1, 3, 2, 4}).to(wide) * scale, k.permute({0, 1, 3, 4, 2}).to(wide));
  if (bias.defined()) scores = scores + bias.to(wide).unsqueeze(1);
  at::Tensor weights;
  if (mask.defined()) {
    const auto closed = mask.logical_not().unsqueeze(2).unsqueeze(2);  // [B, R, 1, 1, Nk]
    const auto empty = closed.all(-1, /*keepdim=*/true);
    // A row without valid keys goes through the softmax as zeros, so that no NaN reaches a
    // gradient.
    scores = scores.masked_fill(closed.logical_and(empty.logical_not()),
                                -std::numeric_limits<double>::infinity());
    weights = scores.masked_fill(empty, 0).softmax(-1).masked_fill(empty, 0);
  } else {
    weights = scores.softmax(-1);
  }
  auto out = at::matmul(weights, v.permute({0, 1, 3, 2, 4}).to(wide)).permute({0, 1, 3, 2, 4});
  if (gate.defined()) out = out * gate.to(wide).sigmoid();
  return out.to(type);
}

at::Tensor atom_attention_composition(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const at::Tensor& bias, const at::Tensor& mask,
                                      const at::Tensor& gate, double scale,
                                      const AtomWindows& windows) {
  const int64_t batch = q.size(0), rows = q.size(1), atoms = q.size(2), heads = q.size(3);
  const int64_t head_dim = q.size(4), count = (atoms + windows.queries - 1) / windows.queries;
  const auto integers = q.options().dtype(at::kLong);
  const at::Tensor first = windows.first_key.defined()
                               ? windows.first_key.to(at::kLong)
                               : at::arange(count, integers) * windows.queries +
                                     first_key_of(windows.queries, windows.keys);
  const auto index = first.unsqueeze(1) + at::arange(windows.keys, integers);
  const int64_t key_atoms = k.size(2);
  const auto inside = index.ge(0).logical_and(index.lt(key_atoms));  // [W, keys]
  const auto flat = index.clamp(0, key_atoms - 1).flatten();

  // A window is a batch and its rows are the rows: [B, R, A, H, D] -> [B W, R, n, H, D].
  const auto padded = [&](const at::Tensor& t) {
    return at::constant_pad_nd(t, {0, 0, 0, 0, 0, count * windows.queries - atoms})
        .reshape({batch, rows, count, windows.queries, heads, head_dim})
        .transpose(1, 2)
        .flatten(0, 1);
  };
  const auto gathered = [&](const at::Tensor& t) {
    return t.index_select(2, flat)
        .view({batch, rows, count, windows.keys, heads, head_dim})
        .transpose(1, 2)
        .flatten(0, 1);
  };
  auto open = inside.unsqueeze(0).unsqueeze(2).expand({batch, count, rows, windows.keys});
  if (mask.defined()) {
    open = open.logical_and(
        mask.index_select(2, flat).view({batch, rows, count, windows.keys}).transpose(1, 2));
  }
  const auto out = evo_attention_composition(
      padded(q), gathered(k), gathered(v), bias.defined() ? bias.flatten(0, 1) : bias,
      open.flatten(0, 1), gate.defined() ? padded(gate) : gate, scale);
  return out.view({batch, count, rows, windows.queries, heads, head_dim})
      .transpose(1, 2)
      .reshape({batch, rows, count * windows.queries, heads, head_dim})
      .narrow(2, 0, atoms);
}

}  // namespace megafold::ops
