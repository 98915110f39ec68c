// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// dQ and dbias. A unit of work is (group of rows, plane, 64 queries): each of two consumer
// warpgroups keeps dQ of kRows rows as accumulators and walks over the key tiles, the rows
// innermost, so that dS of a tile is summed over kRows rows in registers. The warpgroups add their
// sums in shared memory, and a storing warp adds the result to a partial dbias with bulk
// reductions, when the group's turn comes: one writer for each address at a time, always in the
// same order (DbiasPartials). dS leaves the accumulators as the A operand of dQ += dS K. Units are
// taken in order, query tiles fastest: CTAs beside each other read the same keys, so these come
// from memory once.
#pragma once

#include <algorithm>

#include "kernels/common/arch/sm90a/host.h"
#include "kernels/evo_attention/sm90a/backward.cuh"

namespace megafold::kernels::sm90a {

template <int kHeadDim>
struct DqDbiasConfig {
  // Registers of a consumer: kRows x D/2 sums of dQ, 32 of dbias, 32 of bias, 64 scores, 16 packed.
  static constexpr int kRows = dqdbias_rows(kHeadDim) / 2;  // of a warpgroup
  static constexpr int kStages = kHeadDim == 32 ? 4 : 3;
  static constexpr int kBiasStages = 2, kSumStages = 2;
  static constexpr int kThreads = 3 * 128;
  static constexpr uint32_t kTileBytes = BackwardTile<kHeadDim>::kBytes;

  struct alignas(1024) Shared {
    uint8_t q[2][kRows][kTileBytes], dattention[2][kRows][kTileBytes];
    uint8_t k[2][kStages][kTileBytes], v[2][kStages][kTileBytes];
    float bias[kBiasStages][kTileScores];
    float sum[kSumStages][kTileScores];  // dbias of one warpgroup, then of both
    QueryPair pairs[2][kRows][kTilePairs];
    Mbarrier queries_full[2][kRows], queries_empty[2][kRows];
    Mbarrier keys_full[2][kStages], keys_empty[2][kStages];
    Mbarrier bias_full[kBiasStages], bias_empty[kBiasStages];
    Mbarrier sum_half[kSumStages], sum_full[kSumStages], sum_empty[kSumStages];
  };
  static_assert(sizeof(Shared) <= 227 * 1024);
};

__device__ __forceinline__ int load_acquire(const int* from) {
  int x;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(x) : "l"(from) : "memory");
  return x;
}
__device__ __forceinline__ void store_release(int* to, int x) {
  asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(to), "r"(x) : "memory");
}

struct DqDbiasUnit {
  int group, segment, plane, b, h, query_tile, row, rows;

  __device__ DqDbiasUnit(const BackwardArguments& a, int unit) {
    const int segments = a.batch * a.heads * a.query_tiles;
    group = unit / segments, segment = unit % segments;
    plane = segment / a.query_tiles, query_tile = segment % a.query_tiles;
    b = plane / a.heads, h = plane % a.heads;
    row = group * a.dbias.group_rows;
    rows = min(a.dbias.group_rows, a.rows - row);
  }
  /// Rows of warpgroup w and the first of them: warpgroup 0 takes the odd one.
  __device__ int rows_of(int w) const { return (rows + 1 - w) / 2; }
  __device__ int row_of(int w) const { return row + (w == 0 ? 0 : rows_of(0)); }
};
__device__ __forceinline__ int dqdbias_units(const BackwardArguments& a) {
  return a.dbias.groups * a.batch * a.heads * a.query_tiles;
}

