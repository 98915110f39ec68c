// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/atom_windows.h"

#include <vector>

namespace megafold {
namespace {

at::Tensor pad_atoms(const at::Tensor& x, int64_t before, int64_t after) {
  std::vector<int64_t> pad(static_cast<size_t>(2 * x.dim()), 0);
  pad[pad.size() - 2] = before, pad[pad.size() - 1] = after;
  return at::constant_pad_nd(x, pad);
}

}  // namespace

at::Tensor query_windows(const at::Tensor& x) {
  const int64_t atoms = x.size(0), windows = num_windows(atoms);
  return pad_atoms(x, 0, windows * kWindowQueries - atoms).unflatten(0, {windows, kWindowQueries});
}

at::Tensor key_windows(const at::Tensor& x) {
  constexpr int64_t kSide = (kWindowKeys - kWindowQueries) / 2;
  const int64_t atoms = x.size(0);
  const at::Tensor padded =
      pad_atoms(x, kSide, num_windows(atoms) * kWindowQueries + kSide - atoms);
  return padded.unfold(0, kWindowKeys, kWindowQueries).movedim(-1, 1);
}

}  // namespace megafold
