// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Bonds between residues, and the atoms that they push out.
#pragma once

#include <vector>

#include "structure/polymers.h"

namespace megafold {

struct LinkEnd {
  int32_t chain = 0, residue = 0;
  ShortName atom;
};

/// A bond between two residues. `is_backbone`: of neighbours in a sequence.
struct Link {
  LinkEnd first, second;
  bool is_backbone = false, is_metal = false;
};

/// Every row of _struct_conn in every copy of the asymmetric unit, as far as both ends exist.
std::vector<Link> find_links(const std::vector<WorkChain>& chains,
                             const std::vector<Connection>& connections);

/// Peptide (C-N) and phosphodiester (O3'-P) bonds between residues whose numbers differ by one.
void add_backbone(const std::vector<WorkChain>& chains, std::vector<Link>& links);

/// Keeps the bonds that a model may see (1.5.2): no metal between chains, none between polymers or
/// between residues of one polymer that are no neighbours, none longer than 2.4 A, and no bond of a
/// polymer to a ligand that another copy of the polymer lacks (SI 5.1). Each bond once.
void filter_links(const std::vector<WorkChain>& chains, std::vector<Link>& links);

/// Takes out the leaving atoms at the bonded ends (1.6): in a modified residue or ligand, from
/// every copy of the component.
void remove_leaving_atoms(std::vector<WorkChain>& chains, const std::vector<Link>& links);

}  // namespace megafold
