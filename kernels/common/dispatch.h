// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Choosing an implementation: the first in an operation's list that has nothing against the call.
#pragma once

#include <algorithm>
#include <stdexcept>

#include "kernels/common/dispatch_counts.h"
#include "kernels/common/types.h"

namespace megafold::kernels {

/// No implementation takes the call. The message lists every one with its reasons.
struct NoImplementation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class Params>
Place place_of(const Params& params) {
  if constexpr (requires { params.place; }) {
    return params.place;
  } else {
    return params.forward.place;
  }
}

/// The reasons of a backward: those of its forward, and of `more` what the forward has not named.
inline Reasons with_new(Reasons reasons, const Reasons& more) {
  for (const auto& reason : more) {
    if (std::find(reasons.begin(), reasons.end(), reason) == reasons.end()) {
      reasons.push_back(reason);
    }
  }
  return reasons;
}

/// The first implementation in the list that takes the call, or null. `refused` receives the
/// reasons of those before it, each behind its implementation's name; implementations for the other
/// place are passed over without a word.
template <class Params>
const Implementation<Params>* find_implementation(const std::vector<Implementation<Params>>& list,
                                                  const Params& params, Reasons& refused) {
  for (const auto& implementation : list) {
    if (implementation.place != place_of(params)) continue;
    const Reasons reasons = implementation.supports(params);
    if (reasons.empty()) return &implementation;
    for (const auto& reason : reasons) {
      refused.push_back(std::string(implementation.name) + ": " + reason);
    }
  }
  return nullptr;
}

/// The implementation that will run, counted under `op` (dispatch_counts.h); throws
/// NoImplementation.
template <class Params>
const Implementation<Params>& choose(const char* op,
                                     const std::vector<Implementation<Params>>& list,
                                     const Params& params) {
  Reasons refused;
  if (const auto* found = find_implementation(list, params, refused)) {
    count_dispatch(op, found->name, refused);
    return *found;
  }
  std::string text = std::string(op) + ": no implementation takes this call";
  for (const auto& reason : refused) text += "\n  " + reason;
  throw NoImplementation(text);
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
