// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/ccd.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/decompress.h"
#include "base/errors.h"
#include "base/hash.h"
#include "base/publish.h"
#include "structure/elements.h"
#include "structure/tables.h"

namespace megafold {
namespace {

/// `_chem_comp.type` is written in several cases ("L-peptide linking", "L-PEPTIDE LINKING").
Linking linking_of(std::string_view type) {
  std::string lower(type);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto has = [&](const char* part) { return lower.find(part) != std::string::npos; };
  if (has("peptide")) return Linking::peptide;  // also the terminus and beta/gamma kinds
  if (has("rna")) return Linking::rna;
  if (has("dna")) return Linking::dna;
  return Linking::none;
}

/// `_chem_comp_bond.value_order` is written in both cases; a delocalised bond counts as aromatic,
/// one without an order as single.
BondKind kind_of(std::string_view order, bool aromatic) {
  std::string lower(order);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (aromatic || lower == "arom" || lower == "delo" || lower == "pi") return BondKind::aromatic;
  if (lower == "doub") return BondKind::twofold;
  if (lower == "trip") return BondKind::threefold;
  return lower == "quad" ? BondKind::fourfold : BondKind::single;
}

constexpr int32_t kMaxConformers = 1000;  // more is damage

bool is_hydrogen(uint8_t element) {
  return element == 1;
}

struct Reader {
  std::vector<Component>& components;
  std::unordered_map<ShortName, size_t>& index;

  void read_components(const Block& block) {
    const auto table = block.table("_chem_comp");
    if (table->rows() == 0) return;
    const Column code = table->required("id"), type = table->required("type");
    const Column name = table->column("name"), letter = table->column("one_letter_code");
    const Column parent = table->column("mon_nstd_parent_comp_id");
    for (size_t row = 0; row < table->rows(); ++row) {
      Component component;
      component.code = named(code, row);
      component.name = std::string(name.text(row));
      component.linking = linking_of(type.text(row));
      const std::string_view one = letter.text(row);
      if (one.size() == 1) component.one_letter = one[0];
      const std::string_view parents = parent.text(row);  // "SER,TYR,GLY" in chromophores
      if (!parents.empty() && parents.size() <= 5 && parents.find(',') == std::string_view::npos)
        component.parent = ShortName(parents);
      if (!index.emplace(component.code, components.size()).second)
        fail<BadInput>("{}: the component '{}' stands twice", code.where(row),
                       component.code.view());
      components.push_back(std::move(component));
    }
  }

  void read_atoms(const Block& block) {
    const auto table = block.table("_chem_comp_atom");
    if (table->rows() == 0) return;
    const Column comp = table->required("comp_id"), name = table->required("atom_id");
    const Column symbol = table->required("type_symbol"), charge = table->column("charge");
    const Column leaving = table->column("pdbx_leaving_atom_flag");
    const std::array<Column, 3> ideal = {table->column("pdbx_model_Cartn_x_ideal"),
                                         table->column("pdbx_model_Cartn_y_ideal"),
                                         table->column("pdbx_model_Cartn_z_ideal")};
    const std::array<Column, 3> model = {table->column("model_Cartn_x"),
                                         table->column("model_Cartn_y"),
                                         table->column("model_Cartn_z")};
    Component* current = nullptr;
    for (size_t row = 0; row < table->rows(); ++row) {
      current = component_of(comp, row, current);
      ComponentAtom atom;
      atom.element = atomic_number(symbol.text(row));
      if (is_hydrogen(atom.element)) continue;
      atom.name = named(name, row);
      atom.charge = static_cast<int8_t>(std::clamp(charge.integer(row, 0), -128, 127));
      atom.leaving = leaving.text(row) == "Y";
      atom.has_ideal = position(ideal, row, atom.ideal);
      atom.has_model = position(model, row, atom.model);
      if (current->atoms.size() >= 0xffff)
        fail<BadInput>("{}: more than 65535 heavy atoms in '{}'", comp.where(row), comp.text(row));
      current->atoms.push_back(atom);
    }
  }

  void read_bonds(const Block& block) {
    const auto table = block.table("_chem_comp_bond");
    if (table->rows() == 0) return;
    const Column comp = table->required("comp_id");
    const Column first = table->required("atom_id_1"), second = table->required("atom_id_2");
    const Column order = table->column("value_order"),
                 aromatic = table->column("pdbx_aromatic_flag");
    Component* current = nullptr;
    for (size_t row = 0; row < table->rows(); ++row) {
      current = component_of(comp, row, current);
      const int a = current->find(named(first, row)), b = current->find(named(second, row));
      if (a < 0 || b < 0) continue;  // a bond to a hydrogen
      current->bonds.push_back({static_cast<uint16_t>(a), static_cast<uint16_t>(b)});
      current->bond_kinds.push_back(kind_of(order.text(row), aromatic.text(row) == "Y"));
    }
  }

