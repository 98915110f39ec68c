// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "features/vocabulary.h"

#include <array>
#include <unordered_map>

namespace megafold {
namespace {

// In the order of the classes 0..30 (2.1; representative atoms: 2.4).
constexpr std::array<StandardResidue, 31> kResidues = {{
    {"ALA", 0, "CA", "CB"},  {"ARG", 1, "CA", "CB"},  {"ASN", 2, "CA", "CB"},
    {"ASP", 3, "CA", "CB"},  {"CYS", 4, "CA", "CB"},  {"GLN", 5, "CA", "CB"},
    {"GLU", 6, "CA", "CB"},  {"GLY", 7, "CA", "CA"},  {"HIS", 8, "CA", "CB"},
    {"ILE", 9, "CA", "CB"},  {"LEU", 10, "CA", "CB"}, {"LYS", 11, "CA", "CB"},
    {"MET", 12, "CA", "CB"}, {"PHE", 13, "CA", "CB"}, {"PRO", 14, "CA", "CB"},
    {"SER", 15, "CA", "CB"}, {"THR", 16, "CA", "CB"}, {"TRP", 17, "CA", "CB"},
    {"TYR", 18, "CA", "CB"}, {"VAL", 19, "CA", "CB"}, {"UNK", 20, "CA", "CB"},
    {"A", 21, "C1'", "C4"},  {"G", 22, "C1'", "C4"},  {"C", 23, "C1'", "C2"},
    {"U", 24, "C1'", "C2"},  {"N", 25, "C1'", ""},    {"DA", 26, "C1'", "C4"},
    {"DG", 27, "C1'", "C4"}, {"DC", 28, "C1'", "C2"}, {"DT", 29, "C1'", "C2"},
    {"DN", 30, "C1'", ""},
}};

}  // namespace

const StandardResidue* find_standard(ShortName code) {
  static const std::unordered_map<ShortName, const StandardResidue*> kIndex = [] {
    std::unordered_map<ShortName, const StandardResidue*> index;
    for (const StandardResidue& residue : kResidues) index.emplace(residue.code, &residue);
    return index;
  }();
  const auto found = kIndex.find(code);
  return found == kIndex.end() ? nullptr : found->second;
}

}  // namespace megafold
