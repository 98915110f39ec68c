// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Gated multi-head attention, the core of algorithms 7, 14, 15 and 24. Rows R share the bias.
//
//   q, g = Linear(x_RNC);  k, v = Linear(y_RKC)
//   out_RNC = Linear(sigmoid(g) * softmax(q k^T / sqrt(D) + bias_HNK) v)
#pragma once

#include "model/primitives.h"

namespace megafold {

struct Attention {
  int64_t heads = 0;
  at::Tensor query_gate, key_value;  // [2 H D, C]: query rows, then gate rows; key, then value
  at::Tensor query_bias;             // [H D] or undefined
  at::Tensor out;                    // [C, H D]

  /// The gate starts at zero weights (a half). `final`: how the output starts.
  Attention(const Scope& scope, int64_t channels, int64_t num_heads, int64_t head_width,
            bool with_query_bias, Init final);

  /// x [R, N, C], y [R, K, C], bias [H, N, K], mask bool [R, K] (true: may be attended) or
  /// undefined. Returns [R, N, C].
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& y, const at::Tensor& bias,
                        const at::Tensor& mask) const;

  /// In windows of atoms: x, y [R, A, C], bias [W, H, 32, 128], mask bool [R, A] or undefined (rows
  /// alike). `padded`: what windows over an end do (atom_windows.h).
  at::Tensor windowed(const at::Tensor& x, const at::Tensor& y, const at::Tensor& bias,
                      const at::Tensor& mask, bool padded) const;
};

}  // namespace megafold
