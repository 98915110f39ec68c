// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention backward on Hopper: what its kernels share. docs/kernels/evo_attention_backward.md
// has the reasoning and the measurements.
//
//   P = 2^(scale_log2 Q K^T + log2(e) (bias - lse))      dP = dA V^T       dS = P (dP - delta)
//   dV = P^T dA     dK = scale dS^T Q     dQ = scale dS K     dbias = sum over rows of dS
//
// with dA the gradient of the attention before its gate and delta_i = sum_d dout_id out_id. Four
// launches: prepare (delta, dA, dgate; bias in the order of the accumulators; mask bits), dkdv (a
// warpgroup keeps dK and dV of 64 keys of a row and walks over the queries), dqdbias (a warpgroup
// keeps dQ of 64 queries of several rows and walks over the keys, so that dbias of a tile is summed
// over those rows in registers), and sum_dbias (partial sums in a fixed order).
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

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

/// Where dbias of a tile of scores is summed over the rows. A group of rows adds its sum to partial
/// sum `group % slots` of its segment (plane, query tile), in the order of the groups: `turns`
/// counts the groups that have. Enough slots that the group whose turn comes before was nearly
/// always taken up a whole wave of CTAs earlier, few enough that all partial sums stay in L2.
struct DbiasPartials {
  int group_rows, groups, slots;
  float* sums;  // [slot, segment, key tile], tiles as bias_by_query; null: dbias is not wanted
  int* turns;   // the same, a count each
  __host__ __device__ int64_t tile(int slot, int64_t segments, int64_t segment, int64_t key_tiles,
                                   int64_t key_tile) const {
    return (slot * segments + segment) * key_tiles + key_tile;
  }
};
/// Rows of a group: of two warpgroups, as many each as their registers hold dQ of.
constexpr int dqdbias_rows(int64_t head_dim) {
  return head_dim == 32 ? 8 : 4;
}

struct BackwardArguments {
  CUtensorMap q, k, v, dattention;  // [D, H, token, R, B], boxes of 64 tokens of one head

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
  const QueryPair* query_pairs;  // [B, R, H, query_tiles * 32]
  const uint64_t* mask_words;    // [B, R, key_tiles]; bit j: key 64 tile + j exists and is valid
  const uint64_t* whole_tiles;   // [B, R, key_tiles / 64 rounded up]; bit t: its word t is all ones

  __nv_bfloat16 *dq, *dk, *dv;
  TokenStrides dq_stride, dk_stride, dv_stride;
  DbiasPartials dbias;
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

/// Writes an accumulator of 64 tokens, times `factor`, as bf16. Rows at or past `tokens` are left
/// out; rows whose bit in `valid` is not set become 0.
template <int kHeadDim>
__device__ __forceinline__ void store_gradient(__nv_bfloat16* to, int64_t token_stride, int tokens,
                                               uint64_t valid, const float (&d)[kHeadDim / 2],
                                               float factor, int thread) {
  const int row = 16 * (thread / 32) + thread % 32 / 4;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int token = row + 8 * h;
    if (token >= tokens) continue;
    const bool keep = valid >> token & 1;
    auto* line = reinterpret_cast<uint32_t*>(to + token * token_stride) + thread % 4;
#pragma unroll
    for (int j = 0; j < kHeadDim / 8; ++j) {
      const uint32_t pair = pack_bf16(d[4 * j + 2 * h] * factor, d[4 * j + 2 * h + 1] * factor);
      line[4 * j] = keep ? pair : 0;
    }
  }
}

// One instantiation per head width, each in its own .cu.
template <int kHeadDim>
void launch_dkdv(const BackwardArguments& arguments, int multiprocessors, Stream stream);
template <int kHeadDim>
void launch_dqdbias(const BackwardArguments& arguments, int multiprocessors, Stream stream);

}  // namespace megafold::kernels::sm90a
