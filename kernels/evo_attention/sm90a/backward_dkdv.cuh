// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// dK and dV. A unit of work is (plane, up to kRows rows, 64 keys): consumer warpgroup w holds K and
// V of its row as A operands in registers and dK, dV as accumulators, and walks over the query
// tiles; the rows share each bias tile. Scores stand transposed (keys are rows), so P^T and dS^T
// leave the accumulators as A operands and touch no shared memory. A producer warp feeds a ring
// whose stage holds one query tile of every row and the bias tile.
#pragma once

#include "kernels/common/arch/sm90a/host.h"
#include "kernels/evo_attention/sm90a/backward.cuh"

namespace megafold::kernels::sm90a {

template <int kHeadDim>
struct DkDvConfig {
  // Registers of a consumer: 2 x D/2 sums, 64 scores, 32 packed, D K and V. Three warpgroups hide
  // more than two where 160 registers hold that.
  static constexpr int kRows = kHeadDim == 32 ? 3 : 2;
  static constexpr int kStages = kHeadDim == 32 ? 4 : 3;
  static constexpr int kConsumerRegisters = kRows == 3 ? 160 : 240;
  static constexpr int kProducerRegisters = kRows == 3 ? 32 : 24;
  // A tile's last products run beside the loads of the next one's bias; with registers to spare
  // (P and dS are their operands) beside its first products too.
  static constexpr bool kOverlap = kRows == 2;
  static constexpr int kThreads = 128 * (kRows + 1);
  static constexpr uint32_t kTileBytes = BackwardTile<kHeadDim>::kBytes;