/// Run by a whole warp, so that the copies' operands stay in uniform registers; one lane issues.
template <int kHeadDim>
__device__ void dqdbias_produce(const BackwardArguments& a,
                                typename DqDbiasConfig<kHeadDim>::Shared& shared) {
  using Config = DqDbiasConfig<kHeadDim>;
  constexpr uint32_t kPairBytes = kTilePairs * sizeof(QueryPair);
  RingCursor<Config::kStages> keys[2];
  RingCursor<Config::kBiasStages> bias;
  uint32_t queries_parity = 0;  // bit kRows w + g: of row g of warpgroup w
  const int units = dqdbias_units(a);
  for (int u = blockIdx.x; u < units; u += gridDim.x) {
    const DqDbiasUnit unit(a, u);
    const float* bias_tile = a.bias_by_query;
    if (a.has_bias) bias_tile += int64_t{unit.segment} * a.key_tiles * kTileScores;
    const int steps = unit.rows_of(0), both = unit.rows_of(1);
    for (int t = 0; t < a.key_tiles; ++t) {
      mbarrier_wait(&shared.bias_empty[bias.slot], bias.parity ^ 1);
      if (elect_one()) {
        Mbarrier* full = &shared.bias_full[bias.slot];
        mbarrier_expect(full, kTileScoresBytes);
        bulk_load(shared.bias[bias.slot], bias_tile, kTileScoresBytes, full);
      }
      __syncwarp();
      if (a.has_bias) bias_tile += kTileScores;
      bias.advance();
      for (int g = 0; g < steps; ++g) {
#pragma unroll
        for (int w = 0; w < 2; ++w) {
          if (w == 1 && g >= both) break;
          const int row = unit.row_of(w) + g;
          if (t == 0) {
            const int i = Config::kRows * w + g;
            Mbarrier* full = &shared.queries_full[w][g];
            mbarrier_wait(&shared.queries_empty[w][g], (queries_parity >> i & 1) ^ 1);
            queries_parity ^= 1U << i;
            if (elect_one()) {
              mbarrier_expect(full, 2 * Config::kTileBytes + kPairBytes);
              const Coordinates<5> at{{0, unit.h, unit.query_tile * kBackwardTile, row, unit.b}};
              tma_load<5>(shared.q[w][g], &a.q, full, at);
              tma_load<5>(shared.dattention[w][g], &a.dattention, full, at);
              const int64_t line = (int64_t{unit.b} * a.rows + row) * a.heads + unit.h;
              bulk_load(shared.pairs[w][g],
                        a.query_pairs + (line * a.query_tiles + unit.query_tile) * kTilePairs,
                        kPairBytes, full);
            }
            __syncwarp();
          }
          const uint32_t slot = keys[w].slot;
          mbarrier_wait(&shared.keys_empty[w][slot], keys[w].parity ^ 1);
          if (elect_one()) {
            Mbarrier* full = &shared.keys_full[w][slot];
            mbarrier_expect(full, 2 * Config::kTileBytes);
            const Coordinates<5> at{{0, unit.h, t * kBackwardTile, row, unit.b}};
            tma_load<5>(shared.k[w][slot], &a.k, full, at);
            tma_load<5>(shared.v[w][slot], &a.v, full, at);
          }
          __syncwarp();
          keys[w].advance();
        }
      }
    }
  }
}

/// Adds the finished tiles of dbias in slot `mine` to the partial sums. One thread for each slot.
template <int kHeadDim>
__device__ void dqdbias_store(const BackwardArguments& a,
                              typename DqDbiasConfig<kHeadDim>::Shared& shared, uint32_t mine) {
  using Config = DqDbiasConfig<kHeadDim>;
  RingCursor<Config::kSumStages> sums;
  const int units = dqdbias_units(a), segments = a.batch * a.heads * a.query_tiles;
  for (int u = blockIdx.x; u < units; u += gridDim.x) {
    const DqDbiasUnit unit(a, u);
    const int turn = unit.group / a.dbias.slots;
    const int64_t first =
        a.dbias.tile(unit.group % a.dbias.slots, segments, unit.segment, a.key_tiles, 0);
    for (int t = 0; t < a.key_tiles; ++t, sums.advance()) {
      if (sums.slot != mine) continue;
      mbarrier_wait(&shared.sum_full[mine], sums.parity);
      if (a.dbias.sums != nullptr) {
        float* to = a.dbias.sums + (first + t) * kTileScores;
        int* turns = a.dbias.turns + first + t;
        if (turn == 0) {
          bulk_store(to, shared.sum[mine], kTileScoresBytes);
        } else {
          while (load_acquire(turns) != turn) __nanosleep(64);
          asm volatile("fence.proxy.async.global;" ::: "memory");
          bulk_reduce_add(to, shared.sum[mine], kTileScoresBytes);
        }
        bulk_commit();
        bulk_wait_read<0>();
        mbarrier_arrive(&shared.sum_empty[mine]);
        bulk_wait<0>();  // complete, then the next group's turn
        asm volatile("fence.proxy.async.global;" ::: "memory");
        store_release(turns, turn + 1);
      } else {
        mbarrier_arrive(&shared.sum_empty[mine]);
      }
    }
  }
}

