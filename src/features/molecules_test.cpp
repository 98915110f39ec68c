// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "features/molecules.h"

#include <gtest/gtest.h>

namespace megafold {
namespace {

Chain chain(ChainType type,
            const std::vector<std::pair<const char*, std::vector<const char*>>>& residues) {
  Chain out;
  out.type = type;
  for (const auto& [code, atoms] : residues) {
    Residue residue;
    residue.code = code;
    for (const char* const name : atoms) residue.atoms.push_back({.name = name});
    out.residues.push_back(std::move(residue));
  }
  return out;
}

Chain protein() {
  return chain(ChainType::protein, {{"ALA", {"N", "CA"}}, {"ASN", {"N", "CA", "ND2"}}});
}
Chain sugar() {
  return chain(ChainType::ligand, {{"NAG", {"C1", "C2"}}});
}

/// ASN's ND2 to the sugar's C1.
Bond glycosylation(int32_t protein_chain, int32_t sugar_chain) {
  return {{protein_chain, 1, 2}, {sugar_chain, 0, 0}};
}

std::vector<MoleculeOfChain> find(const Structure& structure, const std::vector<int32_t>& entity) {
  std::set<std::pair<int32_t, int32_t>> bonded;
  for (const Bond& bond : structure.bonds) {
    bonded.insert({bond.first.chain, bond.first.residue});
    bonded.insert({bond.second.chain, bond.second.residue});
  }
  return find_molecules(structure, entity, bonded);
}

TEST(Molecules, GlycansInAnotherOrderAreCopies) {
  Structure structure;  // A carries D, B carries C, E is alone
  structure.chains = {protein(), protein(), sugar(), sugar(), sugar()};
  structure.bonds = {glycosylation(0, 3), glycosylation(1, 2)};
  const auto rows = find(structure, {1, 1, 2, 2, 2});
  const auto is = [&](size_t c, int32_t molecule, int32_t entity, int32_t rank) {
    EXPECT_EQ(rows[c].molecule, molecule) << c;
    EXPECT_EQ(rows[c].entity, entity) << c;
    EXPECT_EQ(rows[c].rank, rank) << c;
  };
  is(0, 0, 0, 0), is(3, 0, 0, 1);
  is(1, 1, 0, 0), is(2, 1, 0, 1);
  is(4, 2, 1, 0);
}

TEST(Molecules, ACopyWithoutItsGlycanIsNone) {
  Structure structure;
  structure.chains = {protein(), protein(), sugar(), sugar()};
  structure.bonds = {glycosylation(0, 2)};
  const auto rows = find(structure, {1, 1, 2, 2});
  EXPECT_NE(rows[0].entity, rows[1].entity);
  EXPECT_EQ(rows[0].molecule, rows[2].molecule);
  EXPECT_NE(rows[2].entity, rows[3].entity);
  structure.bonds.push_back({{1, 0, 0}, {3, 0, 0}});  // joined at another atom
  const auto other = find(structure, {1, 1, 2, 2});
  EXPECT_NE(other[0].entity, other[1].entity);
}

TEST(Molecules, LostAtomsMakeAnotherKind) {
  Structure structure;
  structure.chains = {sugar(), sugar(), sugar()};
  structure.chains[1].residues[0].atoms.pop_back();
  const auto rows = find(structure, {1, 1, 1});
  EXPECT_EQ(rows[0].entity, rows[2].entity);
  EXPECT_NE(rows[0].entity, rows[1].entity);
}

/// Two equal proteins bonded to one sugar from both sides, twice: the walk meets rings.
TEST(Molecules, RingsOfChains) {
  Structure structure;
  structure.chains = {protein(), sugar(),   protein(), sugar(),
                      sugar(),   protein(), protein(), sugar()};
  structure.bonds = {glycosylation(0, 1),    {{2, 0, 0}, {1, 0, 1}}, glycosylation(2, 3),
                     {{0, 0, 0}, {3, 0, 1}}, glycosylation(5, 4),    {{6, 0, 0}, {4, 0, 1}},
                     glycosylation(6, 7),    {{5, 0, 0}, {7, 0, 1}}};
  const auto rows = find(structure, {1, 2, 1, 2, 2, 1, 1, 2});
  for (const size_t c : {0U, 1U, 2U, 3U}) EXPECT_EQ(rows[c].molecule, 0);
  for (const size_t c : {4U, 5U, 6U, 7U}) EXPECT_EQ(rows[c].molecule, 1);
  EXPECT_EQ(rows[0].entity, rows[5].entity);
  std::set<int32_t> ranks;
  for (const size_t c : {0U, 1U, 2U, 3U}) ranks.insert(rows[c].rank);
  EXPECT_EQ(ranks, (std::set<int32_t>{0, 1, 2, 3}));
}

}  // namespace
}  // namespace megafold
