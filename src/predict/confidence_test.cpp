// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/confidence.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/errors.h"
#include "base/philox.h"
#include "model/test_batch.h"
#include "predict/confidence_json.h"

namespace megafold {
namespace {

using nlohmann::json;

/// Logits that put all of a probability on one bin.
at::Tensor certain(const at::Tensor& bin, int64_t bins) {
  return at::one_hot(bin, bins).to(at::kDouble) * 200;
}

ConfidenceLogits logits_of(const Batch& batch, const at::Tensor& pae_bin) {
  const int64_t n = batch.num_tokens(), a = batch.num_atoms();
  return {certain(at::full({a}, 40, at::kLong), 50), certain(pae_bin, 64),
          certain(at::zeros({n, n}, at::kLong), 64), certain(at::ones({a}, at::kLong), 2)};
}

TEST(Confidence, TmScaleAndScoreAreTheFormulas) {
  EXPECT_NEAR(tm_scale(100), 1.24 * std::cbrt(85.0) - 1.8, 1e-12);
  EXPECT_EQ(tm_scale(3), tm_scale(19));  // short chains share the floor
  // Three tokens; a row's mean counts its pairs alone, and the best row with a frame is taken.
  const at::Tensor bins = at::tensor({0L, 0L, 63L, 4L, 4L, 4L, 0L, 0L, 0L}).view({3, 3});
  const at::Tensor p = at::softmax(certain(bins, 64), -1);
  const at::Tensor frame = at::tensor({1, 1, 0}).to(at::kBool);
  const double d0 = tm_scale(3);
  const auto tm = [&](double e) { return 1 / (1 + (e / d0) * (e / d0)); };
  EXPECT_NEAR(predicted_tm(p, frame, at::ones({3, 3}, at::kBool), 3),
              std::max((2 * tm(0.25) + tm(31.75)) / 3, tm(2.25)), 1e-9);
  at::Tensor pairs = at::ones({3, 3}, at::kBool);
  pairs[0][2].fill_(false);
  EXPECT_NEAR(predicted_tm(p, frame, pairs, 3), tm(0.25), 1e-9);
  EXPECT_TRUE(std::isnan(predicted_tm(p, at::zeros({3}, at::kBool), pairs, 3)));
}

TEST(Confidence, TheDialectSaysWhoseFramesPtmLooksFrom) {
  // The ligand's atoms have no frame of their own where they lie on a line. Their rows alone are
  // right, so pTM tells whether they are looked from.
  const Batch batch = test::small_batch("dimer", 92);
  const int64_t n = batch.num_tokens();
  const at::Tensor pae_bin = batch.is_ligand.logical_not().to(at::kLong).unsqueeze(1) * 63;
  const ConfidenceLogits logits = logits_of(batch, pae_bin.expand({n, n}));
  const auto ptm = [&](const at::Tensor& x, Dialect dialect) {
    return confidence_scores(batch, logits, at::zeros({n, n, 64}, at::kDouble), x,
                             conventions_of(dialect))
        .ptm;
  };
  const at::Tensor line = batch.atom_positions.to(at::kDouble);  // as the entry has the ligand
  at::Tensor bent = line.clone();
  for (int64_t a = 0; a < batch.num_atoms(); ++a)
    if (batch.is_ligand[batch.atom_to_token[a]].item<bool>()) bent[a][0] += a % 2 == 0 ? 1.0 : 0.0;
  EXPECT_LT(ptm(line, Dialect::openfold3), 0.1);
  EXPECT_GT(ptm(bent, Dialect::openfold3), 0.9);
  // The others take the conformer's, whatever the structure is.
  EXPECT_GT(ptm(line, Dialect::protenix), 0.9);
  EXPECT_DOUBLE_EQ(ptm(line, Dialect::protenix), ptm(bent, Dialect::protenix));
}

TEST(Confidence, AComplexHasScoresByChainAndPair) {
  const Batch batch = test::small_batch("dimer", 92);
  const int64_t n = batch.num_tokens();
  // Right within chains (0.25 A), wrong between them (31.75 A).
  const at::Tensor same = batch.asym_id.unsqueeze(1).eq(batch.asym_id.unsqueeze(0));
  const at::Tensor x = batch.atom_positions.to(at::kDouble);
  const Confidence c = confidence_scores(batch, logits_of(batch, same.logical_not() * 63),
                                         at::zeros({n, n, 64}, at::kDouble), x);
  ASSERT_EQ(c.chain_ptm.size(), 3U);
  EXPECT_GT(c.chain_ptm[0], 0.9);
  EXPECT_LT(c.chain_pair_iptm[1], 0.05);
  EXPECT_LT(c.iptm, 0.05);
  EXPECT_GT(c.ptm, c.iptm);
  EXPECT_NEAR(c.chain_pair_pae_min[0], 0.25, 1e-9);
  EXPECT_NEAR(c.chain_pair_pae_min[1], 31.75, 1e-9);
  EXPECT_NEAR(c.plddt[5], 81, 1e-4);           // the middle of bin 40 of 50
  EXPECT_NEAR(c.contact[7], 19.0 / 64, 1e-6);  // 2 .. 7.94 A of 2 .. 22 A
  EXPECT_NEAR(c.ranking_score, 0.8 * c.iptm + 0.2 * c.ptm - (c.has_clash ? 100 : 0), 1e-12);
}

TEST(Confidence, OneChainRanksByPtmAlone) {
  const Batch batch = test::small_batch("mono", 30);
  const Confidence c =
      confidence_scores(batch, logits_of(batch, at::full({30, 30}, 2, at::kLong)),
                        at::zeros({30, 30, 64}, at::kDouble), batch.atom_positions);
  EXPECT_TRUE(std::isnan(c.iptm));
  EXPECT_DOUBLE_EQ(c.ranking_score, c.ptm);
  EXPECT_FALSE(c.has_clash);
  const json summary = summary_json(c);
  EXPECT_TRUE(summary["iptm"].is_null());
  EXPECT_TRUE(summary["chain_iptm"][0].is_null());
  EXPECT_EQ(summary["has_clash"], 0.0);
}

TEST(Confidence, ClashNeedsTwoPolymersInOnePlace) {
  const Batch batch = test::small_batch("dimer", 92);
  at::Tensor x = at::arange(batch.num_atoms(), at::kDouble).unsqueeze(1).expand({-1, 3}) * 10;
  EXPECT_FALSE(chains_clash(batch, x));
  const at::Tensor asym = batch.asym_id.index_select(0, batch.atom_to_token);
  const at::Tensor first = asym.eq(1).nonzero().squeeze(-1),
                   second = asym.eq(2).nonzero().squeeze(-1);
  const at::Tensor ligand = asym.eq(3).nonzero().squeeze(-1);
  // A ligand upon a polymer is no clash of two polymers.
  const at::Tensor bound =
      x.index_copy(0, ligand, x.index_select(0, first.slice(0, 0, ligand.size(0))));
  EXPECT_FALSE(chains_clash(batch, bound));
  const int64_t half = first.size(0) / 2;
  const auto moved = [&](int64_t atoms) {
    return x.index_copy(0, second.slice(0, 0, atoms),
                        x.index_select(0, first.slice(0, 0, atoms)) + 0.5);
  };
  EXPECT_FALSE(chains_clash(batch, moved(half)));  // not more than half
  EXPECT_TRUE(chains_clash(batch, moved(half + 1)));
}

}  // namespace
}  // namespace megafold
