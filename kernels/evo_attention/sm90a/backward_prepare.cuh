// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the backward's main kernels read and the inputs do not hold as they need it. One launch; a
// block does one of three jobs, by its index:
//   rows   with a gate: 64 queries of a row, all heads: lse, dA = dout sigmoid(gate), delta, and
//          dgate = dout out (1 - sigmoid(gate)), which needs no division by sigmoid(gate). Memory
//          bound: reads out, dout and gate once.
//   lines  without one: lse of a row's queries; delta is left to dqdbias.
//   bias   a tile of scores into the order of the accumulators: times log2(e) for dqdbias, divided
//          by scale for dkdv.
//   mask   64 keys into a word, 64 words of a row a warp; and the tickets and turns set to 0.
#pragma once

#include <cuda_fp16.h>

#include "kernels/common/arch/sm90a/host.h"
#include "kernels/evo_attention/sm90a/backward.cuh"
#include "kernels/evo_attention/sm90a/hidden.h"

namespace megafold::kernels::sm90a {

struct PrepareArguments {
  int batch, rows, heads, queries, keys, query_tiles, key_tiles;
  const __nv_bfloat16 *v, *out, *dout, *gate;  // gate null: no dattention, no dgate, no delta
  TokenStrides v_stride, out_stride, dout_stride, gate_stride, dgate_stride;
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
  uint64_t *mask_words, *whole_tiles;

  int* counts;  // tickets and turns: set to 0
  int64_t num_counts;