  /// Rows in the order of numbers, each conformer whole.
  void read_conformers(const Block& block) {
    const auto table = block.table("_megafold_conformer");
    if (table->rows() == 0) return;
    const Column comp = table->required("comp_id"), number = table->required("number");
    const Column name = table->required("atom_id");
    const std::array<Column, 3> axes = {table->required("x"), table->required("y"),
                                        table->required("z")};
    std::unordered_map<ShortName, std::vector<uint8_t>> seen;  // by component: places filled
    Component* current = nullptr;
    for (size_t row = 0; row < table->rows(); ++row) {
      current = component_of(comp, row, current);
      const int atom = current->find(named(name, row));
      const int32_t which = number.integer(row, 0);
      if (atom < 0)
        fail<BadInput>("{}: '{}' has no heavy atom '{}'", name.where(row), comp.text(row),
                       name.text(row));
      if (which < 1 || which > kMaxConformers)
        fail<BadInput>("{}: a conformer's number from 1 to {}", number.where(row), kMaxConformers);
      const size_t n = current->atoms.size(), place = (static_cast<size_t>(which) - 1) * n;
      auto& filled = seen[current->code];
      if (current->conformers.size() < place + n) {
        current->conformers.resize(place + n);
        filled.resize(place + n, 0);
      }
      if (filled[place + static_cast<size_t>(atom)]++ != 0)
        fail<BadInput>("{}: atom '{}' stands twice in conformer {} of '{}'", name.where(row),
                       name.text(row), which, comp.text(row));
      if (!position(axes, row, current->conformers[place + static_cast<size_t>(atom)]))
        fail<BadInput>("{}: a coordinate is missing", axes[0].where(row));
    }
    for (const auto& [code, filled] : seen)
      for (const uint8_t is_there : filled)
        if (is_there == 0)
          fail<BadInput>("{}: a conformer of '{}' lacks an atom", comp.where(0), code.view());
  }

 private:
  static ShortName named(const Column& column, size_t row) {
    const std::string_view text = column.text(row);
    if (text.size() > ShortName::kLength)
      fail<BadInput>("{}: '{}' has more than {} characters", column.where(row), text,
                     ShortName::kLength);
    return text;
  }
  static bool position(const std::array<Column, 3>& columns, size_t row,
                       std::array<float, 3>& out) {
    for (const Column& column : columns)
      if (column.missing(row)) return false;
    for (size_t i = 0; i < 3; ++i) out[i] = static_cast<float>(columns[i].number(row, 0));
    return true;
  }
  Component* component_of(const Column& comp, size_t row, Component* current) {
    const ShortName code = named(comp, row);
    if (current != nullptr && current->code == code) return current;
    const auto found = index.find(code);
    if (found == index.end())
      fail<BadInput>("{}: '{}' has no row in _chem_comp", comp.where(row), code.view());
    return &components[found->second];
  }
};

}  // namespace

ComponentDictionary ComponentDictionary::parse(std::string content, const std::string& name) {
  ComponentDictionary out;
  std::string plain = decompress(std::move(content), name);
  out.file_ = name;
  out.version_ = sha256_hex({plain});
  const auto document = Document::parse(std::move(plain), name);
  Reader reader{out.components_, out.index_};
  for (const auto& block : document->blocks()) {
    reader.read_components(*block);
    reader.read_atoms(*block);
    reader.read_bonds(*block);
    reader.read_conformers(*block);
  }
  if (out.components_.empty())
    fail<BadInput>("{}: no _chem_comp category: this is no chemical component dictionary", name);
  out.inherit_letters();
  return out;
}

/// A modification without a letter of its own reads as what it modifies (MSE: M).
void ComponentDictionary::inherit_letters() {
  for (Component& component : components_) {
    if (component.one_letter != 'X' || component.parent.empty()) continue;
    const Component* const parent = find(component.parent);
    if (parent != nullptr) component.one_letter = parent->one_letter;
  }
}

void ComponentDictionary::overlay(const ComponentDictionary& own) {
  for (const Component& component : own.components_) {
    const auto [overlaid, is_new] = overlaid_.emplace(component.code, own.file_);
    if (!is_new)
      fail<BadInput>("{} and {}: both define the component '{}'; keep one, or give it another code",
                     overlaid->second, own.file_, component.code.view());
    const auto [found, is_unknown] = index_.emplace(component.code, components_.size());
    if (is_unknown)
      components_.push_back(component);
    else
      components_[found->second] = component;
  }
  inherit_letters();
  version_ = sha256_hex({version_, own.version_});
}

ComponentDictionary ComponentDictionary::read(const std::filesystem::path& path) {
  return parse(read_file(path), path.string());
}

}  // namespace megafold
