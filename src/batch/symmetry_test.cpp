// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/symmetry.h"

#include <gtest/gtest.h>

#include "base/errors.h"
#include "batch/sample.h"
#include "batch/synthetic.h"

namespace megafold {
namespace {

std::vector<int32_t> range(int32_t first, int32_t last) {
  std::vector<int32_t> out;
  for (int32_t t = first; t < last; ++t) out.push_back(t);
  return out;
}

/// Chains of 40, 40 (copies, four atoms a token) and a ligand of 12 atoms.
StructureView dimer() {
  return StructureView(synthetic::cache()->structure("dimer"));
}

TEST(Symmetry, AContiguousCropMayTakeTheOtherCopy) {
  const StructureView s = dimer();
  const Symmetry found = find_symmetry(s, range(10, 20), false);
  ASSERT_EQ(found.molecules.size(), 2U);  // not the ligand, which the crop does not have
  EXPECT_EQ(found.molecules[0].tokens, range(0, 40));
  EXPECT_EQ(found.molecules[1].tokens, range(40, 80));
  EXPECT_EQ(found.molecules[0].entity, found.molecules[1].entity);
  EXPECT_TRUE(found.molecules[0].polymer);
  EXPECT_TRUE(found.components.empty());
  EXPECT_EQ(found.tokens, range(10, 20));
  ASSERT_EQ(found.resolved.size(), 320U);
  for (size_t a = 0; a < 320; ++a) {
    EXPECT_EQ(found.resolved[a], s.resolved[a]);
    for (size_t k = 0; k < 3; ++k)
      EXPECT_EQ(found.position[3 * a + k], s.resolved[a] != 0 ? s.position[3 * a + k] : 0.0F);
  }
}

TEST(Symmetry, ASpatialCropKeepsToItsMolecules) {
  const StructureView s = dimer();
  std::vector<int32_t> crop = range(50, 60);
  const std::vector<int32_t> ligand = range(82, 85);
  crop.insert(crop.end(), ligand.begin(), ligand.end());
  const Symmetry found = find_symmetry(s, crop, true);
  ASSERT_EQ(found.molecules.size(), 2U);
  EXPECT_EQ(found.molecules[0].tokens, range(0, 40));   // the second chain, counted from 0
  EXPECT_EQ(found.molecules[1].tokens, range(40, 52));  // the whole ligand
  EXPECT_FALSE(found.molecules[1].polymer);
  EXPECT_EQ(found.tokens.front(), 10);
  EXPECT_EQ(found.tokens.back(), 44);
  ASSERT_EQ(found.components.size(), 1U);
  EXPECT_EQ(found.components[0].first_atom, 160);
  EXPECT_EQ(found.components[0].count, 12);
  ASSERT_EQ(found.components[0].permutations.size(), 24U);
  for (int32_t k = 0; k < 12; ++k) {
    EXPECT_EQ(found.components[0].permutations[static_cast<size_t>(k)], k);
    EXPECT_EQ(found.components[0].permutations[static_cast<size_t>(12 + k)], 11 - k);
  }
  for (size_t t = 0; t < 52; ++t) {
    const size_t from = t + 40;
    EXPECT_EQ(found.atom_count[t], s.atom_count[from]);
    EXPECT_EQ(found.atom_start[t], s.atom_start[from] - 160);
    EXPECT_EQ(found.center_atom[t], s.center_atom[from] - 160);
  }
}

TEST(Symmetry, UnlikeCopiesAreRefused) {
  auto record = synthetic::structure("x", {{.length = 5}, {.length = 6}});
  record->set<int32_t>("chain_molecule_entity", ArrayType::i32, {2}, {0, 0});
  const StructureView s(record);
  EXPECT_THROW(find_symmetry(s, {0}, false), Corrupt);
  EXPECT_NO_THROW(find_symmetry(s, {0}, true));
}

TEST(Symmetry, PermutationsThatDoNotFitAreRefused) {
  const auto broken = [](const char* array, std::vector<int32_t> values) {
    auto record = synthetic::structure("x", {{.type = ChainType::ligand, .length = 2}});
    const auto n = static_cast<int64_t>(values.size());
    record->set<int32_t>(array, ArrayType::i32, {n}, values);
    EXPECT_THROW(StructureView{record}, Corrupt) << array;
  };
  broken("permutation", {0, 1, 1, 2});
  broken("permutation", {0, 1, 1});
  broken("permutation_atoms", {3});
  broken("permutation_start", {1});
  broken("permutation_count", {1});
  broken("residue_permutation", {1});
  broken("residue_permutation", {0, 0});
  broken("chain_molecule", {1});
  broken("chain_molecule_entity", {-1});
}

TEST(Symmetry, ComesWithTheBatch) {
  const auto cache = synthetic::cache();
  const Batch batch = make_batch(
      dimer(), [&](const std::string& key) { return cache->alignment(key); },
      {.crop = {.tokens = 50}}, {}, 7, 3);
  ASSERT_NE(batch.symmetry, nullptr);
  ASSERT_EQ(std::ssize(batch.symmetry->tokens), batch.num_tokens());
  // The batch's own labels are the truth's at these tokens.
  int64_t atom = 0;
  for (const int32_t t : batch.symmetry->tokens)
    for (int32_t k = 0; k < batch.symmetry->atom_count[static_cast<size_t>(t)]; ++k, ++atom) {
      const auto from = static_cast<size_t>(batch.symmetry->atom_start[static_cast<size_t>(t)] + k);
      for (size_t d = 0; d < 3; ++d)
        EXPECT_EQ(batch.atom_positions[atom][static_cast<int64_t>(d)].item<float>(),
                  batch.symmetry->position[3 * from + d]);
    }
  EXPECT_EQ(atom, batch.num_atoms());
}

}  // namespace
}  // namespace megafold
