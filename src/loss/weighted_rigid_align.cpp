// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "loss/weighted_rigid_align.h"

#include <ATen/ops/linalg_det.h>
#include <ATen/ops/linalg_svd.h>
#include <c10/core/GradMode.h>

namespace megafold {

at::Tensor weighted_rigid_align(const at::Tensor& x, const at::Tensor& target,
                                const at::Tensor& weight) {
  const c10::NoGradGuard no_grad;
  const at::Tensor w = weight.unsqueeze(-1), total = weight.sum();
  const at::Tensor centre = (x * w).sum(-2, /*keepdim=*/true) / total;
  const at::Tensor target_centre = (target * w).sum(-2, /*keepdim=*/true) / total;
  const at::Tensor covariance =
      at::matmul(((x - centre) * w).transpose(-1, -2), target - target_centre);
  const auto [u, s, vh] = at::linalg_svd(covariance);
  // det(V U^T) is +1 or -1: in the latter case the smallest singular direction is turned around.
  const at::Tensor sign = at::linalg_det(at::matmul(u, vh)).round();
  const at::Tensor flip = at::stack({at::ones_like(sign), at::ones_like(sign), sign}, -1);
  const at::Tensor rotation = at::matmul(u * flip.unsqueeze(-2), vh);  // acts from the right
  return at::matmul(x - centre, rotation) + target_centre;
}

}  // namespace megafold
