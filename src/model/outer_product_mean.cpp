// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/outer_product_mean.h"

namespace megafold {

OuterProductMean::OuterProductMean(const Scope& scope, int64_t c_m, int64_t c_z, int64_t width)
    : norm(scope / "norm", c_m),
      project(scope.parameter("project", {2 * width, c_m}, {kLecun})),
      out(Linear::with_bias(scope / "out", width * width, c_z, kZeros)) {}

at::Tensor OuterProductMean::operator()(const at::Tensor& m, const at::Tensor& mask) const {
  const int64_t rows = m.size(0), n = m.size(1), d = project.size(0) / 2;
  at::Tensor ab = megafold::project(norm(m), project);
  if (mask.defined()) ab = ab * like(ab, mask).unsqueeze(-1);
  const auto halves = ab.chunk(2, -1);
  // [N D, M] x [M, N D] -> [I, D, J, D]
  const at::Tensor outer =
      at::mm(halves[0].reshape({rows, n * d}).t(), halves[1].reshape({rows, n * d}))
          .view({n, d, n, d})
          .transpose(1, 2)
          .reshape({n, n, d * d});
  constexpr double kEps = 1e-3;
  if (!mask.defined()) return out(outer) / (static_cast<double>(rows) + kEps);
  // The mask keeps its own type: rows are not counted in bf16.
  return out(outer) / like(outer, at::mm(mask.t(), mask) + kEps).unsqueeze(-1);
}

}  // namespace megafold
