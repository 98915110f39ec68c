// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// LayerNorm on any GPU from sm_80 on (and in the emulator): a row lies in the registers of a group
// of lanes, so that x is read once and y written once. Bound by those bytes.
//
// A lane holds kPieces times 16 bytes of its row: piece p of lane l are the channels from
// (p * kLanes + l) * kChunk on. Sums over a row are shuffles within the group.
//
// dgamma and dbeta: each lane sums its channels over its rows, a block its groups, and
// SumKernel the blocks, each in a fixed order. How many blocks there are, the shape alone decides:
// the same bits on every run.
#pragma once

#include <cmath>

#include "kernels/common/arch/arch.h"
#include "kernels/layernorm/layernorm.h"

#if defined(__CUDACC__) || defined(__HIP__)
#define MEGAFOLD_LAYERNORM_UNROLL _Pragma("unroll 8")  // so many loads in flight
#else
#define MEGAFOLD_LAYERNORM_UNROLL
#endif

namespace megafold::kernels::layernorm_portable {

constexpr int kWaves = 4;
constexpr int64_t kMostBlocks = 1056;  // of the backward: 8 a multiprocessor of an H100

struct Args {
  LayerNormBackward params;  // of the forward only `forward`
  bool aligned = false;      // every row of x, y, dy, dx may be moved 16 bytes at a time
  float* partial = nullptr;  // [2][blocks][channels], dgamma's and dbeta's
  int64_t blocks = 0;        // of the backward
};

/// T: arch::Bf16, arch::F16 or float. Rows of up to kLanes * kPieces * 16 / sizeof(T) channels.
template <class T, int kLanes, int kPieces>
struct Rows {
  static constexpr int kChunk = arch::kChunk<T>;
  using Chunk = arch::Pack<T, kChunk>;
  static constexpr int kChannels = kLanes * kPieces * kChunk;

  template <class Arch>
  static constexpr int groups() {
    return kWaves * Arch::kWave / kLanes;
  }
  template <class Arch>
  MEGAFOLD_DEVICE static int group() {
    return Arch::thread() / kLanes;
  }
  template <class Arch>
  MEGAFOLD_DEVICE static int64_t channel(int piece) {
    return (int64_t{piece} * kLanes + Arch::thread() % kLanes) * kChunk;
  }

  /// This lane's share of a row, zeros past the last channel.
  template <class Arch>
  MEGAFOLD_DEVICE static void load(Chunk (&to)[kPieces], const void* from, int64_t row_start,
                                   int64_t channels, bool aligned) {
    const T* row = static_cast<const T*>(from) + row_start;
    MEGAFOLD_UNROLL
    for (int p = 0; p < kPieces; ++p) {
      const int64_t c = channel<Arch>(p);
      if (aligned && c < channels) {
        to[p] = *reinterpret_cast<const Chunk*>(row + c);
      } else {
        MEGAFOLD_UNROLL
        for (int e = 0; e < kChunk; ++e) to[p].v[e] = c + e < channels ? row[c + e] : T{};
      }
    }
  }
  template <class Arch>
  MEGAFOLD_DEVICE static void store(void* to, int64_t row_start, const float (&x)[kPieces][kChunk],
                                    int64_t channels, bool aligned) {
    T* row = static_cast<T*>(to) + row_start;
    MEGAFOLD_UNROLL
    for (int p = 0; p < kPieces; ++p) {
      const int64_t c = channel<Arch>(p);
      Chunk chunk;
      MEGAFOLD_UNROLL
      for (int e = 0; e < kChunk; ++e) chunk.v[e] = Arch::template from_float<T>(x[p][e]);
      if (aligned && c < channels) {
        *reinterpret_cast<Chunk*>(row + c) = chunk;
      } else {
        MEGAFOLD_UNROLL
        for (int e = 0; e < kChunk; ++e) {
          if (c + e < channels) row[c + e] = chunk.v[e];
        }
      }
    }
  }
  /// gamma or beta, in fp32 or x's type.
  template <class Arch>
  MEGAFOLD_DEVICE static void load_weight(float (&to)[kPieces][kChunk], const void* from,
                                          bool is_float, int64_t channels, float otherwise) {
    MEGAFOLD_UNROLL
    for (int p = 0; p < kPieces; ++p) {
      MEGAFOLD_UNROLL
      for (int e = 0; e < kChunk; ++e) {
        const int64_t c = channel<Arch>(p) + e;
        to[p][e] = from == nullptr || c >= channels ? otherwise
                   : is_float                       ? static_cast<const float*>(from)[c]
                              : Arch::to_float(static_cast<const T*>(from)[c]);
      }
    }
  }
  template <class Arch>
  MEGAFOLD_DEVICE static float sum_over_row(float x) {
    MEGAFOLD_UNROLL
    for (int hop = 1; hop < kLanes; hop *= 2) x += Arch::shuffle_xor(x, hop);
    return x;
  }
};

template <class T, int kLanes, int kPieces>
struct ForwardKernel {
  using Args = layernorm_portable::Args;
  using R = Rows<T, kLanes, kPieces>;
  static constexpr const char* kName = "layernorm";
  static constexpr int kWaves = layernorm_portable::kWaves, kSharedBytes = 0;
  static constexpr int kRows = kPieces >= 4 ? 1 : 4 / kPieces;  // of a group, in flight together

