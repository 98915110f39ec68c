// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Counter-based random numbers (Philox 4x32-10, Salmon et al. 2011). A draw is a pure function of
// (seed, sample, visit, purpose, position): it depends on no thread, order or earlier draw, so a
// resume or a replay gives the same bytes with any number of loader threads.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace megafold {

/// What a stream of draws is for. A value is part of every recorded run: never renumber, only add.
enum class Purpose : uint32_t {
  sample = 1,  // which entry is visited
  crop = 2,
  msa = 3,
  reference = 4,  // rigid motion of reference conformers
  recycles = 5,
  noise_level = 6,
  augmentation = 7,  // rotation and shift of diffusion copies
  noise = 8,
  dropout = 9,
  msa_rows = 10,  // the model's own draw of rows in each recycle
  initialisation = 11,
  sampler = 12,
  template_pick = 13,
  rollout = 14,  // the mini-rollout's sampler (SI 4.1)
};

/// Philox 4x32-10: four random words from a 128-bit counter and a 64-bit key.
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter,
                                         std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53U} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57U} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return counter;
}

/// FNV-1a: the 64-bit name of a sample in a random stream.
constexpr uint64_t stream_id(std::string_view name) {
  uint64_t h = 0xcbf29ce484222325ULL;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return h;
}

/// A stream of draws. Copying it copies the position.
class Random {
 public:
  Random(uint64_t seed, uint64_t sample, uint64_t visit, Purpose purpose) {
    // The 64-bit key mixes all four names; the counter is left for the position.
    const auto a = philox({static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32),
                           static_cast<uint32_t>(visit), static_cast<uint32_t>(visit >> 32)},
                          {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
    key_ = {a[0] ^ static_cast<uint32_t>(purpose), a[1]};
    high_ = {a[2], a[3]};
  }

  uint32_t next_u32() {
    if (used_ == 4) {
      block_ = philox({static_cast<uint32_t>(position_), static_cast<uint32_t>(position_ >> 32),
                       high_[0], high_[1]},
                      key_);
      ++position_;
      used_ = 0;
    }
    return block_[used_++];
  }
  uint64_t next_u64() {
    const uint64_t high = next_u32();
    return (high << 32) | next_u32();
  }
  /// Uniform in [0, 1) with 53 bits.
  double uniform() { return static_cast<double>(next_u64() >> 11) * 0x1.0p-53; }
  /// Uniform in {0, ..., n - 1}; n > 0. Free of bias (Lemire 2019).
  uint64_t below(uint64_t n) {
    for (;;) {
      const unsigned __int128 product = static_cast<unsigned __int128>(next_u64()) * n;
      const auto low = static_cast<uint64_t>(product);
      if (low >= (0 - n) % n) return static_cast<uint64_t>(product >> 64);
    }
  }
  /// Standard normal, by Box and Muller: two draws make one value, so positions are easy to count.
  double normal() {
    const double u = 1.0 - uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * uniform());
  }
  /// A rotation matrix, row-major, uniform over SO(3) (a normalised normal quaternion).
  std::array<double, 9> rotation() {
    std::array<double, 4> q{};
    double norm = 0;
    for (double& x : q) norm += (x = normal(), x * x);
    norm = 1.0 / std::sqrt(norm);
    const double w = q[0] * norm, x = q[1] * norm, y = q[2] * norm, z = q[3] * norm;
    return {1 - 2 * (y * y + z * z), 2 * (x * y - w * z),     2 * (x * z + w * y),
            2 * (x * y + w * z),     1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y),     2 * (y * z + w * x),     1 - 2 * (x * x + y * y)};
  }

 private:
  std::array<uint32_t, 2> key_{};
  std::array<uint32_t, 2> high_{};
  uint64_t position_ = 0;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace megafold
