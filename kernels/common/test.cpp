// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <thread>
#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/common/dispatch_counts.h"
#include "kernels/common/number.h"
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"

namespace megafold::kernels {
namespace {

TEST(Parallel, ThreadsAreNumberedBelowTheTasks) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(16);
  for (const int64_t tasks : {1, 2, 3, 5, 15, 40}) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      std::vector<std::atomic<int>> calls(16);
      parallel_for_threads(tasks, [&](int64_t, int64_t thread) {
        calls.at(static_cast<size_t>(thread))++;
        std::this_thread::sleep_for(std::chrono::microseconds(50));  // let others have a task
      });
      int64_t done = 0;
      for (int64_t thread = 0; thread < 16; ++thread) {
        const int own = calls[static_cast<size_t>(thread)];
        EXPECT_TRUE(own == 0 || thread < threads_for(tasks)) << tasks << ' ' << thread;
        done += own;
      }
      EXPECT_EQ(done, tasks);
    }
  }
  EXPECT_EQ(threads_for(0), 1);
  omp_set_num_threads(before);
}

TEST(Number, BFloat16RoundsToNearestEven) {
  EXPECT_EQ(bf16(1.0F + 0x1p-8F).bits, 0x3f80);
  EXPECT_EQ(bf16(1.0F + 3 * 0x1p-8F).bits, 0x3f82);
  EXPECT_EQ(bf16(1.0F + 0x1.01p-8F).bits, 0x3f81);
  EXPECT_TRUE(std::isnan(static_cast<float>(bf16(std::bit_cast<float>(0x7fffffffU)))));
  EXPECT_EQ(static_cast<float>(bf16(3.4e38F)), std::numeric_limits<float>::infinity());
}

TEST(Simd, ExpIsWithinOneUnitInTheLastPlace) {
  double worst = 0;
  for (uint32_t u = 0; u < 0xc2aeb000U; u += 997) {  // up to -87.35, and the positive side
    const auto x = std::bit_cast<float>(u);
    if (!(x <= 88.0F) || x < -87.3F) continue;
    const float got = simd::exp(simd::broadcast(x))[3];
    const double want = std::exp(static_cast<double>(x));
    const double unit = std::ldexp(1.0, std::ilogb(want) - 23);
    worst = std::max(worst, std::abs(got - want) / unit);
  }
  EXPECT_LE(worst, 1.0);
  EXPECT_EQ(simd::exp(simd::broadcast(-88.0F))[0], 0.0F);
  EXPECT_EQ(simd::exp(simd::broadcast(-std::numeric_limits<float>::infinity()))[0], 0.0F);
  EXPECT_TRUE(std::isnan(simd::exp(simd::broadcast(std::nanf("")))[0]));
}

TEST(Simd, ProductAgreesWithTheSumForEverySize) {
  for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 11, 12}) {
    for (const int64_t columns : {8, 16, 24, 48}) {
      const int64_t depth = 5;
      std::vector<float> a(static_cast<size_t>(rows * depth)),
          b(static_cast<size_t>(depth * columns)), c(static_cast<size_t>(rows * columns), 2.0F);
      std::iota(a.begin(), a.end(), 1.0F);
      std::iota(b.begin(), b.end(), -3.0F);
      // A is read as its transpose: element (i, k) at k * rows + i.
      simd::product<true>(rows, columns, depth, a.data(), 1, rows, b.data(), columns, 16, c.data(),
                          columns);
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t n = 0; n < columns; ++n) {
          float want = 2;
          for (int64_t k = 0; k < depth; ++k) {
            want += a[static_cast<size_t>(k * rows + i)] * b[static_cast<size_t>(k * columns + n)];
          }
          ASSERT_EQ(c[static_cast<size_t>(i * columns + n)], want) << rows << " " << columns;
        }
      }
    }
  }
}

TEST(DispatchCounts, CountsByImplementationAndReason) {
  reset_dispatch_counts();
  count_dispatch("op", "cpu", {});
  count_dispatch("op", "cpu", {});
  count_dispatch("op", "reference", {"cpu: too small"});
  const auto counts = dispatch_counts();
  ASSERT_EQ(counts.size(), 2U);
  EXPECT_EQ(counts[0].implementation, "cpu");
  EXPECT_EQ(counts[0].calls, 2);
  EXPECT_EQ(counts[1].refused, Reasons{"cpu: too small"});
  reset_dispatch_counts();
  EXPECT_TRUE(dispatch_counts().empty());
}

TEST(Dispatch, ChoosesTheFirstThatTakesTheCallAndGathersReasons) {
  struct Params {
    int size = 0;
    Place place = Place::cpu;
  };
  const auto any = [](const Params&) { return Reasons{}; };
  const auto large = [](const Params& p) {
    return p.size < 10 ? Reasons{"size is below 10"} : Reasons{};
  };
  const std::vector<Implementation<Params>> list = {{"gpu", Place::gpu, any, nullptr, nullptr},
                                                    {"large", Place::cpu, large, nullptr, nullptr},
                                                    {"any", Place::cpu, any, nullptr, nullptr}};
  Reasons refused;
  EXPECT_STREQ(find_implementation(list, Params{3}, refused)->name, "any");
  EXPECT_EQ(refused, Reasons{"large: size is below 10"});
  refused.clear();
  EXPECT_STREQ(find_implementation(list, Params{30}, refused)->name, "large");
  EXPECT_TRUE(refused.empty());

  reset_dispatch_counts();
  EXPECT_STREQ(choose("op", list, Params{3}).name, "any");
  EXPECT_EQ(dispatch_counts().at(0).refused, Reasons{"large: size is below 10"});
  const std::vector<Implementation<Params>> only = {list[1]};
  try {
    choose("op", only, Params{4});
    FAIL() << "took a call that nothing takes";
  } catch (const NoImplementation& error) {
    EXPECT_NE(std::string(error.what()).find("large: size is below 10"), std::string::npos);
  }
  reset_dispatch_counts();
}

}  // namespace
}  // namespace megafold::kernels
