// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the backward's main kernels read and the inputs do not hold as they need it. One launch; a
// block does one of three jobs, by its index:
//   rows   64 queries of a row, all heads: delta, and with a gate dA = dout sigmoid(gate) and
//          dgate = dout out (1 - sigmoid(gate)), which needs no division by sigmoid(gate). Memory
//          bound: reads out, dout (and gate) once.
//   bias   a tile of scores into the order of the accumulators, twice, divided by scale.
//   mask   64 keys into a word.
#pragma once

#include <cuda_fp16.h>

#include "kernels/common/arch/sm90a/host.h"
#include "kernels/evo_attention/sm90a/backward.cuh"

namespace megafold::kernels::sm90a {

struct PrepareArguments {
  int batch, rows, heads, queries, keys, query_tiles, key_tiles;
  const __nv_bfloat16 *out, *dout, *gate;  // gate null: no dattention, no dgate
  TokenStrides out_stride, dout_stride, gate_stride, dgate_stride;
  __nv_bfloat16* dattention;  // [B, R, Nq, H, D]
  __nv_bfloat16* dgate;       // null: not wanted
  const float* lse;
  QueryPair* query_pairs;

  const void* bias;  // null: one tile of zeros
  DType bias_dtype;
  int64_t bias_batch, bias_head, bias_query, bias_key;
  float inverse_scale;
  float *bias_by_query, *bias_by_key;

  const uint8_t* mask;
  int64_t mask_batch, mask_row, mask_key;
  uint64_t* mask_words;

  int row_blocks, bias_blocks;
};

inline constexpr int kPrepareThreads = 256;
inline constexpr int kPrepareHeads = 16;  // heads of a block's tile in shared memory at a time

__device__ __forceinline__ float load_as_float(const void* from, DType dtype, int64_t at) {
  return dtype == DType::f32    ? static_cast<const float*>(from)[at]
         : dtype == DType::bf16 ? __bfloat162float(static_cast<const __nv_bfloat16*>(from)[at])
                                : __half2float(static_cast<const __half*>(from)[at]);
}

template <int kHeadDim>
__device__ void prepare_rows(const PrepareArguments& a, int block) {
  constexpr int kLanes = kHeadDim == 32 ? 4 : 8;  // a token's head: 8 elements a lane
  constexpr int kChunks = kHeadDim / 8, kBatch = 4;
  constexpr int kStride = kPrepareThreads / kLanes;
  __shared__ float delta[kPrepareHeads][kBackwardTile];
  const int tile = block % a.query_tiles, line = block / a.query_tiles;
  const int b = line / a.rows, row = line % a.rows, first = tile * kBackwardTile;
  const int lane = threadIdx.x % kLanes;
  const auto offset = [&](const TokenStrides& s, int token, int h) {
    return b * s.batch + row * s.row + (first + token) * s.token + h * s.head + 8 * lane;
  };
  for (int h0 = 0; h0 < a.heads; h0 += kPrepareHeads) {
    const int heads = min(kPrepareHeads, a.heads - h0), items = kBackwardTile * heads;
    for (int base = threadIdx.x / kLanes; base < items; base += kBatch * kStride) {
      uint4 out[kBatch], dout[kBatch], gate[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int item = base + i * kStride, token = item / heads, h = h0 + item % heads;
        out[i] = dout[i] = gate[i] = make_uint4(0, 0, 0, 0);
        if (item >= items || first + token >= a.queries || lane >= kChunks) continue;
        out[i] = *reinterpret_cast<const uint4*>(a.out + offset(a.out_stride, token, h));
        dout[i] = *reinterpret_cast<const uint4*>(a.dout + offset(a.dout_stride, token, h));
        if (a.gate != nullptr) {
          gate[i] = *reinterpret_cast<const uint4*>(a.gate + offset(a.gate_stride, token, h));
        }
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int item = base + i * kStride, token = item / heads, h = item % heads;
        auto* o = reinterpret_cast<__nv_bfloat162*>(&out[i]);
        auto* d = reinterpret_cast<__nv_bfloat162*>(&dout[i]);
        auto* g = reinterpret_cast<__nv_bfloat162*>(&gate[i]);
        float sum = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float2 x = __bfloat1622float2(o[j]), y = __bfloat1622float2(d[j]);
          const float2 product = make_float2(x.x * y.x, x.y * y.y);
          sum += product.x + product.y;
          if (a.gate != nullptr) {
            const float2 z = __bfloat1622float2(g[j]);
            // sigmoid(z) and sigmoid(-z) from one exponential, kept finite.
            const float2 e = make_float2(__expf(fminf(-z.x, 80)), __expf(fminf(-z.y, 80)));
            const float2 open = make_float2(__fdividef(1, 1 + e.x), __fdividef(1, 1 + e.y));
            const float2 shut = make_float2(e.x * open.x, e.y * open.y);
            d[j] = __floats2bfloat162_rn(y.x * open.x, y.y * open.y);
            o[j] = __floats2bfloat162_rn(product.x * shut.x, product.y * shut.y);
          }
        }
        if (a.gate != nullptr && item < items && first + token < a.queries && lane < kChunks) {
          const int64_t line_token = int64_t{line} * a.queries + first + token;
          *reinterpret_cast<uint4*>(a.dattention + (line_token * a.heads + h0 + h) * kHeadDim +
                                    8 * lane) = dout[i];
          if (a.dgate != nullptr) {
            *reinterpret_cast<uint4*>(a.dgate + offset(a.dgate_stride, token, h0 + h)) = out[i];
          }
        }
#pragma unroll
        for (int step = 1; step < kLanes; step *= 2) {
          sum += __shfl_xor_sync(0xFFFFFFFF, sum, step, kLanes);
        }
        if (lane == 0 && item < items) delta[h][token] = sum;
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < heads * kTilePairs; i += kPrepareThreads) {
      const int h = i / kTilePairs, pair = i % kTilePairs;
      const int64_t line_head = int64_t{line} * a.heads + h0 + h;
      QueryPair x;
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int token = 2 * pair + c;
        const float lse =
            first + token < a.queries ? a.lse[line_head * a.queries + first + token] : -INFINITY;
        x.minus_lse[c] = lse == -INFINITY ? -INFINITY : -lse * kLog2E;
        x.minus_delta[c] = first + token < a.queries ? -delta[h][token] : 0;
      }
      a.query_pairs[(line_head * a.query_tiles + tile) * kTilePairs + pair] = x;
    }
    __syncthreads();
  }
}

