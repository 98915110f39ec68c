// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/dispatch_report.h"

#include <fmt/format.h>

#include "kernels/common/dispatch_counts.h"

namespace megafold::ops {

std::string dispatch_report() {
  std::string text;
  for (const auto& count : kernels::dispatch_counts()) {
    text += fmt::format("{:<28} {:<10} {:>8} call{}\n", count.operation, count.implementation,
                        count.calls, count.calls == 1 ? "" : "s");
    for (const auto& reason : count.refused) text += fmt::format("  {}\n", reason);
  }
  return text;
}

}  // namespace megafold::ops
