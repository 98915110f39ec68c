// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/import_cif.h"

#include <sstream>

#include <gemmi/cif.hpp>
#include <gemmi/to_cif.hpp>

namespace megafold::internal {

std::string cif_text(const std::string& block, const std::vector<CifCategory>& categories) {
  gemmi::cif::Document document;
  document.blocks.emplace_back(block);
  for (const CifCategory& category : categories) {
    if (category.rows.empty()) continue;
    gemmi::cif::Loop& loop =
        document.blocks[0].init_mmcif_loop(std::string(category.name) + ".", category.tags);
    for (const CifRow& row : category.rows)
      for (const std::string& value : row)
        loop.values.push_back(value == "." ? value : gemmi::cif::quote(value));
  }
  std::ostringstream out;
  gemmi::cif::write_cif_to_stream(out, document);
  return out.str();
}

std::vector<std::string> bond_tags() {
  return {"id",
          "conn_type_id",
          "ptnr1_label_asym_id",
          "ptnr1_label_comp_id",
          "ptnr1_label_seq_id",
          "ptnr1_auth_seq_id",
          "ptnr1_label_atom_id",
          "ptnr2_label_asym_id",
          "ptnr2_label_comp_id",
          "ptnr2_label_seq_id",
          "ptnr2_auth_seq_id",
          "ptnr2_label_atom_id"};
}

const char* poly_type_of(ChainType type) {
  if (type == ChainType::protein) return "polypeptide(L)";
  return type == ChainType::rna ? "polyribonucleotide" : "polydeoxyribonucleotide";
}

}  // namespace megafold::internal
