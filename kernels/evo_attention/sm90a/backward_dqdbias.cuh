// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// dQ and dbias. A CTA takes a share of the rows of all (plane, 64 queries) segments (RowShares), in
// groups of 2 x kRows: each of two consumer warpgroups keeps dQ of kRows rows as accumulators and
// walks over the key tiles, the rows innermost, so that dS of a tile is summed over kRows rows in
// registers. Warpgroup 1 hands its sum to warpgroup 0 through shared memory, and a storing warp
// adds the sum of both to the CTA's own partial dbias with bulk reductions: one writer for each
// address, one at a time, hence always in the same order. dS leaves the accumulators as the A
// operand of dQ += dS K.
#pragma once

#include "kernels/common/arch/sm90a/host.h"
#include "kernels/evo_attention/sm90a/backward.cuh"

namespace megafold::kernels::sm90a {

template <int kHeadDim>
struct DqDbiasConfig {
  // Registers of a consumer: kRows x D/2 sums of dQ, 32 of dbias, 32 of bias, 64 scores, 16 packed.
  static constexpr int kRows = kHeadDim == 32 ? 3 : 2;
  static constexpr int kStages = kHeadDim == 32 ? 4 : 3;
  static constexpr int kBiasStages = 2, kSumStages = 2;
  static constexpr int kThreads = 3 * 128;
  static constexpr uint32_t kTileBytes = BackwardTile<kHeadDim>::kBytes;

  struct alignas(1024) Shared {
    uint8_t q[2][kRows][kTileBytes], dattention[2][kRows][kTileBytes];
    uint8_t k[kStages][2][kTileBytes], v[kStages][2][kTileBytes];
    float bias[kBiasStages][kTileScores];
    float sum[kSumStages][kTileScores];  // dbias of one warpgroup, then of both
    QueryPair pairs[2][kRows][kTilePairs];
    Mbarrier queries_full[2][kRows], queries_empty[2][kRows];
    Mbarrier keys_full[kStages], keys_empty[kStages];
    Mbarrier bias_full[kBiasStages], bias_empty[kBiasStages];
    Mbarrier sum_half[kSumStages], sum_full[kSumStages], sum_empty[kSumStages];
  };
  static_assert(sizeof(Shared) <= 227 * 1024);
};

/// The groups of rows of this CTA's share, in order.
struct RowGroup {
  int b, h, plane, query_tile, segment;
  int row, rows;  // first row and how many, at most 2 kRows
  bool first;     // of its segment in this CTA: dbias is stored, not added

