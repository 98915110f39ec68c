// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// dQ and dbias. A consumer warpgroup keeps dQ of kRows rows of a query tile as accumulators and
// walks over the key tiles, the rows innermost, so that dS of a tile is summed over those rows in
// registers. dS leaves the accumulators as the A operand of dQ += dS K. What the two warpgroups of
// a CTA share depends on the number of rows:
//
//   many rows   A unit of work is (group of 2 kRows rows, plane, query tile): the warpgroups take
//               half of the rows each and share the bias. They leave their sums in shared memory,
//               two adding warps make one of them, and a storing thread adds that to a partial
//               dbias with a bulk reduction when the group's turn comes: one writer for each
//               address at a time, always in the same order (DbiasTarget).
//   few rows    At most kRows: a unit is (plane, two query tiles), a warpgroup each, and its sum is
//               dbias itself, which it writes.
//
// Units are taken in order, query tiles fastest: CTAs beside each other read the same keys, so
// these come from memory once. Without a gate delta is found here: before the first K and V of a
// row its `out` comes through the same ring; dA is there already.
//
// A slot is handed back only after what was loaded from it into registers has been used: the
// arrival alone does not wait for loads in flight, and the next copy could overtake them.
#pragma once

#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/common/arch/sm90a/host.h"
#include "kernels/evo_attention/sm90a/backward_dqdbias_feed.cuh"

namespace megafold::kernels::sm90a {

/// Fills in the unknown deltas of a row's 64 queries from `out` and dA in shared memory: each warp
/// those of the 16 queries that it reads again. Also for dkdv, in global memory.
template <int kHeadDim>
__device__ __forceinline__ void find_deltas(const uint8_t* out, const uint8_t* dattention,
                                            QueryPair* pairs, QueryPair* to, int thread) {
  constexpr uint32_t kRow = row_bytes(BackwardTile<kHeadDim>::kSwizzle);
  const int lane = thread % 32, chunk = lane % 4;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = 16 * (thread / 32) + 8 * h + lane / 4;
    const int swizzle = kRow == 128 ? row % 8 : row / 2 % 4;
    float delta = 0;
#pragma unroll
    for (int c = 0; c < kHeadDim / 8; c += 4) {
      if (c + chunk >= kHeadDim / 8) break;
      const uint32_t at = row * kRow + (((c + chunk) ^ swizzle) << 4);
      const uint4 x = *reinterpret_cast<const uint4*>(out + at);
      const uint4 y = *reinterpret_cast<const uint4*>(dattention + at);
      const uint32_t x4[4] = {x.x, x.y, x.z, x.w}, y4[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // bf16 is the upper half of a float
        delta = fmaf(__uint_as_float(x4[i] << 16), __uint_as_float(y4[i] << 16), delta);
        delta =
            fmaf(__uint_as_float(x4[i] & 0xFFFF0000), __uint_as_float(y4[i] & 0xFFFF0000), delta);
      }
    }
    delta += __shfl_xor_sync(0xFFFFFFFF, delta, 1);
    delta += __shfl_xor_sync(0xFFFFFFFF, delta, 2);
    if (chunk == 0 && pairs[row / 2].minus_delta[row % 2] == kUnknownDelta) {
      pairs[row / 2].minus_delta[row % 2] = -delta;
      to[row / 2].minus_delta[row % 2] = -delta;
    }
  }
  __syncwarp();
}

/// -delta_i = -sum_j P_ij dP_ij, where a row's keys all stand in one tile. With few keys the terms
/// of dS cancel, and what `out` lost when it was rounded would show.
__device__ __forceinline__ void sum_deltas(const float (&p)[32], const float (&dp)[32],
                                           float (&minus_delta)[2]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      sum = fmaf(p[4 * j + 2 * h], dp[4 * j + 2 * h], sum);
      sum = fmaf(p[4 * j + 2 * h + 1], dp[4 * j + 2 * h + 1], sum);
    }
    sum += __shfl_xor_sync(0xFFFFFFFF, sum, 1);
    sum += __shfl_xor_sync(0xFFFFFFFF, sum, 2);
    minus_delta[h] = -sum;
  }
}

