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

ShiftedKeys::ShiftedKeys(int64_t atoms, const at::Tensor& real, const at::Device& device) {
  constexpr int64_t kSide = (kWindowKeys - kWindowQueries) / 2;
  const auto options = at::TensorOptions(device).dtype(at::kLong);
  const at::Tensor count = real.defined() ? real.sum() : at::scalar_tensor(atoms, options);
  const at::Tensor first = at::arange(num_windows(atoms), options) * kWindowQueries - kSide;
  const at::Tensor before = (-first).clamp_min(0);
  const at::Tensor behind = (first + (kWindowKeys - count)).clamp_min(0);
  const at::Tensor place = (first + at::where(before.gt(0), before, -behind)).unsqueeze(1) +
                           at::arange(kWindowKeys, options);
  exists = place.ge(0).logical_and(place.lt(count));
  atom = place.masked_fill(exists.logical_not(), 0);
  if (real.defined())
    exists = exists.logical_and(real.index_select(0, atom.flatten()).view_as(atom));
}

at::Tensor ShiftedKeys::operator()(const at::Tensor& x) const {
  at::Tensor out = x.index_select(0, atom.flatten()).unflatten(0, atom.sizes());
  at::Tensor missing = exists.logical_not();
  while (missing.dim() < out.dim()) missing = missing.unsqueeze(-1);
  return out.masked_fill(missing, 0);
}

}  // namespace megafold