  /// Rows of warpgroup w and how many precede them: the first takes the odd one.
  __device__ int rows_of(int w) const { return (rows + 1 - w) / 2; }
  __device__ int row_of(int w) const { return row + (w == 0 ? 0 : rows_of(0)); }
};
template <int kGroupRows, class Function>
__device__ __forceinline__ void for_each_group(const BackwardArguments& a, const RowShares& shares,
                                               Function&& function) {
  const int begin = shares.first_row(blockIdx.x), end = shares.first_row(blockIdx.x + 1);
  int at = begin;
  while (at < end) {
    RowGroup g;
    g.segment = at / a.rows;
    const int segment_begin = g.segment * a.rows;
    const int stop = min(end, segment_begin + a.rows);
    g.plane = g.segment / a.query_tiles;
    g.query_tile = g.segment % a.query_tiles;
    g.b = g.plane / a.heads, g.h = g.plane % a.heads;
    g.row = at - segment_begin;
    g.rows = min(kGroupRows, stop - at);
    g.first = at == max(begin, segment_begin);
    function(g);
    at += g.rows;
  }
}

/// Run by a whole warp, so that the copies' operands stay in uniform registers; one lane issues.
template <int kHeadDim>
__device__ void dqdbias_produce(const BackwardArguments& a, const RowShares& shares,
                                typename DqDbiasConfig<kHeadDim>::Shared& shared) {
  using Config = DqDbiasConfig<kHeadDim>;
  constexpr uint32_t kPairBytes = kTilePairs * sizeof(QueryPair);
  RingCursor<Config::kStages> keys;
  RingCursor<Config::kBiasStages> bias;
  uint32_t queries_parity = 0;  // bit kRows w + g: of row g of warpgroup w
  for_each_group<2 * Config::kRows>(a, shares, [&](const RowGroup& group) {
    const int64_t tile = (int64_t{group.plane} * a.query_tiles + group.query_tile) * a.key_tiles;
    const float* bias_tile = a.bias_by_query + (a.has_bias ? tile * kTileScores : 0);
    const int steps = group.rows_of(0), both = group.rows_of(1);
    for (int t = 0; t < a.key_tiles; ++t) {
      mbarrier_wait(&shared.bias_empty[bias.slot], bias.parity ^ 1);
      if (elect_one()) {
        Mbarrier* full = &shared.bias_full[bias.slot];
        mbarrier_expect(full, kTileScoresBytes);
        bulk_load(shared.bias[bias.slot], bias_tile, kTileScoresBytes, full);
      }
      __syncwarp();
      bias_tile += a.has_bias ? kTileScores : 0;
      bias.advance();
      for (int g = 0; g < steps; ++g) {
        const int active = g < both ? 2 : 1;
        if (t == 0) {
          for (int w = 0; w < active; ++w) {
            const int i = Config::kRows * w + g, row = group.row_of(w) + g;
            Mbarrier* full = &shared.queries_full[w][g];
            mbarrier_wait(&shared.queries_empty[w][g], (queries_parity >> i & 1) ^ 1);
            queries_parity ^= 1U << i;
            if (elect_one()) {
              mbarrier_expect(full, 2 * Config::kTileBytes + kPairBytes);
              const Coordinates<5> at{{0, group.h, group.query_tile * kBackwardTile, row, group.b}};
              tma_load<5>(shared.q[w][g], &a.q, full, at);
              tma_load<5>(shared.dattention[w][g], &a.dattention, full, at);
              const int64_t line = (int64_t{group.b} * a.rows + row) * a.heads + group.h;
              bulk_load(shared.pairs[w][g],
                        a.query_pairs + (line * a.query_tiles + group.query_tile) * kTilePairs,
                        kPairBytes, full);
            }
            __syncwarp();
          }
        }
        Mbarrier* full = &shared.keys_full[keys.slot];
        mbarrier_wait(&shared.keys_empty[keys.slot], keys.parity ^ 1);
        if (elect_one()) {
          mbarrier_expect(full, active * 2 * Config::kTileBytes);
#pragma unroll
          for (int w = 0; w < 2; ++w) {
            if (w >= active) break;
            const Coordinates<5> at{{0, group.h, t * kBackwardTile, group.row_of(w) + g, group.b}};
            tma_load<5>(shared.k[keys.slot][w], &a.k, full, at);
            tma_load<5>(shared.v[keys.slot][w], &a.v, full, at);
          }
        }
        __syncwarp();
        keys.advance();
      }
    }
  });
}

/// Adds each finished tile of dbias to the CTA's partial sums. One thread.
template <int kHeadDim>
__device__ void dqdbias_store(const BackwardArguments& a, const RowShares& shares,
                              typename DqDbiasConfig<kHeadDim>::Shared& shared) {
  using Config = DqDbiasConfig<kHeadDim>;
  RingCursor<Config::kSumStages> sums;
  for_each_group<2 * Config::kRows>(a, shares, [&](const RowGroup& group) {
    const int64_t slot = int64_t{blockIdx.x} + group.segment;
    float* to = a.dbias_partial + slot * a.key_tiles * kTileScores;
    for (int t = 0; t < a.key_tiles; ++t, to += kTileScores) {
      mbarrier_wait(&shared.sum_full[sums.slot], sums.parity);
      if (a.dbias_partial != nullptr) {
        bulk_wait<0>();  // the sum before may have gone to the same tile
        if (group.first) {
          bulk_store(to, shared.sum[sums.slot], kTileScoresBytes);
        } else {
          bulk_reduce_add(to, shared.sum[sums.slot], kTileScoresBytes);
        }
        bulk_commit();
        bulk_wait_read<0>();
      }
      mbarrier_arrive(&shared.sum_empty[sums.slot]);
      sums.advance();
    }
  });
  bulk_wait<0>();
}

template <int kHeadDim>
__device__ void dqdbias_consume(const BackwardArguments& a, const RowShares& shares,
                                typename DqDbiasConfig<kHeadDim>::Shared& shared, int w,
                                int thread) {
  using Config = DqDbiasConfig<kHeadDim>;
  using Tile = BackwardTile<kHeadDim>;
  const bool signals = thread % 32 == 0;
  const int pair_of_row = 8 * (thread / 32) + thread % 32 / 8;  // of row 16 warp + lane / 4
  const int half = thread % 32 / 4 % 2;
  RingCursor<Config::kStages> keys;
  RingCursor<Config::kBiasStages> bias_ring;
  RingCursor<Config::kSumStages> sums;
  uint32_t queries_parity = 0;
  int previous = -1;  // the stage of keys whose last product may still be in flight
  for_each_group<2 * Config::kRows>(a, shares, [&](const RowGroup& group) {
    const int steps = group.rows_of(0), mine = group.rows_of(w);
    const int64_t first_line = int64_t{group.b} * a.rows + group.row_of(w);
    float dq[Config::kRows][kHeadDim / 2];
#pragma unroll
    for (int g = 0; g < Config::kRows; ++g) {
#pragma unroll
      for (int i = 0; i < kHeadDim / 2; ++i) dq[g][i] = 0;
    }
    for (int t = 0; t < a.key_tiles; ++t) {
      float dbias[32], bias[32];
#pragma unroll
      for (float& x : dbias) x = 0;
      mbarrier_wait(&shared.bias_full[bias_ring.slot], bias_ring.parity);
      load_scores(bias, shared.bias[bias_ring.slot], thread);
      __syncwarp();
      if (signals) mbarrier_arrive(&shared.bias_empty[bias_ring.slot]);
      bias_ring.advance();
#pragma unroll
      for (int g = 0; g < Config::kRows; ++g) {
        if (g >= steps) break;
        const int slot = static_cast<int>(keys.slot);
        mbarrier_wait(&shared.keys_full[slot], keys.parity);
        keys.advance();
        if (g >= mine) {
          if (signals) mbarrier_arrive(&shared.keys_empty[slot]);
          continue;
        }
        const uint64_t valid = __ldg(&a.mask_words[(first_line + g) * a.key_tiles + t]);
        if (t == 0) mbarrier_wait(&shared.queries_full[w][g], queries_parity >> g & 1);
        const uint64_t q = descriptor(smem_address(shared.q[w][g]), Tile::kSwizzle);
        const uint64_t da = descriptor(smem_address(shared.dattention[w][g]), Tile::kSwizzle);
        const uint64_t k = descriptor(smem_address(shared.k[slot][w]), Tile::kSwizzle);
        const uint64_t v = descriptor(smem_address(shared.v[slot][w]), Tile::kSwizzle);
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
        if (previous >= 0 && signals) mbarrier_arrive(&shared.keys_empty[previous]);
        previous = slot;
#pragma unroll
        for (int i = 0; i < 32; ++i) {
          s[i] = exp2_fast(fmaf(s[i], a.scale_log2, bias[i] + minus_lse[i / 2 % 2]));
        }
        if (valid != ~uint64_t{0}) {
          const uint64_t mine_of_8 = valid >> (thread % 4 * 2);
#pragma unroll
          for (int i = 0; i < 32; ++i) s[i] = mine_of_8 >> (i / 4 * 8 + i % 2) & 1 ? s[i] : 0;
        }
        wgmma_wait<0>();  // dP
        pin(dp);
        if (t == a.key_tiles - 1 && signals) mbarrier_arrive(&shared.queries_empty[w][g]);
#pragma unroll
        for (int i = 0; i < 32; ++i) {
          dp[i] = s[i] * (dp[i] + minus_delta[i / 2 % 2]);
          dbias[i] += dp[i];
        }
        uint32_t ds[4][4];
#pragma unroll
        for (int step = 0; step < 4; ++step) as_operand(dp, step, ds[step]);
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
    if (previous >= 0 && signals) mbarrier_arrive(&shared.keys_empty[previous]);
    previous = -1;
    queries_parity ^= (1U << mine) - 1;

    const int first = group.query_tile * kBackwardTile;
#pragma unroll
    for (int g = 0; g < Config::kRows; ++g) {
      if (g >= mine) break;
      const int64_t at = group.b * a.dq_stride.batch + (group.row_of(w) + g) * a.dq_stride.row +
                         first * a.dq_stride.token + group.h * a.dq_stride.head;
      store_gradient<kHeadDim>(a.dq + at, a.dq_stride.token, a.queries - first, ~uint64_t{0}, dq[g],
                               a.scale, thread);
    }
  });
}

template <int kHeadDim>
__global__ void __launch_bounds__(DqDbiasConfig<kHeadDim>::kThreads, 1)
    dqdbias_kernel(const __grid_constant__ BackwardArguments a, const RowShares shares) {
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
    for (int i = 0; i < Config::kStages; ++i) {
      mbarrier_init(&shared.keys_full[i], 1);
      mbarrier_init(&shared.keys_empty[i], 8);
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
    if (warp == 8) dqdbias_produce<kHeadDim>(a, shares, shared);
    if (warp == 9 && elect_one()) dqdbias_store<kHeadDim>(a, shares, shared);
  } else {
    setmaxnreg_increase<232>();
    dqdbias_consume<kHeadDim>(a, shares, shared, group, threadIdx.x % 128);
  }
}

template <int kHeadDim>
void launch_dqdbias(const BackwardArguments& a, const RowShares& shares, Stream stream) {
  using Config = DqDbiasConfig<kHeadDim>;
  check(cudaFuncSetAttribute(dqdbias_kernel<kHeadDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             sizeof(typename Config::Shared)),
        "shared memory of dqdbias");
  launch(dqdbias_kernel<kHeadDim>, dim3(shares.ctas), dim3(Config::kThreads),
         sizeof(typename Config::Shared), stream, true, a, shares);
}

}  // namespace megafold::kernels::sm90a