  struct alignas(1024) Shared {
    uint8_t q[kStages][kRows][kTileBytes], dattention[kStages][kRows][kTileBytes];
    uint8_t k[kRows][kTileBytes], v[kRows][kTileBytes];
    float bias[kStages][kTileScores];
    QueryPair pairs[kStages][kRows][kTilePairs];
    Mbarrier full[kStages], empty[kStages], keys_full, keys_empty;
    UnitQueue units;
  };
  static_assert(sizeof(Shared) <= 227 * 1024);
};

/// A unit of work, keys fastest: CTAs beside each other read the same queries.
struct DkDvUnit {
  int b, h, row, rows, key_tile;
  __device__ DkDvUnit(const BackwardArguments& a, int unit, int rows_per_unit) {
    const int chunks = (a.rows + rows_per_unit - 1) / rows_per_unit;
    key_tile = unit % a.key_tiles;
    const int rest = unit / a.key_tiles, plane = rest / chunks;
    row = rest % chunks * rows_per_unit;
    rows = min(rows_per_unit, a.rows - row);
    b = plane / a.heads, h = plane % a.heads;
  }
};

/// Run by a whole warp, so that the copies' operands stay in uniform registers; one lane issues.
template <int kHeadDim>
__device__ void dkdv_produce(const BackwardArguments& a,
                             typename DkDvConfig<kHeadDim>::Shared& shared, int units) {
  using Config = DkDvConfig<kHeadDim>;
  constexpr uint32_t kPairBytes = kTilePairs * sizeof(QueryPair);
  RingCursor<Config::kStages> ring;
  uint32_t keys_parity = 0;
  UnitSource source{shared.units, a.tickets + 1};
  source.ask();
  for (int u = source.tell(); u < units; u = source.tell()) {
    source.ask();
    const DkDvUnit unit(a, u, Config::kRows);
    const int plane = unit.b * a.heads + unit.h;
    const float* bias = a.bias_by_key;
    if (a.has_bias) {
      bias += (int64_t{plane} * a.key_tiles + unit.key_tile) * a.query_tiles * kTileScores;
    }
    const int64_t line = (int64_t{unit.b} * a.rows + unit.row) * a.heads + unit.h;
    const QueryPair* pairs = a.query_pairs + line * a.query_tiles * kTilePairs;
    const int64_t next_row = int64_t{a.heads} * a.query_tiles * kTilePairs;
    mbarrier_wait(&shared.keys_empty, keys_parity ^ 1);
    keys_parity ^= 1;
    if (elect_one()) {
      mbarrier_expect(&shared.keys_full, unit.rows * 2 * Config::kTileBytes);
#pragma unroll
      for (int w = 0; w < Config::kRows; ++w) {
        if (w >= unit.rows) break;
        const Coordinates<5> at{{0, unit.h, unit.key_tile * kBackwardTile, unit.row + w, unit.b}};
        tma_load<5>(shared.k[w], &a.k, &shared.keys_full, at);
        tma_load<5>(shared.v[w], &a.v, &shared.keys_full, at);
      }
    }
    __syncwarp();
    for (int t = 0; t < a.query_tiles; ++t) {
      Mbarrier* full = &shared.full[ring.slot];
      mbarrier_wait(&shared.empty[ring.slot], ring.parity ^ 1);
      if (elect_one()) {
        mbarrier_expect(full, kTileScoresBytes + unit.rows * (2 * Config::kTileBytes + kPairBytes));
        bulk_load(shared.bias[ring.slot], bias, kTileScoresBytes, full);
#pragma unroll
        for (int w = 0; w < Config::kRows; ++w) {
          if (w >= unit.rows) break;
          const Coordinates<5> at{{0, unit.h, t * kBackwardTile, unit.row + w, unit.b}};
          tma_load<5>(shared.q[ring.slot][w], &a.q, full, at);
          tma_load<5>(shared.dattention[ring.slot][w], &a.dattention, full, at);
          bulk_load(shared.pairs[ring.slot][w], pairs + w * next_row, kPairBytes, full);
        }
      }
      __syncwarp();
      bias += a.has_bias ? kTileScores : 0;
      pairs += kTilePairs;
      ring.advance();
    }
  }
}

template <int kHeadDim>
__device__ void dkdv_consume(const BackwardArguments& a,
                             typename DkDvConfig<kHeadDim>::Shared& shared, int units, int w,
                             int thread) {
  using Config = DkDvConfig<kHeadDim>;
  using Tile = BackwardTile<kHeadDim>;
  const bool arrives = lane_arrives(thread);
  RingCursor<Config::kStages> ring;
  uint32_t keys_parity = 0;
  UnitReader reader{shared.units};
  for (int u = reader.next_of_warp(); u < units; u = reader.next_of_warp()) {
    const DkDvUnit unit(a, u, Config::kRows);
    mbarrier_wait(&shared.keys_full, keys_parity);
    keys_parity ^= 1;
    if (w >= unit.rows) {  // no row for this warpgroup: only keep the barriers' count
      if (arrives) mbarrier_arrive(&shared.keys_empty);
      for (int t = 0; t < a.query_tiles; ++t, ring.advance()) {
        mbarrier_wait(&shared.full[ring.slot], ring.parity);
        if (arrives) mbarrier_arrive(&shared.empty[ring.slot]);
      }
      continue;
    }
    const int64_t row = unit.row + w;
    // Asked for now, needed at the end.
    const uint64_t valid =
        a.mask_words[(int64_t{unit.b} * a.rows + row) * a.key_tiles + unit.key_tile];
    uint32_t k[Tile::kSteps][4], v[Tile::kSteps][4];
    load_operand<kHeadDim>(k, shared.k[w], thread);
    load_operand<kHeadDim>(v, shared.v[w], thread);
    fence_proxy_async();  // they have arrived: the next copy may follow
    __syncwarp();
    if (arrives) mbarrier_arrive(&shared.keys_empty);

    float dk[kHeadDim / 2], dv[kHeadDim / 2];
#pragma unroll
    for (int i = 0; i < kHeadDim / 2; ++i) dk[i] = dv[i] = 0;
    int previous = -1;  // the stage whose last products may still be in flight
    const auto finish_sums = [&] {
      wgmma_wait<0>();
      pin(dk);
      pin(dv);
      if (previous >= 0 && arrives) mbarrier_arrive(&shared.empty[previous]);
    };
    for (int t = 0; t < a.query_tiles; ++t) {
      const int slot = static_cast<int>(ring.slot);
      mbarrier_wait(&shared.full[slot], ring.parity);
      ring.advance();
      const uint64_t q = descriptor(smem_address(shared.q[slot][w]), Tile::kSwizzle);
      const uint64_t da = descriptor(smem_address(shared.dattention[slot][w]), Tile::kSwizzle);
      float s[32], dp[32];
      load_scores(s, shared.bias[slot], thread);
      pin(s);
      if constexpr (!Config::kOverlap) finish_sums();
      wgmma_fence();
      product_over_head<kHeadDim>(s, k, q, true);
      wgmma_commit();
      product_over_head<kHeadDim>(dp, v, da, false);
      wgmma_commit();

      wgmma_wait<1>();  // S, and the sums of the stage before
      pin(s);
      if (Config::kOverlap && previous >= 0 && arrives) mbarrier_arrive(&shared.empty[previous]);
      previous = slot;
      // Columns are queries: pair 4 j + thread % 4 holds those of accumulators 4 j .. 4 j + 3.
      const QueryPair* pairs = shared.pairs[slot][w] + thread % 4;
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        s[i] = exp2_fast(fmaf(s[i], a.scale_log2, pairs[i / 4 * 4].minus_lse[i % 2]));
      }
      uint32_t p[4][4], ds[4][4];
#pragma unroll
      for (int step = 0; step < 4; ++step) as_operand(s, step, p[step]);
#pragma unroll
      for (int step = 0; step < 4; ++step) pin(p[step]);
      wgmma_fence();
      product_over_tokens<kHeadDim>(dv, p, da);
      wgmma_commit();

      wgmma_wait<1>();  // dP
      pin(dp);
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        dp[i] = s[i] * (dp[i] + pairs[i / 4 * 4].minus_delta[i % 2]);
      }
#pragma unroll
      for (int step = 0; step < 4; ++step) as_operand(dp, step, ds[step]);
#pragma unroll
      for (int step = 0; step < 4; ++step) pin(ds[step]);
      wgmma_fence();
      product_over_tokens<kHeadDim>(dk, ds, q);
      wgmma_commit();
    }
    finish_sums();

