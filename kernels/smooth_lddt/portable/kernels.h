// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Smooth lDDT on any GPU from sm_80 on (and in the emulator), in fp32. A thread owns one atom l of
// one sample and walks over all m: every lane of a wave reads the same m, so x_m comes from the
// first-level cache, and nothing of A x A is ever stored. It takes the forces of (l, m) and of
// (m, l) alike, so that no two threads add to one place. Bound by arithmetic: 20 operations a pair
// for the true distance, 60 more and six of the special unit where a pair counts; where none of a
// wave's pairs does, they are skipped (atoms that follow each other lie near each other).
//
// PairsKernel leaves the sum of each row, and of sample 0 the number of its pairs; SumKernel adds
// the rows, each in a fixed order: the same bits on every run.
#pragma once

#include <cmath>

#include "kernels/common/arch/arch.h"
#include "kernels/smooth_lddt/smooth_lddt.h"

namespace megafold::kernels::smooth_lddt_portable {

struct Args {
  SmoothLddt params;
  float* rows = nullptr;  // [S + 1, A]: of each row the score; last the number of its pairs
};

struct PairsKernel {
  using Args = smooth_lddt_portable::Args;
  static constexpr const char* kName = "smooth_lddt";
  static constexpr int kWaves = 2, kSharedBytes = 0;
  static constexpr int64_t kTerms = 64;  // added to each other before they join a row's sum

  static constexpr int64_t blocks_of_sample(int64_t atoms, int wave) {
    return (atoms + kWaves * wave - 1) / (kWaves * wave);
  }

  template <class Arch>
  MEGAFOLD_DEVICE static void run(const Args& args, int64_t block) {
    const SmoothLddt& p = args.params;
    const int64_t of_sample = blocks_of_sample(p.atoms, Arch::kWave), s = block / of_sample;
    const int64_t l = block % of_sample * (kWaves * Arch::kWave) + Arch::thread();
    if (l >= p.atoms) return;
    const float* const x = static_cast<const float*>(p.x) + s * p.atoms * 3;
    const float* const truth = static_cast<const float*>(p.x_true);
    const float* const radius = static_cast<const float*>(p.radius);
    const auto epsilon = static_cast<float>(p.epsilon);
    const float reach = radius[l], x0 = x[3 * l], x1 = x[3 * l + 1], x2 = x[3 * l + 2];
    const float t0 = truth[3 * l], t1 = truth[3 * l + 1], t2 = truth[3 * l + 2];
    float score = 0.0F, g0 = 0.0F, g1 = 0.0F, g2 = 0.0F, pairs = 0.0F;
    for (int64_t first = 0; reach > 0.0F && first < p.atoms; first += kTerms) {
      const int64_t end = first + kTerms < p.atoms ? first + kTerms : p.atoms;
      float some = 0.0F, s0 = 0.0F, s1 = 0.0F, s2 = 0.0F;
      for (int64_t m = first; m < end; ++m) {
        const float u0 = t0 - truth[3 * m], u1 = t1 - truth[3 * m + 1], u2 = t2 - truth[3 * m + 2];
        const float square = u0 * u0 + u1 * u1 + u2 * u2 + epsilon;
        const float other = radius[m], farther = reach > other ? reach : other;
        if (m == l || !(other > 0.0F) || !(square < farther * farther)) continue;
        const float d_true = sqrtf(square);
        const float here = d_true < reach ? 1.0F : 0.0F, there = d_true < other ? 1.0F : 0.0F;
        const float v0 = x0 - x[3 * m], v1 = x1 - x[3 * m + 1], v2 = x2 - x[3 * m + 2];
        const float d = sqrtf(v0 * v0 + v1 * v1 + v2 * v2 + epsilon), error = d - d_true;
        // With E = exp(|d - d_gt|) every sigmoid is 1 / (1 + E exp(-c)). Past 80 A each is 0, and
        // the limit keeps NaN.
        const float size = error < 0.0F ? -error : error;
        const float e = Arch::exp2((size > 80.0F ? 80.0F : size) * 1.44269504F);
        float value = 0.0F, slope = 0.0F;
        MEGAFOLD_UNROLL
        for (int c = 0; c < 4; ++c) {
          constexpr float kFactor[] = {0.60653066F, 0.36787944F, 0.13533528F, 0.018315639F};
          const float sigmoid = 1.0F / (1.0F + e * kFactor[c]);
          value += sigmoid;
          slope += sigmoid * (1.0F - sigmoid);
        }
        some += here * value;
        pairs += here;
        // d score / d |error| = -slope / 4; none where the distance is exactly right, or where two
        // atoms lie in one place.
        const float sign = error > 0.0F ? -0.25F : error < 0.0F ? 0.25F : 0.0F;
        const float pull = sign * (here + there) * slope * (d > 0.0F ? 1.0F / d : 0.0F);
        s0 += pull * v0;
        s1 += pull * v1;
        s2 += pull * v2;
      }
      score += some;
      g0 += s0;
      g1 += s1;
      g2 += s2;
    }
    float* const gradient = static_cast<float*>(p.gradient) + (s * p.atoms + l) * 3;
    gradient[0] = g0;
    gradient[1] = g1;
    gradient[2] = g2;
    args.rows[s * p.atoms + l] = 0.25F * score;
    if (s == 0) args.rows[p.samples * p.atoms + l] = pairs;
  }
};

/// A block adds one of the S + 1 rows, in fp64: there may be more than 2^24 pairs.
struct SumKernel {
  using Args = smooth_lddt_portable::Args;
  static constexpr const char* kName = "smooth_lddt_sum";
  static constexpr int kWaves = 4, kSharedBytes = kWaves * 64 * 8;  // for waves of 64

  template <class Arch>
  MEGAFOLD_DEVICE static void run(const Args& args, int64_t block) {
    const SmoothLddt& p = args.params;
    const float* const row = args.rows + block * p.atoms;
    arch::Pack<double, 1> sum = {{0.0}};
    for (int64_t l = Arch::thread(); l < p.atoms; l += kWaves * Arch::kWave) sum.v[0] += row[l];
    const auto all = Arch::template shared<double>(0);
    Arch::template store<1>(all + Arch::thread(), sum);
    Arch::barrier();
    if (Arch::thread() != 0) return;
    for (int i = 1; i < kWaves * Arch::kWave; ++i) sum.v[0] += Arch::template load<1>(all + i).v[0];
    float* const to =
        block < p.samples ? static_cast<float*>(p.score) + block : static_cast<float*>(p.pairs);
    *to = static_cast<float>(sum.v[0]);
  }
};

}  // namespace megafold::kernels::smooth_lddt_portable