  int bias_blocks, row_blocks;  // row_blocks, of rows or lines: by launch_prepare
};

inline constexpr int kPrepareThreads = 256;

template <int kHeadDim>
struct PrepareRows {
  static constexpr int kLanes = kHeadDim == 32 ? 4 : 8;  // of a token's head; 8 elements each
  static constexpr int kChunks = kHeadDim / 8;
  static constexpr int kMostHeads = kPrepareThreads / kLanes;
  struct Shared {
    float delta[kMostHeads][kBackwardTile + 1], lse[kMostHeads][kBackwardTile + 1];
    int only_key;
  };
};
struct PrepareBias {
  float tile[kBackwardTile][kBackwardTile + 1];
};

__device__ __forceinline__ uint4 load_16(const __nv_bfloat16* from) {
  return *reinterpret_cast<const uint4*>(from);
}

/// The only valid key of a row, or -1 where there are more or none.
__device__ __forceinline__ int only_valid_key(const PrepareArguments& a, int b, int row,
                                              int* shared) {
  if (a.mask == nullptr) return a.keys == 1 ? 0 : -1;
  int count = 0, last = -1;
  for (int key = threadIdx.x; key < a.keys; key += kPrepareThreads) {
    if (a.mask[b * a.mask_batch + row * a.mask_row + key * a.mask_key] != 0) {
      ++count;
      last = key;
    }
  }
  const int threads = __syncthreads_count(count > 0), more = __syncthreads_or(count > 1);
  if (threads != 1 || more != 0) return -1;
  if (count == 1) *shared = last;
  __syncthreads();
  return *shared;
}

/// -log2(e) lse; a row without a valid key has lse = -inf, and keeps it so that P = 0. So does one
/// whose keys are all hidden by the bias.
__device__ __forceinline__ float minus_lse_of(float lse) {
  return lse <= kHiddenLse ? -INFINITY : -lse * kLog2E;
}

/// With one valid key P is 1 and dS = dP - delta is 0, but out is rounded, and that would be all
/// that is left of dS: then delta is dP itself, here and in prepare_lines.
template <int kHeadDim>
__device__ __forceinline__ void prepare_rows(const PrepareArguments& a, int block,
                                             typename PrepareRows<kHeadDim>::Shared& shared) {
  using Rows = PrepareRows<kHeadDim>;
  constexpr int kBatch = 2;  // 16-byte loads in flight of each tensor, without spills
  const int tile = block % a.query_tiles;
  int rest = block / a.query_tiles;
  const int head_blocks = (a.heads + Rows::kMostHeads - 1) / Rows::kMostHeads;
  const int h0 = rest % head_blocks * Rows::kMostHeads;
  const int line = rest / head_blocks, b = line / a.rows, row = line % a.rows;
  const int heads = min(Rows::kMostHeads, a.heads - h0), first = tile * kBackwardTile;
  const int tokens = min(kBackwardTile, a.queries - first);
  const int width = heads * Rows::kLanes, step = kPrepareThreads / width;
  const int lane = threadIdx.x % Rows::kLanes, first_token = threadIdx.x / width;
  const int h = threadIdx.x % width / Rows::kLanes;
  const auto at = [&](const TokenStrides& s) {
    return b * s.batch + row * s.row + first * s.token + (h0 + h) * s.head + 8 * lane;
  };
  const __nv_bfloat16 *out = a.out + at(a.out_stride), *dout = a.dout + at(a.dout_stride);
  const __nv_bfloat16* gate = a.gate + at(a.gate_stride);
  __nv_bfloat16* dgate = a.dgate != nullptr ? a.dgate + at(a.dgate_stride) : nullptr;
  __nv_bfloat16* dattention =
      a.dattention + ((int64_t{line} * a.queries + first) * a.heads + h0 + h) * kHeadDim + 8 * lane;

  const int only_key = only_valid_key(a, b, row, &shared.only_key);
  for (int i = threadIdx.x; i < heads * kBackwardTile; i += kPrepareThreads) {
    const int token = i % kBackwardTile, head = i / kBackwardTile;
    shared.lse[head][token] =
        token < tokens ? a.lse[(int64_t{line} * a.heads + h0 + head) * a.queries + first + token]
                       : -INFINITY;
    if (token >= tokens) shared.delta[head][token] = 0;
  }
  uint4 value = make_uint4(0, 0, 0, 0);
  if (only_key >= 0 && lane < Rows::kChunks) {
    value = load_16(a.v + b * a.v_stride.batch + row * a.v_stride.row +
                    only_key * a.v_stride.token + (h0 + h) * a.v_stride.head + 8 * lane);
  }

  // Every thread makes every turn: lanes meet in shuffles.
  for (int base = 0; base < kBackwardTile; base += kBatch * step) {
    uint4 o[kBatch], d[kBatch], g[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int64_t token = base + i * step + first_token;
      o[i] = d[i] = g[i] = make_uint4(0, 0, 0, 0);
      if (first_token < step && token < tokens && lane < Rows::kChunks) {
        o[i] = load_16(out + token * a.out_stride.token);
        d[i] = load_16(dout + token * a.dout_stride.token);
        g[i] = load_16(gate + token * a.gate_stride.token);
      }
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int64_t token = base + i * step + first_token;
      const bool mine = first_token < step && token < tokens;
      auto* o2 = reinterpret_cast<__nv_bfloat162*>(&o[i]);
      auto* d2 = reinterpret_cast<__nv_bfloat162*>(&d[i]);
      float sum = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float2 x = __bfloat1622float2(o2[j]), y = __bfloat1622float2(d2[j]);
        const float2 z = __bfloat1622float2(reinterpret_cast<__nv_bfloat162*>(&g[i])[j]);
        // sigmoid(z) and sigmoid(-z) from one exponential, kept finite.
        const float2 e = make_float2(__expf(fminf(-z.x, 80)), __expf(fminf(-z.y, 80)));
        const float2 open = make_float2(__fdividef(1, 1 + e.x), __fdividef(1, 1 + e.y));
        d2[j] = __floats2bfloat162_rn(y.x * open.x, y.y * open.y);
        o2[j] = __floats2bfloat162_rn(x.x * y.x * e.x * open.x, x.y * y.y * e.y * open.y);
        // From here on x is A, and y the dA that the products see: delta belongs to that one, since
        // what differs does not cancel in dS = P (dP - delta).
        x = make_float2(fmaf(x.x, e.x, x.x), fmaf(x.y, e.y, x.y));
        y = __bfloat1622float2(d2[j]);
        sum = fmaf(x.x, y.x, sum);
        sum = fmaf(x.y, y.y, sum);
      }
      if (only_key >= 0) {
        sum = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float2 y = __bfloat1622float2(d2[j]);
          const float2 v = __bfloat1622float2(reinterpret_cast<__nv_bfloat162*>(&value)[j]);
          sum += y.x * v.x + y.y * v.y;
        }
      }
      if (mine && lane < Rows::kChunks) {
        *reinterpret_cast<uint4*>(dattention + token * a.heads * kHeadDim) = d[i];
        if (dgate != nullptr) {
          *reinterpret_cast<uint4*>(dgate + token * a.dgate_stride.token) = o[i];
        }
      }
#pragma unroll
      for (int offset = 1; offset < Rows::kLanes; offset *= 2) {
        sum += __shfl_xor_sync(0xFFFFFFFF, sum, offset, Rows::kLanes);
      }
      if (lane == 0 && mine) shared.delta[h][token] = sum;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < heads * kTilePairs; i += kPrepareThreads) {
    const int head = i / kTilePairs, pair = i % kTilePairs;
    QueryPair x;
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      x.minus_lse[c] = minus_lse_of(shared.lse[head][2 * pair + c]);
      x.minus_delta[c] = -shared.delta[head][2 * pair + c];
    }
    const int64_t line_head = int64_t{line} * a.heads + h0 + head;
    a.query_pairs[(line_head * a.query_tiles + tile) * kTilePairs + pair] = x;
  }
}

