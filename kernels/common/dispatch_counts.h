// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The count of what was dispatched and why: no fall-back is silent.
#pragma once

#include <string_view>

#include "kernels/common/types.h"

namespace megafold::kernels {

/// How often an implementation ran, and why those before it in the order refused.
struct DispatchCount {
  std::string operation;       // "evo_attention forward"
  std::string implementation;  // "cpu"; "aten" where no kernel took the call
  Reasons refused;             // "sm90a: head width 24 is none of 32, 48, 64"
  int64_t calls = 0;
};

/// Since the start of the process or the last reset, ordered by operation, then by calls. Any
/// thread may call these.
std::vector<DispatchCount> dispatch_counts();
void count_dispatch(std::string_view operation, std::string_view implementation,
                    const Reasons& refused);
void reset_dispatch_counts();

}  // namespace megafold::kernels
