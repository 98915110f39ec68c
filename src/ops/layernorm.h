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

// ---- below autograd, for nodes that hold more than the norm; nothing is checked here ----

/// Whether a kernel takes the call; where none does (f64 or wide rows on a GPU) that is counted,
/// and ATen's layer_norm is what to call.
bool layer_norm_has_kernel(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

struct NormedRows {
  at::Tensor y, mean, rstd;  // as x; [M] in fp32 (fp64 for fp64)
};
NormedRows layer_norm_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              double eps);

struct NormGradients {
  at::Tensor x, weight, bias;  // the latter two undefined where the argument is
};
NormGradients layer_norm_backward(const at::Tensor& dy, const at::Tensor& x,
                                  const at::Tensor& weight, const at::Tensor& bias,
                                  const at::Tensor& mean, const at::Tensor& rstd, double eps);

}  // namespace megafold::ops