inline constexpr int kLinePairs = 4 * kPrepareThreads;  // of a block of prepare_lines
inline int line_blocks(const PrepareArguments& a) {
  return (a.heads * a.query_tiles * kTilePairs + kLinePairs - 1) / kLinePairs;
}
template <int kHeadDim>
__device__ __forceinline__ void prepare_lines(const PrepareArguments& a, int block,
                                              int* shared_key) {
  const int pairs_of_head = a.query_tiles * kTilePairs, pairs = a.heads * pairs_of_head;
  const int blocks = (pairs + kLinePairs - 1) / kLinePairs;
  const int line = block / blocks, b = line / a.rows, row = line % a.rows;
  QueryPair x[kLinePairs / kPrepareThreads];
  const int first = block % blocks * kLinePairs + threadIdx.x;
#pragma unroll
  for (int i = 0; i < kLinePairs / kPrepareThreads; ++i) {
    const int at = first + i * kPrepareThreads;
    const int head = at / pairs_of_head, query = at % pairs_of_head * 2;
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      x[i].minus_lse[c] = at < pairs && query + c < a.queries
                              ? a.lse[(int64_t{line} * a.heads + head) * a.queries + query + c]
                              : -INFINITY;
    }
  }
  const int only_key = only_valid_key(a, b, row, shared_key);
#pragma unroll
  for (int i = 0; i < kLinePairs / kPrepareThreads; ++i) {
    const int at = first + i * kPrepareThreads;
    if (at >= pairs) break;
    const int head = at / pairs_of_head, query = at % pairs_of_head * 2;
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      x[i].minus_lse[c] = minus_lse_of(x[i].minus_lse[c]);
      x[i].minus_delta[c] = kUnknownDelta;
      if (only_key >= 0) {
        float delta = 0;
        const auto* dout = a.dout + b * a.dout_stride.batch + row * a.dout_stride.row +
                           (query + c) * a.dout_stride.token + head * a.dout_stride.head;
        const auto* v = a.v + b * a.v_stride.batch + row * a.v_stride.row +
                        only_key * a.v_stride.token + head * a.v_stride.head;
        for (int d = 0; query + c < a.queries && d < kHeadDim; ++d) {
          delta += static_cast<float>(dout[d]) * static_cast<float>(v[d]);
        }
        x[i].minus_delta[c] = -delta;
      }
    }
    a.query_pairs[int64_t{line} * pairs + at] = x[i];
  }
}

