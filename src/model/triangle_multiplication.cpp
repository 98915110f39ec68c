// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/triangle_multiplication.h"

namespace megafold {

TriangleMultiplication::TriangleMultiplication(const Scope& scope, Direction which, int64_t c_z,
                                               int64_t width)
    : direction(which),
      norm_in(scope / "norm_in", c_z),
      norm_out(scope / "norm_out", width),
      project(scope.parameter("project", {4 * width, c_z}, {kLecun.of(2 * width), kZeros})),
      gate(scope / "gate", c_z, c_z, kZeros),
      out(scope / "out", width, c_z, kZeros) {}

at::Tensor TriangleMultiplication::operator()(const at::Tensor& z, const at::Tensor& mask) const {
  const int64_t n = z.size(0);
  const at::Tensor x = norm_in(z);
  const at::Tensor x_cn = x.view({n * n, -1}).t();
  // Channels first, as W x^T: the product over K is then a batched matrix product without a copy.
  // glu(p, g) = p * sigmoid(g), one pass forward and one backward.
  at::Tensor ab = at::glu(at::mm(like(x, project), x_cn), 0);
  if (mask.defined()) ab = ab * mask.view({1, n * n});
  const auto halves = ab.view({-1, n, n}).chunk(2, 0);
  const at::Tensor o_DIJ = direction == outgoing ? at::bmm(halves[0], halves[1].transpose(1, 2))
                                                 : at::bmm(halves[0].transpose(1, 2), halves[1]);
  // The gradient comes channels last, which bmm's backward would take apart slice by slice.
  if (o_DIJ.requires_grad())
    o_DIJ.register_hook([](const at::Tensor& gradient) { return gradient.contiguous(); });
  return gate(x).sigmoid() * out(norm_out(o_DIJ.permute({1, 2, 0})));
}

}  // namespace megafold
