// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithms 14 and 15, TriangleAttentionStartingNode and EndingNode, on x = LN(z_IJC).
//
//   starting: row i attends over k:    softmax_k(q_IJ . k_IK + b_JK) v_IK
//   ending:   column j attends over k: softmax_k(q_IJ . k_KJ + b_KI) v_KJ
//
// The ending node is the starting node on the transposed pair; its bias is b_ki (SI) or b_ik
// (conventions.h, ending_bias_transposed).
#pragma once

#include "model/attention.h"
#include "model/conventions.h"

namespace megafold {

struct TriangleAttention {
  enum Node { starting, ending } node;
  bool bias_transposed;
  LayerNorm norm;
  Linear bias;
  Attention attention;

  TriangleAttention(const Scope& scope, const Conventions& conventions, Node which, int64_t c_z,
                    int64_t heads, int64_t head_width);
  /// z [N, N, C]; mask bool [N, N] or undefined. Returns the update, [N, N, C].
  at::Tensor operator()(const at::Tensor& z, const at::Tensor& mask) const;
};

}  // namespace megafold