template <class Element>
__device__ __forceinline__ void load_bias(const PrepareArguments& a, const Element* from,
                                          int queries, int keys, PrepareBias& shared) {
#pragma unroll 8
  for (int i = 0; i < kTileScores / kPrepareThreads; ++i) {
    const int q = i * (kPrepareThreads / kBackwardTile) + threadIdx.x / kBackwardTile;
    const int k = threadIdx.x % kBackwardTile;
    float x = 0;
    if (q < queries && k < keys) x = static_cast<float>(from[q * a.bias_query + k * a.bias_key]);
    shared.tile[q][k] = x;
  }
}

__device__ __forceinline__ void prepare_bias(const PrepareArguments& a, int block,
                                             PrepareBias& shared) {
  const int kt = block % a.key_tiles, rest = block / a.key_tiles;
  const int qt = rest % a.query_tiles, plane = rest / a.query_tiles;
  const int query = qt * kBackwardTile, key = kt * kBackwardTile;
  const int64_t origin = plane / a.heads * a.bias_batch + plane % a.heads * a.bias_head +
                         query * a.bias_query + key * a.bias_key;
  const int queries = a.bias == nullptr ? 0 : a.queries - query, keys = a.keys - key;
  if (a.bias_dtype == DType::f32) {
    load_bias(a, static_cast<const float*>(a.bias) + origin, queries, keys, shared);
  } else if (a.bias_dtype == DType::bf16) {
    load_bias(a, static_cast<const __nv_bfloat16*>(a.bias) + origin, queries, keys, shared);
  } else {
    load_bias(a, static_cast<const __half*>(a.bias) + origin, queries, keys, shared);
  }
  __syncthreads();
  const auto& tile = shared.tile;
  auto* by_query = reinterpret_cast<float4*>(a.bias_by_query + int64_t{block} * kTileScores);
  auto* by_key = reinterpret_cast<float4*>(
      a.bias_by_key + ((int64_t{plane} * a.key_tiles + kt) * a.query_tiles + qt) * kTileScores);
#pragma unroll
  for (int i = threadIdx.x; i < kTileScores / 4; i += kPrepareThreads) {
    const int thread = i % 128, r = thread / 32 * 16 + thread % 32 / 4;
    const int c = i / 128 * 8 + thread % 4 * 2;
    by_query[i] = make_float4(tile[r][c] * kLog2E, tile[r][c + 1] * kLog2E, tile[r + 8][c] * kLog2E,
                              tile[r + 8][c + 1] * kLog2E);
    if (a.bias == nullptr) continue;  // both are the same tile of zeros
    const float x = a.inverse_scale;
    by_key[i] =
        make_float4(tile[c][r] * x, tile[c + 1][r] * x, tile[c][r + 8] * x, tile[c + 1][r + 8] * x);
  }
}

__device__ __forceinline__ void prepare_mask(const PrepareArguments& a, int block, int blocks) {
  for (int64_t i = int64_t{block} * kPrepareThreads + threadIdx.x; i < a.num_counts;
       i += int64_t{blocks} * kPrepareThreads) {
    a.counts[i] = 0;
  }
  const int chunks = (a.key_tiles + 63) / 64, lane = threadIdx.x % 32;
  const int64_t chunk = int64_t{block} * (kPrepareThreads / 32) + threadIdx.x / 32;
  const int64_t line = chunk / chunks;
  if (line >= int64_t{a.batch} * a.rows) return;
  const uint8_t* from = a.mask;
  if (from != nullptr) from += line / a.rows * a.mask_batch + line % a.rows * a.mask_row;
  const int first = static_cast<int>(chunk % chunks) * 64, end = min(first + 64, a.key_tiles);
  uint64_t whole = 0;
  for (int tile = first; tile < end; ++tile) {
    uint32_t bits[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t key = tile * kBackwardTile + 32 * half + lane;
      const bool valid = key < a.keys && (from == nullptr || from[key * a.mask_key] != 0);
      bits[half] = __ballot_sync(0xFFFFFFFF, valid);
    }
    if (lane == 0) a.mask_words[line * a.key_tiles + tile] = uint64_t{bits[1]} << 32 | bits[0];
    whole |= uint64_t{(bits[0] & bits[1]) == 0xFFFFFFFF} << (tile - first);
  }
  if (lane == 0) a.whole_tiles[chunk] = whole;
}

