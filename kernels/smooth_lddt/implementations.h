// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/smooth_lddt/smooth_lddt.h"

namespace megafold::kernels {

extern const Implementation<SmoothLddt> kSmoothLddtReference;
extern const Implementation<SmoothLddt> kSmoothLddtCpu;

constexpr double kLddtThresholds[] = {0.5, 1, 2, 4};  // Angstrom

/// What every implementation asks of a call: sizes, type, pointers.
Reasons smooth_lddt_reasons(const SmoothLddt& p);

}  // namespace megafold::kernels