  static constexpr int64_t blocks(int64_t rows, int wave) {
    const int64_t of_block = int64_t{kWaves} * wave / kLanes * kRows;
    return (rows + of_block - 1) / of_block;
  }

  template <class Arch>
  MEGAFOLD_DEVICE static void run(const Args& args, int64_t block) {
    const LayerNormForward& p = args.params.forward;
    const int64_t first = block * (R::template groups<Arch>() * kRows) + R::template group<Arch>();
    const bool weight_is_float = p.weight_dtype == DType::f32;
    typename R::Chunk chunks[kRows][kPieces];
    MEGAFOLD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const int64_t row = first + int64_t{r} * R::template groups<Arch>();
      // Past the last row nothing is read or written, but its lanes meet the others in the
      // shuffles.
      R::template load<Arch>(chunks[r], p.x, row < p.rows ? row * p.x_row : 0,
                             row < p.rows ? p.channels : 0, args.aligned);
    }
    float gamma[kPieces][R::kChunk], beta[kPieces][R::kChunk];
    R::template load_weight<Arch>(gamma, p.gamma, weight_is_float, p.channels, 1.0F);
    R::template load_weight<Arch>(beta, p.beta, weight_is_float, p.channels, 0.0F);
    const auto count = static_cast<float>(p.channels);
    MEGAFOLD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const int64_t row = first + int64_t{r} * R::template groups<Arch>();
      float x[kPieces][R::kChunk], sum = 0.0F, squares = 0.0F;
      MEGAFOLD_UNROLL
      for (int i = 0; i < kPieces; ++i) {
        MEGAFOLD_UNROLL
        for (int e = 0; e < R::kChunk; ++e) sum += x[i][e] = Arch::to_float(chunks[r][i].v[e]);
      }
      const float mean = R::template sum_over_row<Arch>(sum) / count;
      MEGAFOLD_UNROLL
      for (int i = 0; i < kPieces; ++i) {
        MEGAFOLD_UNROLL
        for (int e = 0; e < R::kChunk; ++e) {
          x[i][e] = R::template channel<Arch>(i) + e < p.channels ? x[i][e] - mean : 0.0F;
          squares += x[i][e] * x[i][e];
        }
      }
      const float variance = R::template sum_over_row<Arch>(squares) / count;
      const float rstd = 1.0F / sqrtf(variance + static_cast<float>(p.eps));
      MEGAFOLD_UNROLL
      for (int i = 0; i < kPieces; ++i) {
        MEGAFOLD_UNROLL
        for (int e = 0; e < R::kChunk; ++e) x[i][e] = x[i][e] * rstd * gamma[i][e] + beta[i][e];
      }
      if (row >= p.rows) continue;
      R::template store<Arch>(p.y, row * p.y_row, x, p.channels, args.aligned);
      if (p.mean != nullptr && Arch::thread() % kLanes == 0) {
        static_cast<float*>(p.mean)[row] = mean;
        static_cast<float*>(p.rstd)[row] = rstd;
      }
    }
  }
};

template <class T, int kLanes, int kPieces>
struct BackwardKernel {
  using Args = layernorm_portable::Args;
  using R = Rows<T, kLanes, kPieces>;
  static constexpr const char* kName = "layernorm_backward";
  static constexpr int kWaves = layernorm_portable::kWaves;
  static constexpr int kSharedBytes = kWaves * 64 * kPieces * R::kChunk * 4;  // for waves of 64

