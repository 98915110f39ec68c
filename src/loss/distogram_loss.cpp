// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "loss/distogram_loss.h"

#include "loss/cross_entropy.h"

namespace megafold {

at::Tensor distogram_loss(const at::Tensor& logits, const at::Tensor& x_true,
                          const at::Tensor& resolved, double epsilon) {
  const int64_t bins = logits.size(-1);
  const double width = 20.0 / static_cast<double>(bins);  // the edges are 2 + width .. 22 - width
  const at::Tensor edges = at::linspace(2 + width, 22 - width, bins - 1, x_true.options());
  const at::Tensor d = (x_true.unsqueeze(1) - x_true.unsqueeze(0)).square().sum(-1).sqrt();
  const at::Tensor bin = at::bucketize(d, edges);  // the number of edges below d
  const at::Tensor pairs = resolved.unsqueeze(1) * resolved.unsqueeze(0);
  return (cross_entropy(logits, bin) * pairs).sum() / (pairs.sum() + epsilon);
}

}  // namespace megafold