/// A tile of dbias in place. `queries` and `keys`: how many of the tile exist.
template <class Pair, class Element>
__device__ __forceinline__ void store_dbias(Element* to, int64_t row_stride, int queries, int keys,
                                            bool in_pairs, const float (&d)[32], int thread) {
  const int row = 16 * (thread / 32) + thread % 32 / 4, column = thread % 4 * 2;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (row + 8 * h >= queries) continue;
    Element* line = to + (row + 8 * h) * row_stride + column;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int left = keys - column - 8 * j;
      const float x = d[4 * j + 2 * h], y = d[4 * j + 2 * h + 1];
      if (in_pairs && left >= 2) {
        Pair pair;
        pair.x = static_cast<Element>(x), pair.y = static_cast<Element>(y);
        *reinterpret_cast<Pair*>(line + 8 * j) = pair;
      } else {
        if (left >= 1) line[8 * j] = static_cast<Element>(x);
        if (left >= 2) line[8 * j + 1] = static_cast<Element>(y);
      }
    }
  }
}
__device__ __forceinline__ void store_dbias(const BackwardArguments& a, int plane, int query,
                                            int key, const float (&d)[32], int thread) {
  const int64_t at = (int64_t{plane} * a.queries + query) * a.keys + key;
  const int queries = a.queries - query, keys = a.keys - key;
  const bool pairs = a.dbias.whole_in_pairs;
  void* whole = a.dbias.whole;
  if (a.dbias.type == DType::f32) {
    store_dbias<float2>(static_cast<float*>(whole) + at, a.keys, queries, keys, pairs, d, thread);
  } else if (a.dbias.type == DType::bf16) {
    store_dbias<__nv_bfloat162>(static_cast<__nv_bfloat16*>(whole) + at, a.keys, queries, keys,
                                pairs, d, thread);
  } else {
    store_dbias<__half2>(static_cast<__half*>(whole) + at, a.keys, queries, keys, pairs, d, thread);
  }
}

