// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// For tests: small mmCIF texts written by hand, and the demonstration dictionary.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "structure/ccd.h"
#include "structure/clean.h"
#include "structure/tables.h"

namespace megafold::testing {

inline const ComponentDictionary& demo_dictionary() {
  static const ComponentDictionary dictionary =
      ComponentDictionary::read(std::string(MEGAFOLD_SOURCE_DIR) + "/data/components.bcif.gz");
  return dictionary;
}

/// Collects atoms and other categories, and writes them as the wwPDB does.
class EntryText {
 public:
  struct Where {
    std::string chain = "A", entity = "1", seq = "1", auth = "1", code = "ALA", altloc = ".";
    double occupancy = 1;
  };
  EntryText& atom(const std::string& name, const std::string& element, double x, double y, double z,
                  const Where& w) {
    atoms_ += fmt::format(
        "ATOM {} {} \"{}\" {} {} {} {} {} ? {:.3f} {:.3f} {:.3f} {:.2f} 10.00 "
        "{} {} 1\n",
        ++count_, element, name, w.altloc, w.code, w.chain, w.entity, w.seq, x, y, z, w.occupancy,
        w.auth, w.chain);
    return *this;
  }
  /// A protein of these residues along x, 3.8 A apart, with backbone and CB.
  EntryText& protein(const std::string& chain, const std::string& entity,
                     const std::vector<std::string>& codes, double y = 0,
                     const std::vector<int>& unresolved = {}) {
    for (size_t i = 0; i < codes.size(); ++i) {
      const int number = static_cast<int>(i) + 1;
      bool skip = false;
      for (const int other : unresolved) skip = skip || other == number;
      if (skip) continue;
      const double x = 3.8 * number;
      const Where w{chain, entity, std::to_string(number), std::to_string(number + 100), codes[i]};
      atom("N", "N", x - 1.2, y + 0.5, 0, w).atom("CA", "C", x, y, 0, w);
      atom("C", "C", x + 1.3, y + 0.5, 0, w).atom("O", "O", x + 1.3, y + 1.7, 0, w);
      if (codes[i] != "GLY") atom("CB", "C", x, y - 1.5, 0, w);
    }
    return *this;
  }
  EntryText& polymer_entity(const std::string& id, const std::string& type,
                            const std::vector<std::string>& codes) {
    entities_ += fmt::format("{} polymer\n", id);
    poly_ += fmt::format("{} '{}'\n", id, type);
    for (size_t i = 0; i < codes.size(); ++i)
      sequence_ += fmt::format("{} {} {}\n", id, i + 1, codes[i]);
    return *this;
  }
  EntryText& ligand_entity(const std::string& id, const std::string& type = "non-polymer") {
    entities_ += fmt::format("{} {}\n", id, type);
    return *this;
  }
  EntryText& more(const std::string& text) {
    more_ += text;
    return *this;
  }
  [[nodiscard]] std::string str() const {
    std::string out = "data_TEST\n" + more_;
    const auto loop = [&](const char* head, const std::string& rows) {
      if (!rows.empty()) out += std::string("loop_\n") + head + rows + "#\n";
    };
    loop("_entity.id\n_entity.type\n", entities_);
    loop("_entity_poly.entity_id\n_entity_poly.type\n", poly_);
    loop("_entity_poly_seq.entity_id\n_entity_poly_seq.num\n_entity_poly_seq.mon_id\n", sequence_);
    loop(
        "_atom_site.group_PDB\n_atom_site.id\n_atom_site.type_symbol\n_atom_site.label_atom_id\n"
        "_atom_site.label_alt_id\n_atom_site.label_comp_id\n_atom_site.label_asym_id\n"
        "_atom_site.label_entity_id\n_atom_site.label_seq_id\n_atom_site.pdbx_PDB_ins_code\n"
        "_atom_site.Cartn_x\n_atom_site.Cartn_y\n_atom_site.Cartn_z\n_atom_site.occupancy\n"
        "_atom_site.B_iso_or_equiv\n_atom_site.auth_seq_id\n_atom_site.auth_asym_id\n"
        "_atom_site.pdbx_PDB_model_num\n",
        atoms_);
    return out;
  }
  [[nodiscard]] FileEntry read() const {
    return read_entry(*Document::parse(str(), "test.cif"), "test");
  }
  [[nodiscard]] Cleaned clean() const { return megafold::clean(read(), demo_dictionary()); }

 private:
  std::string atoms_, entities_, poly_, sequence_, more_;
  int count_ = 0;
};

/// Whether cleaning noted a removal whose rule holds this text.
inline bool was_removed(const Cleaned& cleaned, const std::string& what, const std::string& rule) {
  for (const Removal& removal : cleaned.structure.removed)
    if (removal.what.find(what) != std::string::npos &&
        removal.rule.find(rule) != std::string::npos)
      return true;
  return false;
}

}  // namespace megafold::testing
