// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/superpose.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/errors.h"
#include "base/philox.h"

namespace megafold {
namespace {

std::vector<float> cloud(size_t atoms) {
  Random random(5, 0, 0, Purpose::noise);
  std::vector<float> xyz(3 * atoms);
  for (float& x : xyz) x = static_cast<float>(10 * random.normal());
  return xyz;
}

// Rotated and shifted; with `mirror`, reflected first.
std::vector<float> moved(const std::vector<float>& xyz, bool mirror = false) {
  Random random(6, 0, 0, Purpose::augmentation);
  const auto r = random.rotation();
  std::vector<float> out;
  for (size_t a = 0; a < xyz.size(); a += 3) {
    for (size_t i = 0; i < 3; ++i) {
      double sum = 7.0 * static_cast<double>(i) - 30;
      for (size_t k = 0; k < 3; ++k) sum += r[3 * i + k] * xyz[a + k] * (mirror && k == 0 ? -1 : 1);
      out.push_back(static_cast<float>(sum));
    }
  }
  return out;
}

TEST(Superpose, FindsARigidMotion) {
  const auto xyz = cloud(50);
  const Superposed result = superpose(xyz, moved(xyz), std::vector<uint8_t>(50, 1));
  EXPECT_LT(result.rmsd, 1e-5);
  for (size_t i = 0; i < xyz.size(); ++i) EXPECT_NEAR(result.position[i], xyz[i], 1e-4);
}

TEST(Superpose, OnlyMarkedAtomsCount) {
  const auto xyz = cloud(50);
  auto other = moved(xyz);
  std::vector<uint8_t> mask(50, 1);
  for (size_t a = 40; a < 50; ++a) mask[a] = 0, other[3 * a] += 100;
  EXPECT_LT(superpose(xyz, other, mask).rmsd, 1e-5);
  mask[45] = 1;
  EXPECT_GT(superpose(xyz, other, mask).rmsd, 1);
}

TEST(Superpose, AMirrorImageStaysOne) {
  const auto xyz = cloud(50);
  EXPECT_GT(superpose(xyz, moved(xyz, true), std::vector<uint8_t>(50, 1)).rmsd, 3);
}

TEST(Superpose, FewAtomsAndBadInput) {
  const std::vector<float> one{1, 2, 3}, two{4, 4, 4};
  EXPECT_EQ(superpose(one, two, std::vector<uint8_t>{1}).position, one);
  EXPECT_TRUE(std::isnan(superpose(one, two, std::vector<uint8_t>{0}).rmsd));
  EXPECT_THROW((void)superpose(one, two, std::vector<uint8_t>{1, 1}), BadInput);
  const std::vector<float> nan{1, std::numeric_limits<float>::quiet_NaN(), 3};
  EXPECT_THROW((void)superpose(one, nan, std::vector<uint8_t>{1}), BadInput);
}

}  // namespace
}  // namespace megafold
