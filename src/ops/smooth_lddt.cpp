// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/smooth_lddt.h"

#include <c10/core/DeviceGuard.h>

#include "kernels/common/dispatch.h"
#include "kernels/smooth_lddt/smooth_lddt.h"
#include "ops/launch.h"
#include "ops/params.h"

namespace megafold::ops {

bool smooth_lddt_has_kernel(const at::Tensor& x) {
  return x.scalar_type() == at::kFloat || (x.is_cpu() && x.scalar_type() == at::kDouble);
}

SmoothLddtSums smooth_lddt_sums(const at::Tensor& x, const at::Tensor& x_true,
                                const at::Tensor& radius, double epsilon) {
  if (x.dim() != 3 || x.size(2) != 3 || x_true.dim() != 2 || x_true.size(0) != x.size(1) ||
      x_true.size(1) != 3 || radius.dim() != 1 || radius.size(0) != x.size(1))
    fail<BadInput>(
        "smooth lDDT: x [S, A, 3], x_true [A, 3] and radius [A] are needed; they are {}, "
        "{} and {}",
        describe(x), describe(x_true), describe(radius));
  for (const at::Tensor* const t : {&x_true, &radius})
    if (t->scalar_type() != x.scalar_type() || t->device() != x.device())
      fail<BadInput>("smooth lDDT: x is {} on {}, x_true or radius {} on {}", describe(x),
                     x.device().str(), describe(*t), t->device().str());
  const c10::DeviceGuard guard(x.device());
  const at::Tensor own = x.detach().contiguous(), truth = x_true.detach().contiguous();
  const at::Tensor reach = radius.contiguous();
  SmoothLddtSums out{at::empty({x.size(0)}, own.options()), at::empty(x.sizes(), own.options()),
                     at::empty({}, own.options())};
  const kernels::SmoothLddt p{.samples = x.size(0),
                              .atoms = x.size(1),
                              .epsilon = epsilon,
                              .dtype = dtype_of(x, "smooth lDDT: x"),
                              .place = place_of(x),
                              .x = own.data_ptr(),
                              .x_true = truth.data_ptr(),
                              .radius = reach.data_ptr(),
                              .score = out.score.data_ptr(),
                              .gradient = out.gradient.data_ptr(),
                              .pairs = out.pairs.data_ptr()};
  launch(kernels::choose("smooth_lddt", kernels::smooth_lddt(), p), p, x);
  return out;
}

}  // namespace megafold::ops
