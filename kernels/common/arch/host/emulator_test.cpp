// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The emulator reports what it promises to, and the fragments of both back ends multiply.
#include "kernels/common/arch/host/emulator.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/common/arch/host/isa.h"

namespace megafold::kernels::arch::host {
namespace {

/// What the report says, or "" when there is none.
std::string violation_of(const Launch& launch, const std::function<void(int64_t)>& kernel) {
  try {
    run(launch, kernel);
  } catch (const Violation& violation) {
    return violation.what();
  }
  return "";
}

constexpr Launch kTwoWarps{.kernel = "planted", .threads = 64, .wave = 32, .shared_bytes = 1024};

void put(int at, float value) {
  Isa32::store<1>(Isa32::shared<float>(4 * at), Pack<float, 1>{value});
}
float get(int at) {
  return Isa32::load<1>(Isa32::shared<float>(4 * at)).v[0];
}

TEST(Emulator, RunsEveryThreadOfEveryBlockAndOrdersThemByBarriers) {
  std::vector<int> seen(3 * 64);
  Launch launch = kTwoWarps;
  launch.blocks = 3;
  for (const bool backwards : {false, true}) {
    launch.backwards = backwards;
    run(launch, [&](int64_t block) {
      const int t = current_thread();
      put(t, static_cast<float>(t));
      barrier();
      EXPECT_EQ(get(63 - t), static_cast<float>(63 - t));
      ++seen[static_cast<size_t>(block * 64 + t)];
    });
  }
  EXPECT_EQ(seen, std::vector<int>(3 * 64, 2));
}

TEST(Emulator, ReportsAReadWithoutABarrierAfterTheWrite) {
  const std::string report = violation_of(kTwoWarps, [](int64_t) {
    const int t = current_thread();
    put(t, 1.0F);
    if (t == 40) {
      get(3);
    }
  });
  EXPECT_EQ(report,
            "planted, block 0: race: thread 3 (wave 0, lane 3) wrote and thread 40 (wave 1, lane "
            "8) reads 4 bytes at shared address 12 with no barrier between");
}

TEST(Emulator, ReportsAWriteWithoutABarrierAfterTheRead) {
  for (const bool backwards : {false, true}) {
    Launch launch = kTwoWarps;
    launch.backwards = backwards;
    const std::string report = violation_of(launch, [](int64_t) {
      const int t = current_thread();
      put(t, 1.0F);
      barrier();
      if (t == 7 || t == 9) {
        get(5);
      }
      if (t == 50) {
        put(5, 2.0F);
      }
    });
    EXPECT_NE(report.find("race"), std::string::npos) << report;
    EXPECT_NE(report.find("thread 50 (wave 1, lane 18)"), std::string::npos) << report;
    EXPECT_NE(report.find("4 bytes at shared address 20"), std::string::npos) << report;
  }
}

TEST(Emulator, ReportsTwoWritersOfOneAddress) {
  const std::string report = violation_of(kTwoWarps, [](int64_t) { put(2, 1.0F); });
  EXPECT_NE(report.find("thread 0 (wave 0, lane 0) and thread 1 (wave 0, lane 1) write 4 bytes"),
            std::string::npos)
      << report;
}

TEST(Emulator, ReportsAReadOfWhatTheBlockHasNotWritten) {
  Launch launch = kTwoWarps;
  launch.blocks = 2;
  const std::string report = violation_of(launch, [](int64_t block) {
    if (block == 0) {
      put(current_thread(), 1.0F);
    } else if (current_thread() == 33) {
      get(8);  // written by block 0: on a GPU that is left over, not promised
    }
  });
  EXPECT_EQ(report,
            "planted, block 1: thread 33 (wave 1, lane 1) reads 4 bytes at shared address 32, "
            "which its block has not written");
}

TEST(Emulator, ReportsBytesOutsideAndMisalignedAccesses) {
  EXPECT_NE(violation_of(kTwoWarps, [](int64_t) { put(256 + current_thread(), 1.0F); })
                .find("4 bytes at shared address 1024 of 1024"),
            std::string::npos);
  EXPECT_NE(violation_of(kTwoWarps,
                         [](int64_t) {
                           Isa32::store<2>(Isa32::shared<float>(4), Pack<float, 2>{{1.0F, 2.0F}});
                         })
                .find("not aligned"),
            std::string::npos);
}

TEST(Emulator, AsynchronousCopiesArriveAtTheWaitAndAreNotTouchedBefore) {
  alignas(16) float source[4 * 64];
  for (int i = 0; i < 4 * 64; ++i) {
    source[i] = static_cast<float>(i);
  }
  const auto copy = [&](int t) {
    Isa32::copy16(Isa32::shared<float>(16 * t), source + 4 * t, t % 2 == 0);
    Isa32::copy_commit();
  };
  run(kTwoWarps, [&](int64_t) {
    const int t = current_thread();
    copy(t);
    Isa32::copy_wait<0>();
    barrier();
    const int other = 63 - t;
    EXPECT_EQ(get(4 * other + 1), other % 2 == 0 ? static_cast<float>(4 * other + 1) : 0.0F);
  });
  EXPECT_NE(violation_of(kTwoWarps,
                         [&](int64_t) {
                           copy(current_thread());
                           barrier();  // a barrier does not wait for copies
                           get(4 * current_thread());
                         })
                .find("has not waited for its asynchronous copy"),
            std::string::npos);
  EXPECT_NE(violation_of(kTwoWarps,
                         [&](int64_t) {
                           copy(current_thread());
                           Isa32::copy_wait<0>();  // one's own wait is no barrier
                           if (current_thread() == 63) {
                             get(0);
                           }
                         })
                .find("race"),
            std::string::npos);
  EXPECT_NE(violation_of(kTwoWarps, [&](int64_t) { copy(current_thread()); })
                .find("asynchronous copies it did not wait for"),
            std::string::npos);
}

TEST(Emulator, ReportsThreadsThatMissAMeeting) {
  EXPECT_NE(violation_of(kTwoWarps,
                         [](int64_t) {
                           if (current_thread() != 5) {
                             barrier();
                           }
                         })
                .find("waits at a barrier, but thread 5 (wave 0, lane 5) has ended"),
            std::string::npos);
  EXPECT_NE(violation_of(kTwoWarps,
                         [](int64_t) {
                           if (current_thread() != 5) {
                             Isa32::shuffle_xor(1.0F, 1);
                           }
                         })
                .find("waits at a shuffle, which 1 of its wave never reached"),
            std::string::npos);
}

TEST(Emulator, PassesOnWhatTheKernelThrowsAndCanRunAgain) {
  EXPECT_THROW(run(kTwoWarps,
                   [](int64_t) {
                     if (current_thread() == 20) {
                       throw std::out_of_range("the kernel's own");
                     }
                     barrier();
                   }),
               std::out_of_range);
  EXPECT_EQ(violation_of(kTwoWarps, [](int64_t) { barrier(); }), "");
}

TEST(Numbers, SixteenBitFloatsRoundToNearestEven) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const F16 half{static_cast<uint16_t>(bits)};
    const Bf16 brain{static_cast<uint16_t>(bits)};
    if (!std::isnan(to_float(half))) {
      EXPECT_EQ(from_float<F16>(to_float(half)).bits, bits);
    }
    if (!std::isnan(to_float(brain))) {
      EXPECT_EQ(from_float<Bf16>(to_float(brain)).bits, bits);
    }
  }
  EXPECT_EQ(from_float<F16>(1.0F + 0x1p-11F).bits, 0x3c00);  // a tie, to even
  EXPECT_EQ(from_float<F16>(1.0F + 3 * 0x1p-11F).bits, 0x3c02);
  EXPECT_EQ(from_float<F16>(65519.9F).bits, 0x7bff);
  EXPECT_EQ(from_float<F16>(65520.0F).bits, 0x7c00);
  EXPECT_EQ(from_float<F16>(0x1p-25F).bits, 0);
  EXPECT_EQ(from_float<F16>(-0x1.8p-25F).bits, 0x8001);
  EXPECT_EQ(from_float<Bf16>(1.0F + 0x1p-8F).bits, 0x3f80);
  EXPECT_EQ(from_float<Bf16>(1.0F + 3 * 0x1p-8F).bits, 0x3f82);
  EXPECT_TRUE(std::isnan(to_float(from_float<F16>(NAN))));
  EXPECT_TRUE(std::isnan(to_float(from_float<Bf16>(NAN))));
  EXPECT_EQ(round_to_tf32(1.0F + 0x1p-11F), 1.0F + 0x1p-10F);
}