__device__ __forceinline__ void prepare_bias(const PrepareArguments& a, int64_t block) {
  __shared__ float tile[kBackwardTile][kBackwardTile + 1];
  const int kt = block % a.key_tiles;
  const int64_t rest = block / a.key_tiles;
  const int qt = rest % a.query_tiles, plane = rest / a.query_tiles;
  const int64_t origin = plane / a.heads * a.bias_batch + plane % a.heads * a.bias_head;
  for (int i = threadIdx.x; i < kTileScores; i += kPrepareThreads) {
    const int q = i / kBackwardTile, k = i % kBackwardTile;
    const int64_t query = qt * kBackwardTile + q, key = kt * kBackwardTile + k;
    const bool inside = a.bias != nullptr && query < a.queries && key < a.keys;
    const int64_t at = origin + query * a.bias_query + key * a.bias_key;
    tile[q][k] = inside ? load_as_float(a.bias, a.bias_dtype, at) * a.inverse_scale : 0;
  }
  __syncthreads();
  auto* by_query = reinterpret_cast<float4*>(a.bias_by_query + block * kTileScores);
  auto* by_key = reinterpret_cast<float4*>(
      a.bias_by_key + ((int64_t{plane} * a.key_tiles + kt) * a.query_tiles + qt) * kTileScores);
  for (int i = threadIdx.x; i < kTileScores / 4; i += kPrepareThreads) {
    const int thread = i % 128, row = thread / 32 * 16 + thread % 32 / 4;
    const int column = i / 128 * 8 + thread % 4 * 2;
    by_query[i] = make_float4(tile[row][column], tile[row][column + 1], tile[row + 8][column],
                              tile[row + 8][column + 1]);
    if (a.bias == nullptr) continue;
    by_key[i] = make_float4(tile[column][row], tile[column + 1][row], tile[column][row + 8],
                            tile[column + 1][row + 8]);
  }
}

