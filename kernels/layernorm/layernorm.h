// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Layer normalisation over the last axis, the first step of almost every AF3 algorithm.
//
//   mean = sum_c x[m,c] / C;  rstd = 1 / sqrt(sum_c (x[m,c] - mean)^2 / C + eps)
//   y[m,c] = (x[m,c] - mean) rstd gamma[c] + beta[c]
//
//   h[m,c] = (x[m,c] - mean[m]) rstd[m];  g[m,c] = dy[m,c] gamma[c]
//   dx[m,c] = rstd[m] (g[m,c] - sum_c g / C - h[m,c] sum_c (g h) / C)
//   dgamma[c] = sum_m dy[m,c] h[m,c];  dbeta[c] = sum_m dy[m,c]
#pragma once

#include "kernels/common/types.h"

namespace megafold::kernels {

struct LayerNormForward {
  int64_t rows = 0, channels = 0;  // M rows of C channels
  double eps = 1e-5;
  DType dtype = DType::f32;         // of x and y
  DType weight_dtype = DType::f32;  // of gamma and beta
  Place place = Place::cpu;

  const void* x = nullptr;      // [M, C], C contiguous
  int64_t x_row = 0;            // stride of a row, in elements
  const void* gamma = nullptr;  // [C], or null: 1
  const void* beta = nullptr;   // [C], or null: 0
  void* y = nullptr;            // [M, C], C contiguous
  int64_t y_row = 0;

  // [M], kept for the backward: f64 where dtype is f64, else f32.
  void *mean = nullptr, *rstd = nullptr;
};

struct LayerNormBackward {
  LayerNormForward forward;  // as it ran; y is not read
  const void* dy = nullptr;  // [M, C], C contiguous, dtype of x
  int64_t dy_row = 0;
  void* dx = nullptr;  // [M, C], C contiguous, dtype of x
  int64_t dx_row = 0;
  void *dgamma = nullptr, *dbeta = nullptr;  // [C] in weight_dtype, or null: not wanted
};

/// In order of preference; see dispatch.cpp.
const std::vector<Implementation<LayerNormForward>>& layernorm_forward();
const std::vector<Implementation<LayerNormBackward>>& layernorm_backward();

}  // namespace megafold::kernels