/// (a b^T) c, whose first product becomes the left operand of the second in registers, against
/// plain loops. Small whole numbers, so every type computes them exactly.
template <class Arch, class T>
void multiply_twice() {
  constexpr int kStride = 24, kBytes = 16 * kStride * static_cast<int>(sizeof(T));
  float a[16][16], b[16][16], c[16][16], want[16][16];
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      a[i][j] = static_cast<float>((3 * i + j) % 5 - 2);
      b[i][j] = static_cast<float>((i + 2 * j) % 3 - 1);
      c[i][j] = static_cast<float>((7 * i + 5 * j) % 7 - 3);
    }
  }
  float product[16][16] = {};
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 16; ++n) {
      for (int k = 0; k < 16; ++k) {
        product[m][n] += a[m][k] * b[n][k];
      }
    }
  }
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 16; ++n) {
      want[m][n] = 1.0F;
      for (int k = 0; k < 16; ++k) {
        want[m][n] += product[m][k] * c[k][n];
      }
    }
  }
  float got[16][16];
  float top[16], total[16];
  run({.kernel = "multiply_twice",
       .threads = Arch::kWave,
       .wave = Arch::kWave,
       .shared_bytes = 3 * kBytes},
      [&](int64_t) {
        const auto tile = [](int which) { return Arch::template shared<T>(which * kBytes); };
        for (int i = Arch::lane(); i < 256; i += Arch::kWave) {
          const int at = i / 16 * kStride + i % 16;
          const auto put_one = [&](int which, float x) {
            Arch::template store<1>(tile(which) + at, Pack<T, 1>{Arch::template from_float<T>(x)});
          };
          put_one(0, a[i / 16][i % 16]);
          put_one(1, b[i / 16][i % 16]);
          put_one(2, c[i / 16][i % 16]);
        }
        Arch::barrier();
        typename Arch::Accumulator first{}, second;
        Arch::template multiply<T>(first, Arch::template load_lines<T>(tile(0), kStride),
                                   Arch::template load_lines<T>(tile(1), kStride));
        for (float& x : second.v) {
          x = 1.0F;
        }
        Arch::template multiply<T>(second, Arch::template convert<T>(first),
                                   Arch::template load_steps<T>(tile(2), kStride));
        float largest[Arch::kLines], sums[Arch::kLines] = {};
        for (float& x : largest) {
          x = -INFINITY;
        }
        for (int i = 0; i < Arch::kElements; ++i) {
          got[Arch::line(Arch::slot(i))][Arch::step(i)] = second.v[i];
          largest[Arch::slot(i)] = std::fmax(largest[Arch::slot(i)], second.v[i]);
          sums[Arch::slot(i)] += second.v[i];
        }
        for (int l = 0; l < Arch::kLines; ++l) {
          top[Arch::line(l)] = max_over_line<Arch>(largest[l]);
          total[Arch::line(l)] = sum_over_line<Arch>(sums[l]);
        }
      });
  for (int m = 0; m < 16; ++m) {
    float largest = -INFINITY, sum = 0.0F;
    for (int n = 0; n < 16; ++n) {
      EXPECT_EQ(got[m][n], want[m][n]) << m << ", " << n;
      largest = std::fmax(largest, want[m][n]);
      sum += want[m][n];
    }
    EXPECT_EQ(top[m], largest);
    EXPECT_EQ(total[m], sum);
  }
}

TEST(Fragments, AccumulatorsBecomeOperandsOnAWarpOf32) {
  multiply_twice<Warp32, Bf16>();
  multiply_twice<Warp32, F16>();
  multiply_twice<Warp32, float>();
}
TEST(Fragments, AccumulatorsBecomeOperandsOnAWaveOf64) {
  multiply_twice<Wave64, Bf16>();
  multiply_twice<Wave64, F16>();
  multiply_twice<Wave64, float>();
}

}  // namespace
}  // namespace megafold::kernels::arch::host