template <int kHeadDim, bool kFewRows, bool kOneTile>
__device__ void dqdbias_consume(const BackwardArguments& a,
                                typename DqDbiasConfig<kHeadDim>::Shared& shared, int w,
                                int thread) {
  using Config = DqDbiasConfig<kHeadDim>;
  using Tile = BackwardTile<kHeadDim>;
  using Unit = DqDbiasUnit<kFewRows>;
  const bool arrives = lane_arrives(thread);
  const int pair_of_row = 8 * (thread / 32) + thread % 32 / 8;  // of row 16 warp + lane / 4
  const int half = thread % 32 / 4 % 2;
  const float never = a.scale_log2 < 0 ? INFINITY : -INFINITY;  // the score of a masked key
  RingCursor<Config::kStages> keys;
  uint32_t queries_parity = 0;  // bit g for row g
  uint32_t bias_parity = 0, bias_slot = kFewRows ? w : 0, sum_parity = 1;
  const int units = Unit::count(a), chunks = (a.key_tiles + 63) / 64;
  const auto arrive = [&](Mbarrier* barrier) {
    __syncwarp();
    if (arrives) mbarrier_arrive(barrier);
  };
  const auto next_bias = [&] {
    if (kFewRows || bias_slot == 1) bias_parity ^= 1;
    if (!kFewRows) bias_slot ^= 1;
  };
  // The warpgroups take turns at turning scores into dS, each while the products of the other run.
  constexpr bool kTurns = !kFewRows && kHeadDim == 32;
  const auto take_turn = [&] {
    if constexpr (kTurns) named_barrier_sync(1 + w, 256);
  };
  const auto end_turn = [&] {
    if constexpr (kTurns) named_barrier_arrive(2 - w, 256);
  };
  if (w == 1) end_turn();
  UnitReader reader{shared.units};
  for (int u = reader.next_of_warp(); u < units; u = reader.next_of_warp()) {
    const Unit unit(a, u);
    const int tile = unit.tile_of(w), mine = unit.rows_of(w, a);
    const int turns = unit.rows_of(0, a);
    if (mine == 0) {  // nothing for this warpgroup: only keep the barriers' count
      for (int t = 0; t < a.key_tiles; ++t) {
        if constexpr (!kFewRows) {
          mbarrier_wait(&shared.bias_full[bias_slot], bias_parity);
          arrive(&shared.bias_empty[bias_slot]);
          next_bias();
        }
        for (int g = 0; g < turns; ++g) take_turn(), end_turn();
      }
      continue;
    }
    const int64_t first_line = int64_t{unit.b} * a.rows + unit.row_of(w);
    const auto pairs_of = [&](int g) {  // in global memory
      return a.query_pairs +
             (((first_line + g) * a.heads + unit.h) * a.query_tiles + tile) * kTilePairs;
    };
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
      mbarrier_wait(&shared.bias_full[bias_slot], bias_parity);
      load_scores(bias, shared.bias[bias_slot], thread);
#pragma unroll
      for (int g = 0; g < Config::kRows; ++g) {
        if (g >= mine) break;
        if (t == 0) {
          mbarrier_wait(&shared.queries_full[w][g], queries_parity >> g & 1);
          if (a.delta_from_out) {
            const int slot = static_cast<int>(keys.slot);
            mbarrier_wait(&shared.keys_full[w][slot], keys.parity);
            keys.advance();
            find_deltas<kHeadDim>(shared.k[w][slot], shared.dattention[w][g], shared.pairs[w][g],
                                  pairs_of(g), thread);
            arrive(&shared.keys_empty[w][slot]);
          }
        }
        const int slot = static_cast<int>(keys.slot);
        mbarrier_wait(&shared.keys_full[w][slot], keys.parity);
        keys.advance();
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
        take_turn();
#pragma unroll
        for (int i = 0; i < 32; ++i) {
          s[i] = exp2_fast(fmaf(s[i], a.scale_log2, bias[i] + minus_lse[i / 2 % 2]));
        }
        wgmma_wait<0>();  // dP
        pin(dp);
        if constexpr (kOneTile) {
          sum_deltas(s, dp, minus_delta);
          if (thread % 4 == 0) {
            QueryPair* pairs = pairs_of(g) + pair_of_row;
            for (int h = 0; h < 2; ++h) pairs[4 * h].minus_delta[half] = minus_delta[h];
          }
        }
        uint32_t ds[4][4];
#pragma unroll
        for (int i = 0; i < 32; ++i) {
          dp[i] = s[i] * (dp[i] + minus_delta[i / 2 % 2]);
          dbias[i] += dp[i];
          if (i % 8 == 7) as_operand(dp, i / 8, ds[i / 8]);
        }
#pragma unroll
        for (int step = 0; step < 4; ++step) pin(ds[step]);
        end_turn();
        if (g == 0) arrive(&shared.bias_empty[bias_slot]);
        if (t == a.key_tiles - 1) arrive(&shared.queries_empty[w][g]);
        wgmma_fence();
        product_over_tokens<kHeadDim>(dq[g], ds, k);
        wgmma_commit();
      }

      next_bias();
      for (int g = mine; g < turns; ++g) take_turn(), end_turn();

      if constexpr (kFewRows) {
        if (a.dbias.whole != nullptr) {
          store_dbias(a, unit.plane, tile * kBackwardTile, t * kBackwardTile, dbias, thread);
        }
      } else if (a.dbias.sums != nullptr) {
        mbarrier_wait(&shared.sum_empty[w], sum_parity);
        sum_parity ^= 1;
        store_scores(shared.sum[w], dbias, thread);
        mbarrier_arrive(&shared.sum_full[w]);
      }
    }
    wgmma_wait<0>();
#pragma unroll
    for (int g = 0; g < Config::kRows; ++g) pin(dq[g]);
    if (previous >= 0) arrive(&shared.keys_empty[w][previous]);
    queries_parity ^= (1U << mine) - 1;

    const int first = tile * kBackwardTile;
    __nv_bfloat16* to = a.dq + unit.b * a.dq_stride.batch + unit.row_of(w) * a.dq_stride.row +
                        first * a.dq_stride.token + unit.h * a.dq_stride.head;
#pragma unroll
    for (int g = 0; g < Config::kRows; ++g, to += a.dq_stride.row) {
      if (g >= mine) break;
      store_gradient<kHeadDim>(to, a.dq_stride.token, a.queries - first, ~uint64_t{0}, dq[g],
                               a.scale, a.wide_gradients, thread);
    }
  }
  if (w == 0) take_turn();  // the other's last word
}

