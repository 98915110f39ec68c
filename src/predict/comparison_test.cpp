// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Predictions of a homodimer with a ligand that reads alike from both ends, whose right names are
// known because they are made from the truth.
#include "predict/comparison.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/errors.h"
#include "model/sampler.h"
#include "model/test_batch.h"

namespace megafold {
namespace {

constexpr int64_t kChain = 160, kLigand = 12;  // atoms of a copy and of the ligand

struct Dimer {
  Entry entry = read_entry(*synthetic::cache()->structure("dimer"));
  Batch batch = test::small_batch("dimer", 92);
  at::Tensor copies[2], ligand;

  Dimer() {
    const at::Tensor truth = batch.atom_positions;
    copies[0] = truth.slice(0, 0, kChain), copies[1] = truth.slice(0, kChain, 2 * kChain);
    ligand = truth.slice(0, 2 * kChain);
    EXPECT_EQ(ligand.size(0), kLigand);
  }
  /// Turned and moved as a whole, shaken by `noise` Angstrom.
  static at::Tensor moved(const at::Tensor& x, double noise = 0.01) {
    SampleStreams streams(3, 1, 0, Purpose::augmentation, 1);
    const auto [rotation, shift] = streams.rigid();
    const at::Tensor shake = streams.normal({x.size(0), 3})[0] * noise;
    return centre_augment(x.unsqueeze(0), {}, rotation, 20 * shift)[0] + shake;
  }
};

TEST(Comparison, OfTheTruthItselfNeedsNoOtherNames) {
  const Dimer d;
  const Comparison found =
      compare(d.entry, d.batch, Dimer::moved(at::cat({d.copies[0], d.copies[1], d.ligand})));
  EXPECT_DOUBLE_EQ(found.lddt.score, 1);
  EXPECT_DOUBLE_EQ(found.lddt_as_deposited, 1);
  EXPECT_LT(found.rmsd, 0.03);
  EXPECT_FALSE(found.is_mirror_image());
}

TEST(Comparison, SwappedCopiesAndATurnedLigandAreNamedAnew) {
  const Dimer d;
  const at::Tensor x = Dimer::moved(at::cat({d.copies[1], d.copies[0], d.ligand.flip(0)}));
  const Comparison found = compare(d.entry, d.batch, x);
  EXPECT_DOUBLE_EQ(found.lddt.score, 1);
  EXPECT_LT(found.lddt_as_deposited, 0.9);
  EXPECT_LT(found.rmsd, 0.03);
  EXPECT_FALSE(found.is_mirror_image());
  // Its mirror image keeps the distances, and is told by the RMSD.
  const Comparison mirror = compare(d.entry, d.batch, x * at::tensor({1.0F, 1.0F, -1.0F}));
  EXPECT_DOUBLE_EQ(mirror.lddt.score, 1);
  EXPECT_GT(mirror.rmsd, 1);
  EXPECT_LT(mirror.mirror_rmsd, 0.03);
  EXPECT_TRUE(mirror.is_mirror_image());
}

TEST(Comparison, WhatIsWrongStaysWrong) {
  const Dimer d;
  const Comparison found = compare(
      d.entry, d.batch, Dimer::moved(at::cat({d.copies[1], d.copies[0], d.ligand.flip(0)}), 3));
  EXPECT_LT(found.lddt.score, 0.7);
  EXPECT_GE(found.lddt.score, found.lddt_as_deposited);
  EXPECT_GT(found.rmsd, 2);
}

TEST(Comparison, WithoutTruthThereIsNoScore) {
  Dimer d;
  std::ranges::fill(d.entry.resolved, uint8_t{0});
  const Comparison found = compare(d.entry, d.batch, d.batch.atom_positions);
  EXPECT_TRUE(std::isnan(found.lddt.score) && std::isnan(found.rmsd));
  EXPECT_TRUE(found.lddt.per_residue.empty());
}

TEST(Comparison, AStructureOfAnotherSizeIsRefusedWithBothNumbers) {
  const Dimer d;
  try {
    (void)compare(d.entry, d.batch, d.batch.atom_positions.slice(0, 1));
    FAIL() << "331 atoms were compared with 332";
  } catch (const BadInput& error) {
    EXPECT_STREQ(error.what(),
                 "entry dimer: 332 atoms, but the batch has 332 and the structure is [331, 3]");
  }
}

}  // namespace
}  // namespace megafold