template <int kHeadDim>
__device__ void dqdbias_consume(const BackwardArguments& a,
                                typename DqDbiasConfig<kHeadDim>::Shared& shared, int w,
                                int thread) {
  using Config = DqDbiasConfig<kHeadDim>;
  using Tile = BackwardTile<kHeadDim>;
  constexpr int kEarly = 4;  // of 8 blocks of exponentials, those before dP is waited for
  const bool signals = thread % 32 == 0;
  const int pair_of_row = 8 * (thread / 32) + thread % 32 / 8;  // of row 16 warp + lane / 4
  const int half = thread % 32 / 4 % 2;
  const float never = a.scale_log2 < 0 ? INFINITY : -INFINITY;  // the score of a masked key
  RingCursor<Config::kStages> keys;
  RingCursor<Config::kBiasStages> bias_ring;
  RingCursor<Config::kSumStages> sums;
  uint32_t queries_parity = 0;
  const int units = dqdbias_units(a), chunks = (a.key_tiles + 63) / 64;
  const auto arrive = [&](Mbarrier* barrier) {
    __syncwarp();
    if (signals) mbarrier_arrive(barrier);
  };
  for (int u = blockIdx.x; u < units; u += gridDim.x) {
    const DqDbiasUnit unit(a, u);
    const int mine = unit.rows_of(w);
    const int64_t first_line = int64_t{unit.b} * a.rows + unit.row_of(w);
    float dq[Config::kRows][kHeadDim / 2];
#pragma unroll
    for (int g = 0; g < Config::kRows; ++g) {
#pragma unroll
      for (int i = 0; i < kHeadDim / 2; ++i) dq[g][i] = 0;
    }
    uint64_t whole[Config::kRows] = {};
    int previous = -1;  // the slot of keys whose last product may still be in flight
    for (int t = 0; t < a.key_tiles; ++t) {
      if (t % 64 == 0) {
#pragma unroll
        for (int g = 0; g < Config::kRows; ++g) {
          if (g < mine) whole[g] = __ldg(&a.whole_tiles[(first_line + g) * chunks + t / 64]);
        }
      }
      float dbias[32], bias[32];
#pragma unroll
      for (float& x : dbias) x = 0;
      mbarrier_wait(&shared.bias_full[bias_ring.slot], bias_ring.parity);
      load_scores(bias, shared.bias[bias_ring.slot], thread);
      arrive(&shared.bias_empty[bias_ring.slot]);
      bias_ring.advance();
#pragma unroll
      for (int g = 0; g < Config::kRows; ++g) {
        if (g >= mine) break;
        const int slot = static_cast<int>(keys.slot);
        mbarrier_wait(&shared.keys_full[w][slot], keys.parity);
        keys.advance();
        if (t == 0) mbarrier_wait(&shared.queries_full[w][g], queries_parity >> g & 1);
        const uint64_t q = descriptor(smem_address(shared.q[w][g]), Tile::kSwizzle);
        const uint64_t da = descriptor(smem_address(shared.dattention[w][g]), Tile::kSwizzle);
        const uint64_t k = descriptor(smem_address(shared.k[w][slot]), Tile::kSwizzle);
        const uint64_t v = descriptor(smem_address(shared.v[w][slot]), Tile::kSwizzle);
        float s[32], dp[32];
        wgmma_fence();
        product_over_head<kHeadDim>(s, q, k, false);
        wgmma_commit();
        product_over_head<kHeadDim>(dp, da, v, false);
        wgmma_commit();
        float minus_lse[2], minus_delta[2];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          minus_lse[h] = shared.pairs[w][g][pair_of_row + 4 * h].minus_lse[half];
          minus_delta[h] = shared.pairs[w][g][pair_of_row + 4 * h].minus_delta[half];
        }

        wgmma_wait<1>();  // S, and dQ of the step before
        pin(s);
        if (previous >= 0) arrive(&shared.keys_empty[w][previous]);
        previous = slot;
        if (!(whole[g] >> (t % 64) & 1)) {
          const uint64_t word = __ldg(&a.mask_words[(first_line + g) * a.key_tiles + t]);
          const uint64_t valid = word >> (thread % 4 * 2);
#pragma unroll
          for (int i = 0; i < 32; ++i) s[i] = valid >> (i / 4 * 8 + i % 2) & 1 ? s[i] : never;
        }
        const auto exponentials = [&](int j) {
#pragma unroll
          for (int i = 4 * j; i < 4 * j + 4; ++i) {
            s[i] = exp2_fast(fmaf(s[i], a.scale_log2, bias[i] + minus_lse[i / 2 % 2]));
          }
        };
#pragma unroll
        for (int j = 0; j < kEarly; ++j) exponentials(j);
        wgmma_wait<0>();  // dP
        pin(dp);
        if (t == a.key_tiles - 1) arrive(&shared.queries_empty[w][g]);
        uint32_t ds[4][4];
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          if (j + kEarly < 8) exponentials(j + kEarly);
#pragma unroll
          for (int i = 4 * j; i < 4 * j + 4; ++i) {
            dp[i] = s[i] * (dp[i] + minus_delta[i / 2 % 2]);
            dbias[i] += dp[i];
          }
          if (j % 2 == 1) as_operand(dp, j / 2, ds[j / 2]);
        }
#pragma unroll
        for (int step = 0; step < 4; ++step) pin(ds[step]);
        wgmma_fence();
        product_over_tokens<kHeadDim>(dq[g], ds, k);
        wgmma_commit();
      }

      // One warpgroup leaves its sum, the other adds its own; they take turns.
      float* sum = shared.sum[sums.slot];
      if (w == t % 2) {
        mbarrier_wait(&shared.sum_empty[sums.slot], sums.parity ^ 1);
        store_scores(sum, dbias, thread);
        mbarrier_arrive(&shared.sum_half[sums.slot]);
      } else {
        float other[32];
        mbarrier_wait(&shared.sum_half[sums.slot], sums.parity);
        load_scores(other, sum, thread);
#pragma unroll
        for (int i = 0; i < 32; ++i) dbias[i] += other[i];
        store_scores(sum, dbias, thread);
        fence_proxy_async();
        mbarrier_arrive(&shared.sum_full[sums.slot]);
      }
      sums.advance();
    }
    wgmma_wait<0>();
