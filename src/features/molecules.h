// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Which chains are one molecule and which molecules may stand for each other (SI 4.2): chains
// joined by covalent bonds are one molecule, molecules of the same chains joined in the same way
// are copies.
#pragma once

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "structure/structure.h"

namespace megafold {

struct MoleculeOfChain {
  int32_t molecule = 0;  // 0-based, in order of their first chains
  int32_t entity = 0;    // 0-based; the same in copies
  int32_t rank = 0;  // of the chain within its molecule: chains of equal rank in copies are alike
};

/// One row per chain. `entity`: the chains' entities; `bonded`: (chain, residue) of residues that
/// are one token per atom for a bond's sake. Chains are alike when entity, components, atoms (a
/// bond may have taken leaving ones) and bonded residues are, so that tokens and atoms of copies
/// correspond one to one.
std::vector<MoleculeOfChain> find_molecules(const Structure& structure,
                                            const std::vector<int32_t>& entity,
                                            const std::set<std::pair<int32_t, int32_t>>& bonded);

}  // namespace megafold
