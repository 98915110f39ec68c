// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention backward on Hopper: what its kernels share. docs/kernels/evo_attention_backward.md
// has the reasoning and the measurements.
//
//   P = 2^(scale_log2 Q K^T + log2(e) (bias - lse))      dP = dA V^T       dS = P (dP - delta)
//   dV = P^T dA     dK = scale dS^T Q     dQ = scale dS K     dbias = sum over rows of dS
//
// with dA the gradient of the attention before its gate and delta_i = sum_d dA_id A_id. Up to four
// launches: prepare (with a gate delta, dA, dgate; bias in the order of the accumulators; mask
// bits), dqdbias (a warpgroup keeps dQ of 64 queries of several rows and walks over the keys, so
// that dbias of a tile is summed over those rows in registers; without a gate it finds delta too),
// sum_dbias (partial sums in a fixed order, where there is more than one group of rows), and dkdv
// (a warpgroup keeps dK and dV of 64 keys of a row and walks over the queries).
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>
#include <limits>

#include "kernels/common/arch/sm90a/tma.cuh"
#include "kernels/common/arch/sm90a/wgmma.cuh"
#include "kernels/evo_attention/evo_attention.h"

namespace megafold::kernels::sm90a {

inline constexpr int kBackwardTile = 64;  // queries and keys of a tile of scores
inline constexpr int kTileScores = kBackwardTile * kBackwardTile;
inline constexpr uint32_t kTileScoresBytes = kTileScores * sizeof(float);
inline constexpr float kLog2E = 1.4426950408889634F;

/// Row constants of two neighbouring queries: -lse2 and -delta of each. Queries past the end and
/// rows without a valid key have -lse2 = -inf, so that P = 0.
struct __align__(16) QueryPair {
  float minus_lse[2], minus_delta[2];
};
inline constexpr int kTilePairs = kBackwardTile / 2;
/// A minus_delta that prepare leaves to dqdbias, which reads dA anyway.
inline constexpr float kUnknownDelta = std::numeric_limits<float>::infinity();

/// Where dbias of a tile of scores goes. With few rows a tile is whole when its warpgroup has
/// walked over them, and goes straight to `whole`. Otherwise a group adds its sum to partial sum
/// `group % slots` of its segment (plane, query tile), in the order of the groups: `turns` counts
/// the groups that have. Enough slots that a group seldom waits for the one before it, few enough
/// that all partial sums stay in L2.
struct DbiasTarget {
  int group_rows, groups, slots;
  float* sums;  // [slot, segment, key tile], tiles as bias_by_query; null: not wanted, or `whole`
  int* turns;   // the same, a count each
  void* whole;  // [B, H, Nq, Nk] in `type`; null: not wanted, or `sums`
  DType type;
  bool whole_in_pairs;  // two keys of a query may be written at once
  __host__ __device__ int64_t tile(int slot, int64_t segments, int64_t segment, int64_t key_tiles,
                                   int64_t key_tile) const {
    return (slot * segments + segment) * key_tiles + key_tile;
  }
};
/// As many rows as a warpgroup's registers hold dQ of. Up to here they are few: one group. A group
/// of many has twice as many.
constexpr int dqdbias_rows(int64_t head_dim) {
  return head_dim == 32 ? 4 : 2;
}

/// How many lanes of a consumer warp arrive at a barrier, after all its lanes' reads. One is
/// enough; racecheck does not see that the warp's convergence orders the other lanes' reads before
/// that, so in a build for it (-DMEGAFOLD_RACECHECK) every lane arrives.
#ifdef MEGAFOLD_RACECHECK
inline constexpr int kWarpArrivals = 32;
#else
inline constexpr int kWarpArrivals = 1;
#endif
__device__ __forceinline__ bool lane_arrives(int thread) {
  return kWarpArrivals == 32 || thread % 32 == 0;
}

/// Hands units of work to the CTAs of a kernel in the order in which they ask. A unit may therefore
/// wait for any before it: those were taken by CTAs that run. A CTA's producer warp asks and tells
/// its other warps.
struct UnitQueue {
  int unit[2];
  Mbarrier full[2], empty[2];

  __device__ void init(uint32_t warps, uint32_t threads) {  // that read
    for (int i = 0; i < 2; ++i) {
      mbarrier_init(&full[i], 1);
      mbarrier_init(&empty[i], warps * kWarpArrivals + threads);
    }
  }
};
/// The producer's end, used by a whole warp.
struct UnitSource {
  UnitQueue& queue;
  int* ticket;  // in global memory, 0 before the kernel
  RingCursor<2> ring{};
  int asked = 0;