template <int kHeadDim, bool kGate>
__global__ void __launch_bounds__(kPrepareThreads, kGate ? 3 : 4)
    prepare_kernel(const __grid_constant__ PrepareArguments a) {
  __shared__ union {
    typename PrepareRows<kHeadDim>::Shared rows;
    PrepareBias bias;
  } shared;
  const int block = blockIdx.x;
  if (block < a.bias_blocks) {
    prepare_bias(a, block, shared.bias);
  } else if (block < a.bias_blocks + a.row_blocks) {
    if constexpr (kGate) {
      prepare_rows<kHeadDim>(a, block - a.bias_blocks, shared.rows);
    } else {
      prepare_lines<kHeadDim>(a, block - a.bias_blocks, &shared.rows.only_key);
    }
  } else {
    const int others = a.bias_blocks + a.row_blocks;
    prepare_mask(a, block - others, gridDim.x - others);
  }
}

/// dbias of one tile of scores: its partial sums, in order.
struct SumArguments {
  DbiasTarget partials;
  int queries, keys, query_tiles, key_tiles, segments;
  void* dbias;  // [planes, Nq, Nk]
};
template <class Element>
__global__ void __launch_bounds__(kPrepareThreads) sum_dbias_kernel(const SumArguments a) {
  wait_for_earlier_kernels();
  const int key_tile = blockIdx.x % a.key_tiles, segment = blockIdx.x / a.key_tiles;
  const int64_t plane = segment / a.query_tiles;
#pragma unroll
  for (int i = threadIdx.x; i < kTileScores / 4; i += kPrepareThreads) {
    float4 sum = make_float4(0, 0, 0, 0);
    for (int slot = 0; slot < a.partials.slots; ++slot) {
      const int64_t tile = a.partials.tile(slot, a.segments, segment, a.key_tiles, key_tile);
      const float4 x = reinterpret_cast<const float4*>(a.partials.sums + tile * kTileScores)[i];
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
void launch_prepare(PrepareArguments a, Stream stream) {
  const int64_t chunks = int64_t{a.batch} * a.rows * ((a.key_tiles + 63) / 64);
  const int64_t mask_blocks = (chunks + kPrepareThreads / 32 - 1) / (kPrepareThreads / 32);
  const int64_t heads = PrepareRows<kHeadDim>::kMostHeads;
  a.row_blocks =
      a.batch * a.rows *
      static_cast<int>(a.gate != nullptr ? a.query_tiles * ((a.heads + heads - 1) / heads)
                                         : line_blocks(a));
  const auto kernel =
      a.gate == nullptr ? prepare_kernel<kHeadDim, false> : prepare_kernel<kHeadDim, true>;
  launch(kernel, dim3(static_cast<uint32_t>(a.bias_blocks + a.row_blocks + mask_blocks)),
         dim3(kPrepareThreads), 0, stream, false, a);
}
extern template void launch_prepare<32>(PrepareArguments, Stream);
extern template void launch_prepare<48>(PrepareArguments, Stream);
extern template void launch_prepare<64>(PrepareArguments, Stream);

}  // namespace megafold::kernels::sm90a
