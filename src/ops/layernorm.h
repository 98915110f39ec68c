// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

namespace megafold::ops {

/// Layer normalisation over the last axis: (x - mean) / sqrt(variance + eps) * weight + bias.
///
/// x [..., C] of float64, float32, bfloat16 or float16; weight and bias [C], float32 or x's type,
/// or undefined (then 1 and 0: AF3 has layers without either). The result has x's shape and type.
/// One autograd node: it keeps x, weight and two numbers a row, and is differentiable once. Throws
/// BadInput.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps = 1e-5);

}  // namespace megafold::ops