template <int kHeadDim, bool kFewRows, bool kOneTile>
__global__ void __launch_bounds__(DqDbiasConfig<kHeadDim>::kThreads, 1)
    dqdbias_kernel(const __grid_constant__ BackwardArguments a) {
  using Config = DqDbiasConfig<kHeadDim>;
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<typename Config::Shared*>(memory);
  const bool sums = !kFewRows && a.dbias.sums != nullptr;
  if (threadIdx.x == 0) {
    for (int w = 0; w < 2; ++w) {
      for (int g = 0; g < Config::kRows; ++g) {
        mbarrier_init(&shared.queries_full[w][g], 1);
        mbarrier_init(&shared.queries_empty[w][g], 4 * kWarpArrivals);
      }
      for (int i = 0; i < Config::kStages; ++i) {
        mbarrier_init(&shared.keys_full[w][i], 1);
        mbarrier_init(&shared.keys_empty[w][i], 4 * kWarpArrivals);
      }
      mbarrier_init(&shared.bias_full[w], 1);
      mbarrier_init(&shared.bias_empty[w], (kFewRows ? 4 : 8) * kWarpArrivals);
      mbarrier_init(&shared.sum_full[w], 128);
    }
    mbarrier_init(&shared.sum_empty[0], 1);
    mbarrier_init(&shared.sum_empty[1], Config::kAdders);
    mbarrier_init(&shared.sum_ready, Config::kAdders);
    shared.units.init(sums ? 8 + Config::kAdders / 32 : 8, sums ? 1 : 0);
    fence_mbarrier_init();
  }
  __syncthreads();
  wait_for_earlier_kernels();
  const int warp = warp_index(), group = warp / 4;
  if (group == 2) {
    setmaxnreg_decrease<40>();
    if (warp == 8) dqdbias_produce<kHeadDim, kFewRows>(a, shared);
    if constexpr (!kFewRows) {
      if (warp == 9 && sums && elect_one()) dqdbias_store<kHeadDim>(a, shared);
      if (warp >= 10 && sums) dqdbias_add<kHeadDim>(a, shared, threadIdx.x - 10 * 32);
    }
  } else {
    setmaxnreg_increase<232>();
    dqdbias_consume<kHeadDim, kFewRows, kOneTile>(a, shared, group, threadIdx.x % 128);
  }
}

template <int kHeadDim>
void launch_dqdbias(const BackwardArguments& a, int multiprocessors, Stream stream) {
  using Config = DqDbiasConfig<kHeadDim>;
  const bool few = a.rows <= Config::kRows;
  const auto kernel =
      a.key_tiles == 1
          ? (few ? dqdbias_kernel<kHeadDim, true, true> : dqdbias_kernel<kHeadDim, false, true>)
          : (few ? dqdbias_kernel<kHeadDim, true, false> : dqdbias_kernel<kHeadDim, false, false>);
  const int units = few ? DqDbiasUnit<true>::count(a) : DqDbiasUnit<false>::count(a);
  launch(kernel, dim3(std::min(units, multiprocessors)), dim3(Config::kThreads),
         sizeof(typename Config::Shared), stream, true, a);
}

}  // namespace megafold::kernels::sm90a
