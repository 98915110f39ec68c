// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Triangle attention from the pair representation to the update (AF3 supplement, algorithms 14 and
// 15), as one autograd node that keeps z and the weights and nothing else: normalisation,
// projections and attention are computed again in the backward.
#pragma once

#include <ATen/core/Tensor.h>

namespace megafold::ops {

struct TriangleAttentionWeights {
  at::Tensor norm_weight, norm_bias;  // [C], z's dtype or fp32
  at::Tensor projection;              // [4 H D, C]: q, k, v and gate
  at::Tensor bias;                    // [H, C]
  at::Tensor out;                     // [C, H D]
};

struct TriangleAttentionOptions {
  int64_t heads = 4;
  bool ending = false;          // around the ending node: columns of z attend
  bool transposed_bias = true;  // ending node: b_ki as the supplement writes it, else b_ik
  bool residual = false;        // return z + update
  double eps = 1e-5;
};

/// x = LayerNorm(z); q, k, v, g = x projection^T; b = x bias^T;
/// update = keep * (sigmoid(g) * attention(q, k, v, b, mask)) out^T
///
///   z        [B, N, N, C]           f64, f32, bf16 or f16
///   mask     [B, N, N]              bool, true: the pair exists; undefined: all
///   keep     [B, 1 or N, 1 or N, C] dropout's factors, 0 or 1 / (1 - p); undefined: none
///   returns  [B, N, N, C]           update, or z + update
///
/// projection, bias, out and keep are of one dtype, in which everything behind the norm runs; it
/// may be narrower than z's. Differentiable once. Throws BadInput with the shapes met.
at::Tensor triangle_attention(const at::Tensor& z, const TriangleAttentionWeights& weights,
                              const at::Tensor& mask, const at::Tensor& keep,
                              const TriangleAttentionOptions& options);

}  // namespace megafold::ops
