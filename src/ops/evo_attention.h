// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention for the model: softmax(scale q k^T + bias) v with a key mask and a sigmoid gate, as
// one autograd node (kernels/evo_attention has the equation and the implementations). AF3
// supplement, algorithms 14 and 15 (triangle attention), 24 (pair bias) and 7 (windows of atoms).
//
// Saved for the backward: the arguments, the output and one fp32 logarithm per query and head;
// never a tensor of size [queries, keys]. The bias' gradient is summed over rows in a fixed order:
// the same bits on every run.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace megafold::ops {

/// out = sigmoid(gate) * softmax(scale * q k^T + bias) v
///
///   q, gate      [B, R, Nq, H, D]   R rows (or diffusion samples) share their batch's bias
///   k, v         [B, R, Nk, H, D]
///   bias         [B, H, Nq, Nk]     in q's dtype or fp32 (f64 with f64)
///   mask         [B, R, Nk]         bool, true: the key may be attended. No gradient.
///   scale                           1 / sqrt(D) when not given
///   returns      [B, R, Nq, H, D]   in q's dtype
///
/// Undefined bias, mask and gate are left out. q, k, v and gate are of one dtype (f64, f32, bf16,
/// f16), on one device, with any strides whose last is 1 (others are copied); dimensions may be
/// expanded. A row without a valid key gives 0 and zero gradients, where PyTorch gives NaN.
/// Starting and ending node of triangle attention differ by strides: pass transposed views.
/// Throws BadInput with the shapes met.
at::Tensor evo_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const at::Tensor& bias = {}, const at::Tensor& mask = {},
                         const at::Tensor& gate = {}, std::optional<double> scale = {});

/// Which atoms a window's queries see (algorithm 7, lines 2 and 3).
struct AtomWindows {
  int64_t queries = 32;
  int64_t keys = 128;
  /// int32 [W]: the first key of each window, never decreasing, on q's device. Undefined: the
  /// windows' centres coincide, first = w * queries + (queries - keys) / 2, rounded down, and keys
  /// before the first or after the last atom are masked. OpenFold 3 shifts its windows inside.
  at::Tensor first_key;
};

/// evo_attention in windows of atoms, without gathering keys: queries w * 32 .. w * 32 + 31 attend
/// to the 128 keys of window w.
///
///   q, k, v, gate  [B, R, A, H, D]        A atoms; W = ceil(A / windows.queries)
///   bias           [B, W, H, windows.queries, windows.keys]
///   mask           [B, R, A]              bool, true: the atom may be attended
///   returns        [B, R, A, H, D]
///
/// Otherwise as evo_attention.
at::Tensor atom_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& bias = {}, const at::Tensor& mask = {},
                          const at::Tensor& gate = {}, std::optional<double> scale = {},
                          const AtomWindows& windows = {});

}  // namespace megafold::ops
