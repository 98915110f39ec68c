// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>

namespace megafold {

/// Stands for "no value" in scores and series; pages and JSON leave it out or write null.
inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace megafold
