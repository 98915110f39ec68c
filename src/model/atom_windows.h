// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Windows of atoms (Algorithm 7, lines 2 and 3): window w has the queries 32 w .. 32 w + 31 and the
// keys 32 w - 48 .. 32 w + 79. Atoms outside 0 .. A - 1 are zeros here and masked in the attention.
// The released code and OpenFold 3 shift a window that reaches over an end inside, as far as there
// are atoms (conventions.h, atom_windows_padded).
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

/// Windows that shift: the atom of each key, i64 [W, 128] (0 where there is none), and whether
/// there is one, bool [W, 128].
struct ShiftedKeys {
  at::Tensor atom, exists;

  /// real bool [A] or undefined: the first so many atoms are real.
  ShiftedKeys(int64_t atoms, const at::Tensor& real, const at::Device& device);
  /// [A, ..] -> [W, 128, ..], zeros where there is no atom.
  [[nodiscard]] at::Tensor operator()(const at::Tensor& x) const;
};

}  // namespace megafold
