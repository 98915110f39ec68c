// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What ran and why: for a run's log and `megafold doctor`. The counts themselves are kept by
// kernels/common/dispatch_counts.h.
#pragma once

#include <string>

namespace megafold::ops {

/// One line an operation and implementation, and one a reason that others refused:
///
///   evo_attention            sm90a       1152 calls
///   evo_attention            portable      24 calls
///     sm90a: head_dim = 24 is none of 32, 48, 64
///
/// Empty when nothing ran yet.
std::string dispatch_report();

}  // namespace megafold::ops
