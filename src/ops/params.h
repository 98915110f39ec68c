// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From tensors to the kernels' plain types.
#pragma once

#include <ATen/ATen.h>

#include "base/errors.h"
#include "kernels/common/types.h"

namespace megafold::ops {

/// The kernels' name of a tensor's type; throws BadInput naming `what` for others.
inline kernels::DType dtype_of(const at::Tensor& t, const char* what) {
  switch (t.scalar_type()) {
    case at::kHalf:
      return kernels::DType::f16;
    case at::kBFloat16:
      return kernels::DType::bf16;
    case at::kFloat:
      return kernels::DType::f32;
    case at::kDouble:
      return kernels::DType::f64;
    default:
      fail<BadInput>("{} is {}; float64, float32, bfloat16 or float16 is needed", what,
                     c10::toString(t.scalar_type()));
  }
}

/// "[2, 3] Float", or "none": for messages.
inline std::string describe(const at::Tensor& t) {
  if (!t.defined()) return "none";
  return fmt::format("[{}] {}", fmt::join(t.sizes(), ", "), c10::toString(t.scalar_type()));
}

inline void* data_or_null(const at::Tensor& t) {
  return t.defined() ? t.data_ptr() : nullptr;
}

}  // namespace megafold::ops
