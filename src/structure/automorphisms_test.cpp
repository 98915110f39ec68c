// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/automorphisms.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

namespace megafold {
namespace {

Component ring(uint16_t n, BondKind kind = BondKind::aromatic) {
  Component out;
  for (uint16_t i = 0; i < n; ++i) {
    out.atoms.push_back({.name = "C", .element = 6});
    out.bonds.push_back({i, static_cast<uint16_t>((i + 1) % n)});
    out.bond_kinds.push_back(kind);
  }
  return out;
}

TEST(Automorphisms, Rings) {
  const auto found = automorphisms(ring(6));
  ASSERT_EQ(found.size(), 12U);  // six turns, each read both ways
  std::vector<uint16_t> identity(6);
  std::iota(identity.begin(), identity.end(), uint16_t{0});
  EXPECT_EQ(found.front(), identity);
  EXPECT_EQ(std::set(found.begin(), found.end()).size(), 12U);
  Component with_nitrogen = ring(6);
  with_nitrogen.atoms[2].element = 7;
  EXPECT_EQ(automorphisms(with_nitrogen).size(), 2U);
  with_nitrogen.atoms[3].charge = 1;
  EXPECT_EQ(automorphisms(with_nitrogen).size(), 1U);
  Component alternating = ring(6, BondKind::single);
  for (const size_t i : {0U, 2U, 4U}) alternating.bond_kinds[i] = BondKind::twofold;
  EXPECT_EQ(automorphisms(alternating).size(), 6U);
}

TEST(Automorphisms, MostAreCounted) {
  Component star;  // one carbon, seven fluorines: 5040 ways
  star.atoms.push_back({.name = "C", .element = 6});
  for (uint16_t i = 1; i <= 7; ++i) {
    star.atoms.push_back({.name = "F", .element = 9});
    star.bonds.push_back({0, i});
    star.bond_kinds.push_back(BondKind::single);
  }
  EXPECT_EQ(automorphisms(star, 6000).size(), 5040U);
  const auto found = automorphisms(star);
  ASSERT_EQ(found.size(), 1000U);
  for (uint16_t i = 0; i < 8; ++i) EXPECT_EQ(found.front()[i], i);
}

TEST(Automorphisms, UnboundAtomsStayThemselves) {
  Component lost = ring(4);
  lost.bonds.clear();
  lost.bond_kinds.clear();
  EXPECT_EQ(automorphisms(lost).size(), 1U);
}

// How many ways RDKit 2026.9 finds to match each of these with itself (uniquify off, chirality not
// looked at), heavy atoms alone, bonds and charges the dictionary's.
TEST(Automorphisms, AsManyAsRdkitFinds) {
  const std::map<std::string, size_t> wanted = {
      {"5IU", 2}, {"A", 2},   {"ACE", 1}, {"ACT", 1}, {"ADP", 2}, {"ALA", 1}, {"ARG", 1},
      {"ASN", 1}, {"ASP", 1}, {"ATP", 2}, {"C", 2},   {"CSO", 1}, {"CYS", 1}, {"DA", 2},
      {"DC", 2},  {"DG", 2},  {"DMS", 2}, {"DN", 2},  {"DT", 2},  {"DVA", 2}, {"EDO", 2},
      {"EPE", 4}, {"FMT", 1}, {"FTA", 8}, {"G", 2},   {"GLN", 1}, {"GLU", 1}, {"GLY", 1},
      {"GNP", 2}, {"GOL", 2}, {"HEM", 1}, {"HIS", 1}, {"ILE", 1}, {"LEU", 2}, {"LYS", 1},
      {"MES", 4}, {"MET", 1}, {"MPD", 2}, {"MSE", 1}, {"MVA", 2}, {"N", 2},   {"NAG", 1},
      {"PEG", 2}, {"PG4", 2}, {"PGE", 2}, {"PHE", 2}, {"PO4", 6}, {"PRO", 1}, {"PTR", 4},
      {"PXA", 1}, {"SAR", 1}, {"SEP", 2}, {"SER", 1}, {"SO4", 4}, {"THR", 1}, {"TPO", 2},
      {"TRP", 1}, {"TRS", 6}, {"TYR", 2}, {"U", 2},   {"UNK", 1}, {"VAL", 2}};
  const auto dictionary =
      ComponentDictionary::read(std::string(MEGAFOLD_SOURCE_DIR) + "/data/components.bcif.gz");
  for (const auto& [code, count] : wanted) {
    const Component* const component = dictionary.find(ShortName(code));
    ASSERT_NE(component, nullptr) << code;
    EXPECT_EQ(automorphisms(*component).size(), count) << code;
  }
}

}  // namespace
}  // namespace megafold