__device__ __forceinline__ void prepare_mask(const PrepareArguments& a, int block) {
  const int64_t word = int64_t{block} * (kPrepareThreads / 32) + threadIdx.x / 32;
  if (word >= int64_t{a.batch} * a.rows * a.key_tiles) return;
  const int tile = word % a.key_tiles;
  const int64_t line = word / a.key_tiles;
  const uint8_t* from = a.mask == nullptr
                            ? nullptr
                            : a.mask + line / a.rows * a.mask_batch + line % a.rows * a.mask_row;
  uint32_t bits[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t key = tile * kBackwardTile + 32 * half + threadIdx.x % 32;
    const bool valid = key < a.keys && (from == nullptr || from[key * a.mask_key] != 0);
    bits[half] = __ballot_sync(0xFFFFFFFF, valid);
  }
  if (threadIdx.x % 32 == 0) a.mask_words[word] = uint64_t{bits[1]} << 32 | bits[0];
}

template <int kHeadDim>
__global__ void __launch_bounds__(kPrepareThreads)
    prepare_kernel(const __grid_constant__ PrepareArguments a) {
  const int block = blockIdx.x;
  if (block < a.row_blocks) {
    prepare_rows<kHeadDim>(a, block);
  } else if (block < a.row_blocks + a.bias_blocks) {
    prepare_bias(a, block - a.row_blocks);
  } else {
    prepare_mask(a, block - a.row_blocks - a.bias_blocks);
  }
}

/// dbias of one tile of scores: the partial sums of every CTA that had rows of its segment, in
/// order.
struct SumArguments {
  RowShares shares;
  int rows, queries, keys, query_tiles, key_tiles;
  const float* partial;
  void* dbias;  // [planes, Nq, Nk]
};
template <class Element>
__global__ void __launch_bounds__(kPrepareThreads) sum_dbias_kernel(const SumArguments a) {
  const int key_tile = blockIdx.x % a.key_tiles, segment = blockIdx.x / a.key_tiles;
  const int first = a.shares.cta_of(segment * a.rows);
  const int last = a.shares.cta_of((segment + 1) * a.rows - 1);
  const int64_t plane = segment / a.query_tiles;
  for (int i = threadIdx.x; i < kTileScores / 4; i += kPrepareThreads) {
    float4 sum = make_float4(0, 0, 0, 0);
    for (int cta = first; cta <= last; ++cta) {
      const int64_t slot = int64_t{cta} + segment;
      const float4 x = reinterpret_cast<const float4*>(a.partial + (slot * a.key_tiles + key_tile) *
                                                                       kTileScores)[i];
      sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
    }
    const int thread = i % 128;
    const int query = segment % a.query_tiles * kBackwardTile + thread / 32 * 16 + thread % 32 / 4;
    const int key = key_tile * kBackwardTile + i / 128 * 8 + thread % 4 * 2;
    const float values[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t q = query + j / 2 * 8, k = key + j % 2;
      if (q >= a.queries || k >= a.keys) continue;
      static_cast<Element*>(a.dbias)[(plane * a.queries + q) * a.keys + k] =
          static_cast<Element>(values[j]);
    }
  }
}

template <int kHeadDim>
void launch_prepare(const PrepareArguments& a, Stream stream) {
  const int64_t words = int64_t{a.batch} * a.rows * a.key_tiles;
  const int64_t mask_blocks = (words + kPrepareThreads / 32 - 1) / (kPrepareThreads / 32);
  launch(prepare_kernel<kHeadDim>,
         dim3(static_cast<uint32_t>(a.row_blocks + a.bias_blocks + mask_blocks)),
         dim3(kPrepareThreads), 0, stream, false, a);
}
extern template void launch_prepare<32>(const PrepareArguments&, Stream);
extern template void launch_prepare<48>(const PrepareArguments&, Stream);
extern template void launch_prepare<64>(const PrepareArguments&, Stream);

}  // namespace megafold::kernels::sm90a
