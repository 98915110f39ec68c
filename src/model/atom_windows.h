// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Windows of atoms (Algorithm 7, lines 2 and 3): window w has the queries 32 w .. 32 w + 31 and the
// keys 32 w - 48 .. 32 w + 79. Atoms outside 0 .. A - 1 are zeros here and masked in the attention.
#pragma once

#include <ATen/ATen.h>

namespace megafold {

inline constexpr int64_t kWindowQueries = 32;
inline constexpr int64_t kWindowKeys = 128;

inline int64_t num_windows(int64_t atoms) {
  return (atoms + kWindowQueries - 1) / kWindowQueries;
}

/// [A, ..] -> [W, 32, ..]
at::Tensor query_windows(const at::Tensor& x);
/// [A, ..] -> [W, 128, ..], overlapping views of one padded copy.
at::Tensor key_windows(const at::Tensor& x);

}  // namespace megafold
