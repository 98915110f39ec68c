// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Cross-entropy of logits [.., bins] with one true class each.
#pragma once

#include <ATen/ATen.h>

namespace megafold {

/// target i64 [..]. Returns [..].
inline at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& target) {
  return -at::log_softmax(logits, -1).gather(-1, target.unsqueeze(-1)).squeeze(-1);
}

/// The number of edges strictly below x, less one, within 0 .. bins - 1: the bin of x between
/// `bins + 1` edges, whatever lies outside put into the first or last.
inline at::Tensor bin_between(const at::Tensor& x, const at::Tensor& edges) {
  return at::bucketize(x, edges).sub(1).clamp(0, edges.size(0) - 2);
}

}  // namespace megafold
