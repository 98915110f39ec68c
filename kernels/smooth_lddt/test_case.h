// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Smooth lDDT's tests: a call over poisoned memory, and its error against the reference.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "kernels/common/reference.h"
#include "kernels/smooth_lddt/implementations.h"

namespace megafold::kernels::smooth_lddt_test {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Case {
  std::vector<std::byte> x, x_true, radius, score, gradient, pairs;
  SmoothLddt params;

  /// A ball of atoms in which most pairs count; every fourth of a nucleic acid, every seventh not
  /// resolved (its truth is NaN), and two atoms of sample 0 in one place.
  Case(DType dtype, int64_t samples, int64_t atoms, double epsilon = 0) {
    const auto array = [&](std::vector<std::byte>& of, int64_t count) {
      of.resize(static_cast<size_t>(count * size_of(dtype)));
      for (int64_t i = 0; i < count; ++i) put(of.data(), dtype, i, kNan);
    };
    array(x, samples * atoms * 3);
    array(x_true, atoms * 3);
    array(radius, atoms);
    array(score, samples);
    array(gradient, samples * atoms * 3);
    array(pairs, 1);
    std::mt19937 random(static_cast<unsigned>(1000 * samples + atoms));
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < atoms * 3; ++i) {
      const double truth = 7 * normal(random);
      if (i / 3 % 7 != 6) put(x_true.data(), dtype, i, truth);
      for (int64_t s = 0; s < samples; ++s)
        put(x.data(), dtype, s * atoms * 3 + i, truth + 1.5 * normal(random));
    }
    for (int64_t l = 0; l < atoms; ++l)
      put(radius.data(), dtype, l, l % 7 == 6 ? 0 : l % 4 == 3 ? 30 : 15);
    for (int64_t k = 0; atoms > 1 && k < 3; ++k)
      put(x.data(), dtype, k, at(x.data(), dtype, 3 + k));
    params = {.samples = samples, .atoms = atoms, .epsilon = epsilon, .dtype = dtype};
    params.x = x.data();
    params.x_true = x_true.data();
    params.radius = radius.data();
    params.score = score.data();
    params.gradient = gradient.data();
    params.pairs = pairs.data();
  }

  void run(const Implementation<SmoothLddt>& implementation) {
    ASSERT_EQ(implementation.supports(params), Reasons{});
    std::vector<std::byte> workspace(static_cast<size_t>(implementation.workspace_bytes(params)),
                                     std::byte{0xff});  // NaN
    implementation.launch(params, workspace.data(), nullptr);
  }
};

/// Every number of `ours` against the reference's, by `tolerance` of the largest of its array.
inline void expect_equals_reference(const Case& ours, double tolerance) {
  const SmoothLddt& p = ours.params;
  Case wanted(p.dtype, p.samples, p.atoms, p.epsilon);
  wanted.run(kSmoothLddtReference);
  const auto compare = [&](const std::vector<std::byte>& a, const std::vector<std::byte>& b,
                           int64_t count, const char* what) {
    double largest = 0, error = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double want = at(b.data(), p.dtype, i), off = at(a.data(), p.dtype, i) - want;
      ASSERT_TRUE(std::isfinite(off)) << what << " " << i;
      largest = std::max(largest, std::abs(want));
      error = std::max(error, std::abs(off));
    }
    EXPECT_LE(error, tolerance * largest) << what;
  };
  EXPECT_EQ(at(ours.pairs.data(), p.dtype, 0), at(wanted.pairs.data(), p.dtype, 0));
  compare(ours.score, wanted.score, p.samples, "score");
  compare(ours.gradient, wanted.gradient, 3 * p.samples * p.atoms, "gradient");
}

}  // namespace megafold::kernels::smooth_lddt_test
