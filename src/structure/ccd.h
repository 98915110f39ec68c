// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The chemical component dictionary (CCD): what a residue's code means. Heavy atoms alone are kept,
// in the dictionary's order, because every later part leaves hydrogens out (SI 2.5.4).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "structure/short_name.h"

namespace megafold {

/// What a bond counts as when atoms are compared: its order, or that it is aromatic.
enum class BondKind : uint8_t {
  single = 1,
  twofold = 2,
  threefold = 3,
  fourfold = 4,
  aromatic = 5
};

/// How a component joins a chain, by its `_chem_comp.type`.
enum class Linking : uint8_t { none, peptide, rna, dna };

struct ComponentAtom {
  ShortName name;
  uint8_t element = 0;  // atomic number
  int8_t charge = 0;
  bool leaving = false;  // lost when the component is bonded here (pdbx_leaving_atom_flag)
  bool has_ideal = false, has_model = false;
  std::array<float, 3> ideal{}, model{};  // Angstrom
};

struct Component {
  ShortName code;
  std::string name;
  Linking linking = Linking::none;
  char one_letter = 'X';  // its own, else its parent's; X where there is none
  ShortName parent;       // the standard component that this one modifies, or empty
  std::vector<ComponentAtom> atoms;
  std::vector<std::array<uint16_t, 2>> bonds;  // indices of atoms
  std::vector<BondKind> bond_kinds;            // of the bonds
  /// More reference conformers, Angstrom: [count][atoms], each with every atom. Empty: the ideal
  /// coordinates, or the model's, are the only one.
  std::vector<std::array<float, 3>> conformers;

  /// Index of an atom; -1 where there is none of that name.
  [[nodiscard]] int find(ShortName name_of_atom) const {
    for (size_t i = 0; i < atoms.size(); ++i)
      if (atoms[i].name == name_of_atom) return static_cast<int>(i);
    return -1;
  }
};

class ComponentDictionary {
 public:
  /// Reads BinaryCIF or text CIF, packed or not: one block with all components (BinaryCIF) or a
  /// block for each (the wwPDB's components.cif). Beside the wwPDB's categories it knows
  /// _megafold_conformer (comp_id, number from 1, atom_id, x, y, z), which `megafold-conformers`
  /// writes. Throws BadInput.
  static ComponentDictionary read(const std::filesystem::path& path);
  static ComponentDictionary parse(std::string content, const std::string& name);

  /// Lays a user's own components over these: a code that is here already means theirs from now
  /// on. Throws BadInput where two such files define one code.
  void overlay(const ComponentDictionary& own);

  /// nullptr where the dictionary has no such component.
  [[nodiscard]] const Component* find(ShortName code) const {
    const auto found = index_.find(code);
    return found == index_.end() ? nullptr : &components_[found->second];
  }
  [[nodiscard]] const std::vector<Component>& components() const { return components_; }
  /// SHA-256 of the unpacked file, and of those laid over it: part of a structure's key.
  [[nodiscard]] const std::string& version() const { return version_; }
  [[nodiscard]] const std::string& file() const { return file_; }

 private:
  void inherit_letters();

  std::vector<Component> components_;
  std::unordered_map<ShortName, size_t> index_;
  std::unordered_map<ShortName, std::string> overlaid_;  // code -> the file that defines it
  std::string version_, file_;
};

/// Writes components as BinaryCIF, gzipped where the name ends in .gz; heavy atoms and what else a
/// Component holds, so that reading it gives the same components. Throws Device (base/publish.h).
void write_dictionary(const std::filesystem::path& path,
                      const std::vector<const Component*>& components);

}  // namespace megafold
