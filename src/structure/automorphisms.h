// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Which atoms of a component may stand for each other (SI 4.2): the ways to map its heavy atoms
// onto themselves that keep elements, charges and bonds with their kinds. Chirality is ignored, as
// it is where RDKit matches a molecule with itself, which OpenFold 3 uses.
#pragma once

#include <cstdint>
#include <vector>

#include "structure/ccd.h"

namespace megafold {

/// Each result maps atom i to atom result[i]. The identity is first; the others follow in the order
/// of their lists, as far as `most`. A component without bonds has the identity alone: nothing says
/// that its atoms are one molecule.
std::vector<std::vector<uint16_t>> automorphisms(const Component& component, size_t most = 1000);

}  // namespace megafold