  /// Asks for a unit; the answer is waited for in tell().
  __device__ __forceinline__ void ask() {
    if (threadIdx.x % 32 == 0) asked = atomicAdd(ticket, 1);
  }
  __device__ __forceinline__ int tell() {
    const int unit = __shfl_sync(0xFFFFFFFF, asked, 0);
    mbarrier_wait(&queue.empty[ring.slot], ring.parity ^ 1);
    if (elect_one()) {
      queue.unit[ring.slot] = unit;
      mbarrier_arrive(&queue.full[ring.slot]);
    }
    __syncwarp();
    ring.advance();
    return unit;
  }
};
/// A reader's end: a whole warp, or a single thread.
struct UnitReader {
  UnitQueue& queue;
  RingCursor<2> ring{};

  __device__ __forceinline__ int next_of_warp() {
    mbarrier_wait(&queue.full[ring.slot], ring.parity);
    const int unit = __shfl_sync(0xFFFFFFFF, queue.unit[ring.slot], 0);
    if (lane_arrives(threadIdx.x)) mbarrier_arrive(&queue.empty[ring.slot]);
    ring.advance();
    return unit;
  }
  __device__ __forceinline__ int next_of_thread() {
    mbarrier_wait(&queue.full[ring.slot], ring.parity);
    const int unit = queue.unit[ring.slot];
    mbarrier_arrive(&queue.empty[ring.slot]);
    ring.advance();
    return unit;
  }
};

struct BackwardArguments {
  CUtensorMap q, k, v, dattention;  // [D, H, token, R, B], boxes of 64 tokens of one head
  CUtensorMap out;                  // the same; only with delta_from_out

  int batch, rows, heads, queries, keys, query_tiles, key_tiles;
  float scale, scale_log2;

  // The bias in fp32, a tile of scores in 16 KiB: float4 i of thread t of a warpgroup at 128 i + t,
  // the accumulators 4 i .. 4 i + 3 of wgmma.cuh. Tile (plane, query tile, key tile) of
  // bias_by_query has queries as rows and is multiplied by log2(e), for dqdbias adds it; tile
  // (plane, key tile, query tile) of bias_by_key has keys as rows and is divided by scale, for the
  // scores of dkdv start from it. A plane is b H + h. Without a bias both are one tile of zeros,
  // and has_bias is 0.
  const float* bias_by_query;
  const float* bias_by_key;
  int has_bias;
  QueryPair* query_pairs;       // [B, R, H, query_tiles * 32]
  bool delta_from_out;          // dqdbias finds delta, where it reads kUnknownDelta
  const uint64_t* mask_words;   // [B, R, key_tiles]; bit j: key 64 tile + j exists and is valid
  const uint64_t* whole_tiles;  // [B, R, key_tiles / 64 rounded up]; bit t: its word t is all ones

  __nv_bfloat16 *dq, *dk, *dv;
  TokenStrides dq_stride, dk_stride, dv_stride;
  bool wide_gradients;  // dq, dk and dv lie at multiples of 16 bytes
  DbiasTarget dbias;
  int* tickets;  // of dqdbias and of dkdv
};

template <int kHeadDim>
struct BackwardTile {
  static_assert(kHeadDim == 32 || kHeadDim == 48 || kHeadDim == 64);
  static constexpr Swizzle kSwizzle = swizzle_of_row(kHeadDim * 2);
  static constexpr int kPaddedDim = row_bytes(kSwizzle) / 2;  // 48 arrives as 64, zeros behind
  static constexpr uint32_t kBytes = kBackwardTile * row_bytes(kSwizzle);
  static constexpr int kSteps = kHeadDim / 16;  // k16 steps of a product over the head
};

/// Of this thread, known to the compiler as uniform in a warp.
__device__ __forceinline__ int warp_index() {
  return __shfl_sync(0xFFFFFFFF, static_cast<int>(threadIdx.x) / 32, 0);
}

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// to[i] += from[i] for contiguous floats in global memory; a bulk group like bulk_store.
__device__ __forceinline__ void bulk_reduce_add(float* to, const float* from, uint32_t bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(
                   reinterpret_cast<uint64_t>(to)),
               "r"(smem_address(from)), "r"(bytes)
               : "memory");
}

/// A score tile in the order of the accumulators, from or to shared memory.
__device__ __forceinline__ void load_scores(float (&s)[32], const float* tile, int thread) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float4 x = reinterpret_cast<const float4*>(tile)[128 * i + thread];
    s[4 * i] = x.x, s[4 * i + 1] = x.y, s[4 * i + 2] = x.z, s[4 * i + 3] = x.w;
  }
}
__device__ __forceinline__ void store_scores(float* tile, const float (&s)[32], int thread) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    reinterpret_cast<float4*>(tile)[128 * i + thread] =
        make_float4(s[4 * i], s[4 * i + 1], s[4 * i + 2], s[4 * i + 3]);
  }
}

