// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithms 12 and 13, TriangleMultiplicationOutgoing and Incoming.
//
//   x = LN(z_IJC);  a, b_IJD = mask_IJ * sigmoid(Linear(x)) * Linear(x)
//   outgoing: o_IJD = sum_K a_IKD b_JKD;  incoming: o_IJD = sum_K a_KID b_KJD
//   out_IJC = sigmoid(Linear(x)) * Linear(LN(o))
#pragma once

#include "model/primitives.h"

namespace megafold {

struct TriangleMultiplication {
  enum Direction { outgoing, incoming } direction;
  LayerNorm norm_in, norm_out;
  at::Tensor project;  // [4 D, C]: rows of a, of b, of a's gate, of b's gate
  Linear gate, out;

  TriangleMultiplication(const Scope& scope, Direction which, int64_t c_z, int64_t width);
  /// z [N, N, C]; mask bool [N, N] or undefined. Returns the update, [N, N, C].
  at::Tensor operator()(const at::Tensor& z, const at::Tensor& mask) const;
};

}  // namespace megafold
