// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What dqdbias_kernel's consumers live on (backward_dqdbias.cuh has the whole): its shared memory,
// its units of work, the producer warp, the adding warps and the storing thread.
#pragma once

#include "kernels/common/arch/sm90a/host.h"
#include "kernels/evo_attention/sm90a/backward.cuh"

namespace megafold::kernels::sm90a {

template <int kHeadDim>
struct DqDbiasConfig {
  // Registers of a consumer: kRows x D/2 sums of dQ, 32 of dbias, 32 of bias, 64 scores, 16 packed.
  static constexpr int kRows = dqdbias_rows(kHeadDim);  // of a warpgroup
  static constexpr int kStages = kHeadDim == 32 ? 5 : 3;
  static constexpr int kThreads = 3 * 128;
  static constexpr int kAdders = 64;  // threads
  static constexpr uint32_t kTileBytes = BackwardTile<kHeadDim>::kBytes;

  struct alignas(1024) Shared {
    uint8_t q[2][kRows][kTileBytes], dattention[2][kRows][kTileBytes];
    uint8_t k[2][kStages][kTileBytes], v[2][kStages][kTileBytes];  // k: also `out`
    float bias[2][kTileScores];  // few rows: of each warpgroup; many: of a key tile and the next
    float sum[2][kTileScores];   // dbias of each warpgroup, then of both in sum[0]
    QueryPair pairs[2][kRows][kTilePairs];
    Mbarrier queries_full[2][kRows], queries_empty[2][kRows];
    Mbarrier keys_full[2][kStages], keys_empty[2][kStages];
    Mbarrier bias_full[2], bias_empty[2];
    Mbarrier sum_full[2], sum_empty[2], sum_ready;
    UnitQueue units;
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

/// Group of rows, plane, one query tile (two with few rows); query tiles fastest.
template <bool kFewRows>
struct DqDbiasUnit {
  int group, plane, b, h, first_tile, row, rows;

  static __host__ __device__ int count(const BackwardArguments& a) {
    return a.dbias.groups * columns(a);
  }
  __device__ DqDbiasUnit(const BackwardArguments& a, int unit) {
    group = unit / columns(a);
    const int column = unit % columns(a);
    plane = column / steps(a), first_tile = column % steps(a) * (kFewRows ? 2 : 1);
    b = plane / a.heads, h = plane % a.heads;
    row = group * a.dbias.group_rows;
    rows = min(a.dbias.group_rows, a.rows - row);
  }
  /// Of warpgroup w. With many rows warpgroup 0 takes the odd one.
  __device__ int tile_of(int w) const { return first_tile + (kFewRows ? w : 0); }
  __device__ int rows_of(int w, const BackwardArguments& a) const {
    if constexpr (kFewRows) return tile_of(w) < a.query_tiles ? rows : 0;
    return (rows + 1 - w) / 2;
  }
  __device__ int row_of(int w) const { return row + (kFewRows || w == 0 ? 0 : (rows + 1) / 2); }

