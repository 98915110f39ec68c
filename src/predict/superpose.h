// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace megafold {

struct Superposed {
  double rmsd = 0;              // Angstrom over the atoms that count; NaN when there are none
  std::vector<float> position;  // [A, 3] all of `moving`, moved
};

/// Moves a structure rigidly onto another (least squares over the atoms that `mask` marks; a proper
/// rotation, so a mirror image stays one). Both [A, 3] in Angstrom; mask [A]. With fewer than three
/// marked atoms only the centres are put together.
/// Throws BadInput on lengths that differ or a marked coordinate that is not finite.
[[nodiscard]] Superposed superpose(std::span<const float> fixed, std::span<const float> moving,
                                   std::span<const uint8_t> mask);

}  // namespace megafold