    const int first = unit.key_tile * kBackwardTile;
    const auto at = [&](const TokenStrides& s) {
      return unit.b * s.batch + row * s.row + first * s.token + unit.h * s.head;
    };
    store_gradient<kHeadDim>(a.dk + at(a.dk_stride), a.dk_stride.token, a.keys - first, valid, dk,
                             a.scale, a.wide_gradients, thread);
    store_gradient<kHeadDim>(a.dv + at(a.dv_stride), a.dv_stride.token, a.keys - first, valid, dv,
                             1.0F, a.wide_gradients, thread);
  }
}

template <int kHeadDim>
__global__ void __launch_bounds__(DkDvConfig<kHeadDim>::kThreads, 1)
    dkdv_kernel(const __grid_constant__ BackwardArguments a, int units) {
  using Config = DkDvConfig<kHeadDim>;
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<typename Config::Shared*>(memory);
  if (threadIdx.x == 0) {
    for (int i = 0; i < Config::kStages; ++i) {
      mbarrier_init(&shared.full[i], 1);
      mbarrier_init(&shared.empty[i], 4 * Config::kRows * kWarpArrivals);
    }
    mbarrier_init(&shared.keys_full, 1);
    mbarrier_init(&shared.keys_empty, 4 * Config::kRows * kWarpArrivals);
    shared.units.init(4 * Config::kRows, 0);
    fence_mbarrier_init();
  }
  __syncthreads();
  wait_for_earlier_kernels();
  const int group = warp_index() / 4;
  if (group == Config::kRows) {
    setmaxnreg_decrease<Config::kProducerRegisters>();
    if (warp_index() == 4 * Config::kRows) dkdv_produce<kHeadDim>(a, shared, units);
  } else {
    setmaxnreg_increase<Config::kConsumerRegisters>();
    dkdv_consume<kHeadDim>(a, shared, units, group, threadIdx.x % 128);
  }
}

template <int kHeadDim>
void launch_dkdv(const BackwardArguments& a, int multiprocessors, Stream stream) {
  using Config = DkDvConfig<kHeadDim>;
  const int chunks = (a.rows + Config::kRows - 1) / Config::kRows;
  const int units = a.batch * a.heads * chunks * a.key_tiles;
  launch(dkdv_kernel<kHeadDim>, dim3(std::min(units, multiprocessors)), dim3(Config::kThreads),
         sizeof(typename Config::Shared), stream, true, a, units);
}

}  // namespace megafold::kernels::sm90a