  template <class Arch>
  MEGAFOLD_DEVICE static void run(const Args& args, int64_t block) {
    const LayerNormBackward& b = args.params;
    const LayerNormForward& p = b.forward;
    const int group = R::template group<Arch>();
    constexpr int kGroups = R::template groups<Arch>();
    float gamma[kPieces][R::kChunk], dgamma[kPieces][R::kChunk], dbeta[kPieces][R::kChunk];
    R::template load_weight<Arch>(gamma, p.gamma, p.weight_dtype == DType::f32, p.channels, 1.0F);
    MEGAFOLD_UNROLL
    for (int i = 0; i < kPieces; ++i) {
      MEGAFOLD_UNROLL
      for (int e = 0; e < R::kChunk; ++e) dgamma[i][e] = dbeta[i][e] = 0.0F;
    }
    const auto count = static_cast<float>(p.channels);
    // All groups of a block take as many turns: the shuffles meet whole waves.
    for (int64_t turn = block * kGroups; turn < p.rows; turn += args.blocks * kGroups) {
      const int64_t row = turn + group;
      const bool inside = row < p.rows;
      typename R::Chunk xs[kPieces], dys[kPieces];
      const int64_t channels = inside ? p.channels : 0;
      R::template load<Arch>(xs, p.x, inside ? row * p.x_row : 0, channels, args.aligned);
      R::template load<Arch>(dys, b.dy, inside ? row * b.dy_row : 0, channels, args.aligned);
      const float mean = inside ? static_cast<const float*>(p.mean)[row] : 0.0F;
      const float rstd = inside ? static_cast<const float*>(p.rstd)[row] : 0.0F;
      float h[kPieces][R::kChunk], g[kPieces][R::kChunk], sum_g = 0.0F, sum_gh = 0.0F;
      MEGAFOLD_UNROLL
      for (int i = 0; i < kPieces; ++i) {
        MEGAFOLD_UNROLL
        for (int e = 0; e < R::kChunk; ++e) {
          const float dy = Arch::to_float(dys[i].v[e]);
          const bool there = R::template channel<Arch>(i) + e < channels;
          h[i][e] = there ? (Arch::to_float(xs[i].v[e]) - mean) * rstd : 0.0F;
          g[i][e] = dy * gamma[i][e];
          dgamma[i][e] += dy * h[i][e];
          dbeta[i][e] += dy;
          sum_g += g[i][e];
          sum_gh += g[i][e] * h[i][e];
        }
      }
      const float mean_g = R::template sum_over_row<Arch>(sum_g) / count;
      const float mean_gh = R::template sum_over_row<Arch>(sum_gh) / count;
      MEGAFOLD_UNROLL
      for (int i = 0; i < kPieces; ++i) {
        MEGAFOLD_UNROLL
        for (int e = 0; e < R::kChunk; ++e) {
          g[i][e] = rstd * (g[i][e] - mean_g - h[i][e] * mean_gh);
        }
      }
      if (inside) R::template store<Arch>(b.dx, row * b.dx_row, g, p.channels, args.aligned);
    }
    if (args.partial == nullptr) return;
    sum_groups<Arch>(dgamma, args.partial + block * p.channels, p.channels);
    Arch::barrier();
    sum_groups<Arch>(dbeta, args.partial + (args.blocks + block) * p.channels, p.channels);
  }

 private:
  /// Adds the groups' sums in order and writes them to `to` [channels].
  template <class Arch>
  MEGAFOLD_DEVICE static void sum_groups(const float (&own)[kPieces][R::kChunk], float* to,
                                         int64_t channels) {
    const auto all = Arch::template shared<float>(0);  // [groups][kChannels]
    MEGAFOLD_UNROLL
    for (int i = 0; i < kPieces; ++i) {
      MEGAFOLD_UNROLL
      for (int e = 0; e < R::kChunk; e += 4) {
        const arch::Pack<float, 4> four = {
            {own[i][e], own[i][e + 1], own[i][e + 2], own[i][e + 3]}};
        Arch::template store<4>(
            all + (R::template group<Arch>() * R::kChannels + R::template channel<Arch>(i) + e),
            four);
      }
    }
    Arch::barrier();
    for (int64_t c = Arch::thread(); c < channels; c += kWaves * Arch::kWave) {
      float sum = 0.0F;
      for (int i = 0; i < R::template groups<Arch>(); ++i) {
        sum += Arch::template load<1>(all + (int64_t{i} * R::kChannels + c)).v[0];
      }
      to[c] = sum;
    }
  }
};

/// dgamma and dbeta from the blocks' sums: a lane takes a channel, each wave a share of the blocks.
template <class T>
struct SumKernel {
  using Args = layernorm_portable::Args;
  static constexpr const char* kName = "layernorm_backward_sum";
  static constexpr int kWaves = 16, kSharedBytes = kWaves * 64 * 4;

  /// dgamma's columns, then dbeta's.
  static constexpr int64_t blocks(int64_t channels, int wave) {
    return 2 * ((channels + wave - 1) / wave);
  }

  template <class Arch>
  MEGAFOLD_DEVICE static void run(const Args& args, int64_t block) {
    const LayerNormForward& p = args.params.forward;
    const int64_t tiles = (p.channels + Arch::kWave - 1) / Arch::kWave;
    const int64_t channel = block % tiles * Arch::kWave + Arch::lane();
    const bool is_beta = block >= tiles;
    const float* column = args.partial + (is_beta ? args.blocks : 0) * p.channels + channel;
    float sum = 0.0F;
    if (channel < p.channels) {
      MEGAFOLD_LAYERNORM_UNROLL
      for (int64_t b = Arch::wave(); b < args.blocks; b += kWaves) sum += column[b * p.channels];
    }
    const auto all = Arch::template shared<float>(0);  // [wave][lane]
    Arch::template store<1>(all + Arch::thread(), arch::Pack<float, 1>{{sum}});
    Arch::barrier();
    void* to = is_beta ? args.params.dbeta : args.params.dgamma;
    if (Arch::wave() != 0 || channel >= p.channels || to == nullptr) return;
    sum = 0.0F;
    for (int w = 0; w < kWaves; ++w) {
      sum += Arch::template load<1>(all + (w * Arch::kWave + Arch::lane())).v[0];
    }
    if (p.weight_dtype == DType::f32) {
      static_cast<float*>(to)[channel] = sum;
    } else {
      static_cast<T*>(to)[channel] = Arch::template from_float<T>(sum);
    }
  }
};

}  // namespace megafold::kernels::layernorm_portable

#undef MEGAFOLD_LAYERNORM_UNROLL
