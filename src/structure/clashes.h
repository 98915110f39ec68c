// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "structure/links.h"

namespace megafold {

struct Clash {
  size_t removed = 0, kept = 0;  // chains
  double share = 0;              // of the removed chain's atoms
};

/// Chains of which more than 30 % of the atoms lie within 1.7 A of the other's (SI 2.5.4): the one
/// with the larger share goes; equal shares: the one with fewer atoms; equal again: the later one.
/// Bonded pairs do not count. Pairs are judged in order, and a chain that is gone removes no other.
std::vector<Clash> find_clashes(const std::vector<WorkChain>& chains,
                                const std::vector<Link>& links);

}  // namespace megafold
