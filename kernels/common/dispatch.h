// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Choosing an implementation: the first in an operation's list that has nothing against the call.
#pragma once

#include <stdexcept>

#include "kernels/common/types.h"

namespace megafold::kernels {

/// No implementation takes the call. The message lists every one with its reasons.
struct NoImplementation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The implementation that will run; throws NoImplementation.
template <class Params>
const Implementation<Params>& choose(const char* op,
                                     const std::vector<Implementation<Params>>& list,
                                     const Params& params) {
  std::string refused;
  for (const auto& implementation : list) {
    const Reasons reasons = implementation.supports(params);
    if (reasons.empty()) return implementation;
    refused += std::string("\n  ") + implementation.name + ":";
    for (const auto& reason : reasons) refused += " " + reason + ";";
  }
  throw NoImplementation(std::string(op) + ": no implementation takes this call" + refused);
}

/// Chooses and runs, with a workspace from the heap (CPU only: a GPU's comes from its caller).
template <class Params>
void run_on_cpu(const char* op, const std::vector<Implementation<Params>>& list,
                const Params& params) {
  const auto& implementation = choose(op, list, params);
  std::vector<std::byte> workspace(static_cast<size_t>(implementation.workspace_bytes(params)));
  implementation.launch(params, workspace.data(), nullptr);
}

}  // namespace megafold::kernels