 private:
  static __host__ __device__ int steps(const BackwardArguments& a) {
    return kFewRows ? (a.query_tiles + 1) / 2 : a.query_tiles;
  }
  static __host__ __device__ int columns(const BackwardArguments& a) {
    return a.batch * a.heads * steps(a);
  }
};

/// Run by a whole warp, so that the copies' operands stay in uniform registers; one lane issues.
template <int kHeadDim, bool kFewRows>
__device__ void dqdbias_produce(const BackwardArguments& a,
                                typename DqDbiasConfig<kHeadDim>::Shared& shared) {
  using Config = DqDbiasConfig<kHeadDim>;
  using Unit = DqDbiasUnit<kFewRows>;
  constexpr uint32_t kPairBytes = kTilePairs * sizeof(QueryPair);
  RingCursor<Config::kStages> keys[2];
  uint32_t bias_parity = 0;     // bit i: of bias[i]
  uint32_t queries_parity = 0;  // bit kRows w + g: of row g of warpgroup w
  const int units = Unit::count(a);
  const auto load_bias = [&](int i, const float* tile) {
    Mbarrier* full = &shared.bias_full[i];
    mbarrier_wait(&shared.bias_empty[i], (bias_parity >> i & 1) ^ 1);
    bias_parity ^= 1U << i;
    if (elect_one()) {
      mbarrier_expect(full, kTileScoresBytes);
      bulk_load(shared.bias[i], tile, kTileScoresBytes, full);
    }
    __syncwarp();
  };
  int bias_slot = 0;
  UnitSource source{shared.units, a.tickets};
  source.ask();
  for (int u = source.tell(); u < units; u = source.tell()) {
    source.ask();
    const Unit unit(a, u);
    const int rows[2] = {unit.rows_of(0, a), unit.rows_of(1, a)};
    const float* bias = a.bias_by_query;
    const int64_t segment = int64_t{unit.plane} * a.query_tiles + unit.first_tile;
    if (a.has_bias) bias += segment * a.key_tiles * kTileScores;
    const int64_t next_tile = a.has_bias ? int64_t{a.key_tiles} * kTileScores : 0;
    for (int t = 0; t < a.key_tiles; ++t) {
      if constexpr (kFewRows) {
        load_bias(0, bias);
        if (rows[1] > 0) load_bias(1, bias + next_tile);
      } else {
        load_bias(bias_slot, bias);
        bias_slot ^= 1;
      }
      if (a.has_bias) bias += kTileScores;
      for (int g = 0; g < rows[0]; ++g) {
#pragma unroll
        for (int w = 0; w < 2; ++w) {
          if (w == 1 && g >= rows[1]) break;
          const int row = unit.row_of(w) + g, tile = unit.tile_of(w);
          const auto free_slot = [&](uint32_t bytes) {
            Mbarrier* full = &shared.keys_full[w][keys[w].slot];
            mbarrier_wait(&shared.keys_empty[w][keys[w].slot], keys[w].parity ^ 1);
            if (elect_one()) mbarrier_expect(full, bytes);
            return full;
          };
          if (t == 0) {
            const Coordinates<5> at{{0, unit.h, tile * kBackwardTile, row, unit.b}};
            const int i = Config::kRows * w + g;
            Mbarrier* full = &shared.queries_full[w][g];
            mbarrier_wait(&shared.queries_empty[w][g], (queries_parity >> i & 1) ^ 1);
            queries_parity ^= 1U << i;
            fence_proxy_async();  // after the deltas that were written into `pairs`
            if (elect_one()) {
              mbarrier_expect(full, 2 * Config::kTileBytes + kPairBytes);
              tma_load<5>(shared.q[w][g], &a.q, full, at);
              tma_load<5>(shared.dattention[w][g], &a.dattention, full, at);
              const int64_t line = (int64_t{unit.b} * a.rows + row) * a.heads + unit.h;
              bulk_load(shared.pairs[w][g],
                        a.query_pairs + (line * a.query_tiles + tile) * kTilePairs, kPairBytes,
                        full);
            }
            __syncwarp();
            if (a.delta_from_out) {
              full = free_slot(Config::kTileBytes);
              if (elect_one()) tma_load<5>(shared.k[w][keys[w].slot], &a.out, full, at);
              __syncwarp();
              keys[w].advance();
            }
          }
          Mbarrier* full = free_slot(2 * Config::kTileBytes);
          if (elect_one()) {
            const Coordinates<5> at{{0, unit.h, t * kBackwardTile, row, unit.b}};
            tma_load<5>(shared.k[w][keys[w].slot], &a.k, full, at);
            tma_load<5>(shared.v[w][keys[w].slot], &a.v, full, at);
          }
          __syncwarp();
          keys[w].advance();
        }
      }
    }
  }
}

/// Adds the warpgroups' sums of a tile: kAdders threads, this one the `thread`th.
template <int kHeadDim>
__device__ void dqdbias_add(const BackwardArguments& a,
                            typename DqDbiasConfig<kHeadDim>::Shared& shared, int thread) {
  using Unit = DqDbiasUnit<false>;
  UnitReader reader{shared.units};
  uint32_t parity[2] = {};
  const int units = Unit::count(a);
  auto* sum = reinterpret_cast<float4*>(shared.sum[0]);
  const auto* other = reinterpret_cast<const float4*>(shared.sum[1]);
  for (int u = reader.next_of_warp(); u < units; u = reader.next_of_warp()) {
    const Unit unit(a, u);
    for (int t = 0; t < a.key_tiles; ++t) {
      mbarrier_wait(&shared.sum_full[0], parity[0]);
      parity[0] ^= 1;
      if (unit.rows_of(1, a) > 0) {
        mbarrier_wait(&shared.sum_full[1], parity[1]);
        parity[1] ^= 1;
#pragma unroll 2
        for (int i = thread; i < kTileScores / 4; i += DqDbiasConfig<kHeadDim>::kAdders) {
          float4 x = sum[i];
          const float4 y = other[i];
          x.x += y.x, x.y += y.y, x.z += y.z, x.w += y.w;
          sum[i] = x;
        }
        mbarrier_arrive(&shared.sum_empty[1]);
      }
      fence_proxy_async();
      mbarrier_arrive(&shared.sum_ready);
    }
  }
}

/// Adds the group's sum of a tile to a partial sum. One thread.
template <int kHeadDim>
__device__ void dqdbias_store(const BackwardArguments& a,
                              typename DqDbiasConfig<kHeadDim>::Shared& shared) {
  using Unit = DqDbiasUnit<false>;
  UnitReader reader{shared.units};
  uint32_t parity = 0;
  const int units = Unit::count(a), segments = a.batch * a.heads * a.query_tiles;
  for (int u = reader.next_of_thread(); u < units; u = reader.next_of_thread()) {
    const Unit unit(a, u);
    const int turn = unit.group / a.dbias.slots;
    const int64_t segment = int64_t{unit.plane} * a.query_tiles + unit.first_tile;
    const int64_t first =
        a.dbias.tile(unit.group % a.dbias.slots, segments, segment, a.key_tiles, 0);
    for (int t = 0; t < a.key_tiles; ++t) {
      float* to = a.dbias.sums + (first + t) * kTileScores;
      int* turns = a.dbias.turns + first + t;
      mbarrier_wait(&shared.sum_ready, parity);
      parity ^= 1;
      if (turn == 0) {
        bulk_store(to, shared.sum[0], kTileScoresBytes);
      } else {
        while (load_acquire(turns) != turn) __nanosleep(64);
        asm volatile("fence.proxy.async.global;" ::: "memory");
        bulk_reduce_add(to, shared.sum[0], kTileScoresBytes);
      }
      bulk_commit();
      bulk_wait_read<0>();
      mbarrier_arrive(&shared.sum_empty[0]);
      bulk_wait<0>();  // complete, then the next group's turn
      asm volatile("fence.proxy.async.global;" ::: "memory");
      store_release(turns, turn + 1);
    }
  }
}

}  // namespace megafold::kernels::sm90a
