// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/superpose.h"

#include <cmath>
#include <limits>

#include <gemmi/qcp.hpp>

#include "base/errors.h"

namespace megafold {
namespace {

gemmi::Position at(std::span<const float> xyz, size_t atom) {
  return {xyz[3 * atom], xyz[3 * atom + 1], xyz[3 * atom + 2]};
}

}  // namespace

Superposed superpose(std::span<const float> fixed, std::span<const float> moving,
                     std::span<const uint8_t> mask) {
  const size_t num_atoms = mask.size();
  if (fixed.size() != 3 * num_atoms || moving.size() != 3 * num_atoms) {
    fail<BadInput>("superpose: {} atoms, but {} and {} coordinates", num_atoms, fixed.size(),
                   moving.size());
  }
  std::vector<gemmi::Position> to, from;
  for (size_t a = 0; a < num_atoms; ++a) {
    if (!mask[a]) continue;
    to.push_back(at(fixed, a));
    from.push_back(at(moving, a));
    if (!std::isfinite(to.back().length_sq() + from.back().length_sq())) {
      fail<BadInput>("superpose: atom {} has a coordinate that is not finite", a);
    }
  }
  Superposed result;
  gemmi::Transform move;
  if (to.empty()) {
    result.rmsd = std::numeric_limits<double>::quiet_NaN();
  } else if (to.size() < 3) {
    move.vec = gemmi::Vec3(gemmi::qcp_calculate_center(to.data(), to.size(), nullptr) -
                           gemmi::qcp_calculate_center(from.data(), from.size(), nullptr));
  } else {
    move = gemmi::superpose_positions(to.data(), from.data(), to.size(), nullptr).transform;
  }
  result.position.reserve(moving.size());
  for (size_t a = 0; a < num_atoms; ++a) {
    const gemmi::Vec3 moved = move.apply(at(moving, a));
    for (const double x : {moved.x, moved.y, moved.z}) {
      result.position.push_back(static_cast<float>(x));
    }
  }
  if (!to.empty()) {
    double sum = 0;
    for (size_t i = 0; i < to.size(); ++i) {
      sum += (gemmi::Vec3(to[i]) - move.apply(from[i])).length_sq();
    }
    result.rmsd = std::sqrt(sum / static_cast<double>(to.size()));
  }
  return result;
}

}  // namespace megafold