/// S = bias + A B^T over the head; both operands K-major in shared memory.
template <int kHeadDim, int n>
__device__ __forceinline__ void product_over_head(float (&s)[n], uint64_t a, uint64_t b, bool add) {
  using Tile = BackwardTile<kHeadDim>;
#pragma unroll
  for (int step = 0; step < Tile::kSteps; ++step) {
    const uint64_t offset = step * k16_step(Tile::kSwizzle, Major::k);
    wgmma(s, a + offset, b + offset, add || step > 0);
  }
}
/// The same with A in registers.
template <int kHeadDim, int n>
__device__ __forceinline__ void product_over_head(
    float (&s)[n], const uint32_t (&a)[BackwardTile<kHeadDim>::kSteps][4], uint64_t b, bool add) {
  using Tile = BackwardTile<kHeadDim>;
#pragma unroll
  for (int step = 0; step < Tile::kSteps; ++step) {
    wgmma(s, a[step], b + step * k16_step(Tile::kSwizzle, Major::k), add || step > 0);
  }
}
/// D += A B over the 64 rows of B, a [token][head dim] tile in shared memory.
template <int kHeadDim, int n>
__device__ __forceinline__ void product_over_tokens(float (&d)[n], const uint32_t (&a)[4][4],
                                                    uint64_t b) {
  using Tile = BackwardTile<kHeadDim>;
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    wgmma<Major::mn>(d, a[step], b + step * k16_step(Tile::kSwizzle, Major::mn));
  }
}

/// A fragment of a swizzled [64][head dim] tile, by ldmatrix; `thread` within the warpgroup.
template <int kHeadDim>
__device__ __forceinline__ void load_operand(uint32_t (&a)[BackwardTile<kHeadDim>::kSteps][4],
                                             const void* tile, int thread) {
  constexpr uint32_t kRow = row_bytes(BackwardTile<kHeadDim>::kSwizzle);
  const int lane = thread % 32;
  const uint32_t row = 16 * (thread / 32) + lane % 16, chunk = lane / 16;
  const uint32_t swizzle = kRow == 128 ? row % 8 : row / 2 % 4;
  const uint32_t base = smem_address(tile) + row * kRow;
#pragma unroll
  for (int step = 0; step < BackwardTile<kHeadDim>::kSteps; ++step) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[step][0]), "=r"(a[step][1]), "=r"(a[step][2]), "=r"(a[step][3])
                 : "r"(base + (((2 * step + chunk) ^ swizzle) << 4))
                 : "memory");
  }
}

/// Of a quad's lanes: word i of lane l becomes word l of lane i.
__device__ __forceinline__ void transpose_in_quad(uint32_t (&x)[4], int lane) {
#pragma unroll
  for (int bit = 1; bit <= 2; bit *= 2) {
    const bool upper = lane & bit;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i & bit) continue;
      uint32_t &low = x[i], &high = x[i + bit];
      const uint32_t received = __shfl_xor_sync(0xFFFFFFFF, upper ? low : high, bit);
      (upper ? low : high) = received;
    }
  }
}

/// Writes an accumulator of 64 tokens, times `factor`, as bf16. Rows at or past `tokens` are left
/// out; rows whose bit in `valid` is not set become 0. wide: 16 bytes may be written at once.
template <int kHeadDim>
__device__ __forceinline__ void store_gradient(__nv_bfloat16* to, int64_t token_stride, int tokens,
                                               uint64_t valid, const float (&d)[kHeadDim / 2],
                                               float factor, bool wide, int thread) {
  const int row = 16 * (thread / 32) + thread % 32 / 4, lane = thread % 4;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int token = row + 8 * h;
    const bool keep = valid >> token & 1;
    uint32_t pairs[kHeadDim / 8];  // columns 8 j + 2 lane and the next
#pragma unroll
    for (int j = 0; j < kHeadDim / 8; ++j) {
      const uint32_t pair = pack_bf16(d[4 * j + 2 * h] * factor, d[4 * j + 2 * h + 1] * factor);
      pairs[j] = keep ? pair : 0;
    }
    auto* line = reinterpret_cast<uint32_t*>(to + token * token_stride);
#pragma unroll
    for (int first = 0; first < kHeadDim / 8; first += 4) {
      if (wide && first + 4 <= kHeadDim / 8) {
        uint32_t x[4] = {pairs[first], pairs[first + 1], pairs[first + 2], pairs[first + 3]};
        transpose_in_quad(x, lane);  // columns 8 (first + lane) and on
        if (token < tokens) {
          *reinterpret_cast<uint4*>(line + 4 * (first + lane)) = make_uint4(x[0], x[1], x[2], x[3]);
        }
      } else if (token < tokens) {
#pragma unroll
        for (int j = first; j < first + 4 && j < kHeadDim / 8; ++j) line[4 * j + lane] = pairs[j];
      }
    }
  }
}

// One instantiation per head width, each in its own .cu.
template <int kHeadDim>
void launch_dkdv(const BackwardArguments& arguments, int multiprocessors, Stream stream);
template <int kHeadDim>
void launch_dqdbias(const BackwardArguments& arguments, int multiprocessors, Stream stream);

}  // namespace megafold::kernels::sm90a