#pragma unroll
    for (int g = 0; g < Config::kRows; ++g) pin(dq[g]);
    if (previous >= 0) arrive(&shared.keys_empty[w][previous]);
    queries_parity ^= (1U << mine) - 1;

    const int first = unit.query_tile * kBackwardTile;
    __nv_bfloat16* to = a.dq + unit.b * a.dq_stride.batch + unit.row_of(w) * a.dq_stride.row +
                        first * a.dq_stride.token + unit.h * a.dq_stride.head;
#pragma unroll
    for (int g = 0; g < Config::kRows; ++g, to += a.dq_stride.row) {
      if (g >= mine) break;
      store_gradient<kHeadDim>(to, a.dq_stride.token, a.queries - first, ~uint64_t{0}, dq[g],
                               a.scale, thread);
    }
  }
}

template <int kHeadDim>
__global__ void __launch_bounds__(DqDbiasConfig<kHeadDim>::kThreads, 1)
    dqdbias_kernel(const __grid_constant__ BackwardArguments a) {
  using Config = DqDbiasConfig<kHeadDim>;
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<typename Config::Shared*>(memory);
  if (threadIdx.x == 0) {
    for (int w = 0; w < 2; ++w) {
      for (int g = 0; g < Config::kRows; ++g) {
        mbarrier_init(&shared.queries_full[w][g], 1);
        mbarrier_init(&shared.queries_empty[w][g], 4);
      }
    }
    for (int w = 0; w < 2; ++w) {
      for (int i = 0; i < Config::kStages; ++i) {
        mbarrier_init(&shared.keys_full[w][i], 1);
        mbarrier_init(&shared.keys_empty[w][i], 4);
      }
    }
    for (int i = 0; i < Config::kBiasStages; ++i) {
      mbarrier_init(&shared.bias_full[i], 1);
      mbarrier_init(&shared.bias_empty[i], 8);
    }
    for (int i = 0; i < Config::kSumStages; ++i) {
      mbarrier_init(&shared.sum_half[i], 128);
      mbarrier_init(&shared.sum_full[i], 128);
      mbarrier_init(&shared.sum_empty[i], 1);
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  wait_for_earlier_kernels();
  const int warp = warp_index(), group = warp / 4;
  if (group == 2) {
    setmaxnreg_decrease<40>();
    if (warp == 8) dqdbias_produce<kHeadDim>(a, shared);
    static_assert(Config::kSumStages == 2);
    if (warp == 9 && elect_one()) dqdbias_store<kHeadDim>(a, shared, 0);
    if (warp == 10 && elect_one()) dqdbias_store<kHeadDim>(a, shared, 1);
  } else {
    setmaxnreg_increase<232>();
    dqdbias_consume<kHeadDim>(a, shared, group, threadIdx.x % 128);
  }
}

template <int kHeadDim>
void launch_dqdbias(const BackwardArguments& a, int multiprocessors, Stream stream) {
  using Config = DqDbiasConfig<kHeadDim>;
  check(cudaFuncSetAttribute(dqdbias_kernel<kHeadDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             sizeof(typename Config::Shared)),
        "shared memory of dqdbias");
  const int units = a.dbias.groups * a.batch * a.heads * a.query_tiles;
  launch(dqdbias_kernel<kHeadDim>, dim3(std::min(units, multiprocessors)), dim3(Config::kThreads),
         sizeof(typename Config::Shared), stream, true, a);
}

}  // namespace megafold::kernels::sm90a
