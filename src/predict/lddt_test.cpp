// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/lddt.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "base/errors.h"
#include "base/philox.h"

namespace megafold {
namespace {

struct Cloud {
  std::vector<float> truth, predicted;
  std::vector<uint8_t> resolved;
  std::vector<int32_t> residue;
  [[nodiscard]] Lddt score() const { return lddt(truth, predicted, resolved, residue); }
};

// One atom per residue at these places along x.
Cloud line(std::vector<float> truth_x, std::vector<float> predicted_x) {
  Cloud c;
  for (size_t i = 0; i < truth_x.size(); ++i) {
    c.truth.insert(c.truth.end(), {truth_x[i], 0, 0});
    c.predicted.insert(c.predicted.end(), {predicted_x[i], 0, 0});
    c.resolved.push_back(1);
    c.residue.push_back(static_cast<int32_t>(i));
  }
  return c;
}

// A random coil of `num_residues` residues with 1 to 8 atoms, and a disturbed copy.
Cloud coil(int num_residues, double noise, uint64_t seed) {
  Cloud c;
  Random random(seed, 0, 0, Purpose::noise);
  std::array<double, 3> at{};
  for (int r = 0; r < num_residues; ++r) {
    for (double& x : at) x += 2.2 * random.normal();
    const uint64_t atoms = 1 + random.below(8);
    for (uint64_t a = 0; a < atoms; ++a) {
      for (const double x : at) {
        const double y = x + random.normal();
        c.truth.push_back(static_cast<float>(y));
        c.predicted.push_back(static_cast<float>(y + noise * random.normal()));
      }
      c.resolved.push_back(random.below(10) != 0);
      c.residue.push_back(r);
    }
  }
  return c;
}

// The definition, written again as three plain loops over an A x A table.
Lddt brute_force(const Cloud& c) {
  const size_t n = c.resolved.size();
  const auto distance = [](const std::vector<float>& xyz, size_t a, size_t b) {
    return std::hypot(double{xyz[3 * a]} - xyz[3 * b], double{xyz[3 * a + 1]} - xyz[3 * b + 1],
                      double{xyz[3 * a + 2]} - xyz[3 * b + 2]);
  };
  const size_t num_residues = n == 0 ? 0 : static_cast<size_t>(c.residue.back()) + 1;
  Lddt out;
  std::vector<double> sum(num_residues + 1), count(num_residues + 1);  // last: all
  for (size_t a = 0; a < n; ++a) {
    for (size_t b = 0; b < n; ++b) {
      if (c.residue[a] == c.residue[b] || !c.resolved[a] || !c.resolved[b]) continue;
      const double d = distance(c.truth, a, b);
      if (d > 15) continue;
      double kept = 0;
      for (const double t : {0.5, 1.0, 2.0, 4.0}) {
        if (std::abs(distance(c.predicted, a, b) - d) <= t) kept += 0.25;
      }
      for (const size_t r : {static_cast<size_t>(c.residue[a]), num_residues}) {
        sum[r] += kept, count[r] += 1;
      }
    }
  }
  for (size_t r = 0; r < num_residues; ++r) out.per_residue.push_back(sum[r] / count[r]);
  out.score = sum[num_residues] / count[num_residues];
  out.num_pairs = static_cast<int64_t>(count[num_residues]) / 2;
  return out;
}

TEST(Lddt, EqualStructuresScoreOne) {
  const Cloud c = coil(60, 0, 1);
  EXPECT_EQ(c.score().score, 1.0);
}

TEST(Lddt, CountsThresholdsByHand) {
  // Distances 3, 4, 7; predicted 3.75, 4, 7.75: errors 0.75 (3 of 4 kept), 0 (4 of 4), 0.75 (3).
  const Lddt result = line({0, 3, 7}, {0, 3.75F, 7.75F}).score();
  EXPECT_EQ(result.num_pairs, 3);
  EXPECT_DOUBLE_EQ(result.score, (0.75 + 1.0 + 0.75) / 3);
  ASSERT_EQ(result.per_residue.size(), 3U);
  EXPECT_DOUBLE_EQ(result.per_residue[0], 0.75);
  EXPECT_DOUBLE_EQ(result.per_residue[1], 0.875);
  EXPECT_DOUBLE_EQ(result.per_residue[2], 0.875);
}

TEST(Lddt, ThresholdAndRadiusAreInclusive) {
  EXPECT_DOUBLE_EQ(line({0, 3}, {0, 3.5F}).score().score, 1.0);
  EXPECT_DOUBLE_EQ(line({0, 3}, {0, 7}).score().score, 0.25);
  EXPECT_DOUBLE_EQ(line({0, 3}, {0, 7.125F}).score().score, 0.0);
  EXPECT_EQ(line({0, 15}, {0, 15}).score().num_pairs, 1);
  EXPECT_EQ(line({0, 15.001F}, {0, 15}).score().num_pairs, 0);
}

TEST(Lddt, RadiusIsThatOfTheTruth) {
  EXPECT_EQ(line({0, 20}, {0, 2}).score().num_pairs, 0);
  EXPECT_EQ(line({0, 2}, {0, 20}).score().num_pairs, 1);
}

TEST(Lddt, PairsWithinAResidueDoNotCount) {
  Cloud c = line({0, 1, 2}, {0, 9, 2});
  c.residue = {0, 0, 1};
  const Lddt result = c.score();
  EXPECT_EQ(result.num_pairs, 2);
  EXPECT_DOUBLE_EQ(result.score, 0.5);
}

TEST(Lddt, AMirrorImageKeepsAllDistances) {
  Cloud c = coil(40, 0, 2);
  for (size_t i = 0; i < c.predicted.size(); i += 3) c.predicted[i] = -c.predicted[i];
  EXPECT_DOUBLE_EQ(c.score().score, 1.0);
}

TEST(Lddt, UnresolvedAtomsAndEmptyInput) {
  Cloud c = line({0, 3}, {0, 3});
  c.resolved[1] = 0;
  c.truth[3] = std::numeric_limits<float>::quiet_NaN();  // never read
  EXPECT_TRUE(std::isnan(c.score().score));
  EXPECT_TRUE(std::isnan(c.score().per_residue[0]));
  EXPECT_TRUE(std::isnan(lddt({}, {}, {}, {}).score));
}

TEST(Lddt, ANonFinitePredictionKeepsNothing) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_DOUBLE_EQ(line({0, 3}, {nan, nan}).score().score, 0.0);
  EXPECT_DOUBLE_EQ(line({0, 3}, {0, std::numeric_limits<float>::infinity()}).score().score, 0.0);
}

TEST(Lddt, RefusesBadInputWithTheValues) {
  Cloud c = line({0, 3}, {0, 3});
  c.truth[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW((void)c.score(), BadInput);
  c = line({0, 3}, {0, 3});
  c.residue[1] = -4;
  EXPECT_THROW((void)c.score(), BadInput);
  c.predicted.pop_back();
  try {
    (void)c.score();
    FAIL() << "lengths that differ were accepted";
  } catch (const BadInput& error) {
    EXPECT_NE(std::string(error.what()).find("5 predicted"), std::string::npos) << error.what();
  }
}

TEST(Lddt, EqualsBruteForce) {
  for (const double noise : {0.1, 0.5, 2.0, 10.0}) {
    const Cloud c = coil(150, noise, 7);
    const Lddt fast = c.score(), slow = brute_force(c);
    EXPECT_EQ(fast.num_pairs, slow.num_pairs);
    EXPECT_NEAR(fast.score, slow.score, 1e-12);
    ASSERT_EQ(fast.per_residue.size(), slow.per_residue.size());
    for (size_t r = 0; r < slow.per_residue.size(); ++r) {
      ASSERT_EQ(std::isnan(fast.per_residue[r]), std::isnan(slow.per_residue[r])) << r;
      if (!std::isnan(slow.per_residue[r])) {
        EXPECT_NEAR(fast.per_residue[r], slow.per_residue[r], 1e-12) << r;
      }
    }
  }
}

TEST(Lddt, AtomsFarApartNeedNoLargeGrid) {
  const Cloud c = line({-3e7F, -2.9999996e7F, 1e9F}, {-3e7F, -2.9999996e7F, 1e9F});
  EXPECT_EQ(c.score().num_pairs, 1);
  EXPECT_EQ(c.score().score, 1.0);
}

TEST(Lddt, ALargeStructureIsStreamed) {
  const Cloud c = coil(20000, 0.5, 3);  // about 90,000 atoms: an A x A table would be 32 GB
  const double score = c.score().score;
  EXPECT_GT(score, 0.5);
  EXPECT_LT(score, 1.0);
}

}  // namespace
}  // namespace megafold
