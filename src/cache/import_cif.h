// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The mmCIF that importers write for entries that came in another form.
#pragma once

#include <string>
#include <vector>

#include "structure/chain_type.h"

namespace megafold::internal {

using CifRow = std::vector<std::string>;

/// A category as a loop; without rows it is left out. "." stands for itself, all else is quoted
/// where it must be.
struct CifCategory {
  const char* name;  // "_entity"
  std::vector<std::string> tags;
  std::vector<CifRow> rows;
};

std::string cif_text(const std::string& block, const std::vector<CifCategory>& categories);

/// _entity_poly.type of a polymer.
const char* poly_type_of(ChainType type);

/// The tags of a bond's row in "_struct_conn".
std::vector<std::string> bond_tags();

}  // namespace megafold::internal
