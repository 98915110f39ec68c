// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Attention in windows of atoms on Hopper, backward, without atomics: the same bits on every run.
//
//   dq, dbias   a warp has 16 queries of a window, walks over its keys 32 at a time, and sums dbias
//               of the samples in registers; first it makes delta, dgate and dA for ..
//   dk, dv      .. a warp that has 16 keys and walks over the queries of all windows that see them
//   sum_dbias   where the samples of a window were cut into parts
//
// Each reads its tensors once: with 32 queries a window there is nothing to save by one pass, whose
// dk and dv would have to be summed over four windows through memory.
#include "kernels/evo_attention/sm90a/hidden.h"
#include "kernels/evo_attention/sm90a/windows.cuh"

namespace megafold::kernels::sm90a {
namespace {

constexpr int kBlocks = 2;  // CTAs on a multiprocessor
constexpr int kSlots = 3;

// ---- dq, dbias -----------------------------------------------------------------------------

struct QuerySlot {
  alignas(128) uint8_t k[kPairKeyBytes], v[kPairKeyBytes];
  uint8_t q[kPairQueryBytes], dout[kPairQueryBytes], out[kPairQueryBytes], gate[kPairQueryBytes];
  float lse[64];
  uint8_t valid[kPairKeys];
  alignas(16) WindowStep step;
};
using QueryShared = PairShared<QuerySlot, kSlots>;

struct QueryCopy {
  __device__ __forceinline__ void operator()(const WindowArgs& args, QuerySlot& slot,
                                             const WindowStep& s, uint32_t valid,
                                             int thread) const {
    PairCopy()(args, slot, s, valid, thread);
    copy_queries(args, smem_address(slot.dout), args.dout, args.dout_stride, s, thread);
    copy_queries(args, smem_address(slot.out), args.out, args.out_stride, s, thread);
    if (args.gate != nullptr) {
      copy_queries(args, smem_address(slot.gate), args.gate, args.gate_stride, s, thread);
    }
    if (thread < 64) {
      const int window = 2 * s.pair + thread / 32, query = thread % 32;
      const bool have = window < args.batch && query < args.queries;
      const int64_t line = (int64_t{window} * args.rows + s.row) * args.heads + s.head;
      copy_word(smem_address(slot.lse + thread),
                have ? args.lse + line * args.queries + query : args.lse, have);
    }
  }
};

__device__ __forceinline__ float low_of(uint32_t pair) {
  return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float high_of(uint32_t pair) {
  return __uint_as_float(pair & 0xFFFF0000U);
}

/// One element behind the gate: dA as rounded for the products, its part of delta, dgate. delta
/// belongs to dA as rounded: what differs would not cancel in dP - delta.
__device__ __forceinline__ float through_gate(float dout, float out, float gate, float& delta,
                                              float& dgate) {
  const float open = sigmoid(gate), exact = dout * open, product = dout * out;
  const float rounded = __bfloat162float(__float2bfloat16(exact));
  delta += exact == 0.0F ? product : product * __fdividef(rounded, exact);
  dgate = product * (1.0F - open);
  return rounded;
}

struct QueryWarp {
  const WindowArgs& args;
  int lane, window_of_pair, query;  // query: the warp's first in its window
  float bias[16][4], dbias[16][4];

  __device__ __forceinline__ void run(const QuerySlot& slot, const WindowStep& step) {
    const int window = 2 * step.pair + window_of_pair, own = query + lane / 4;
    if (step.begins) {
      load_window_bias(args, bias, step, window, own, lane);
#pragma unroll
      for (int n = 0; n < 16; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) dbias[n][i] = 0.0F;
      }
    }
    const int row = window_of_pair * 32 + query;  // of the queries' tiles
    const bool have[2] = {own < args.queries, own + 8 < args.queries};
    uint32_t da[2][4];
    float delta[2], lse[2];
    prepare(slot, step, window, row, have, da, delta, lse);

    uint32_t q[2][4];
    load_left(q, smem_address(slot.q), row, lane);
    const uint32_t keys = smem_address(slot.k), values = smem_address(slot.v);
    const int shift = window_of_pair * step.shift;
    const float scale = args.scale * kLog2E;
    float dq[4][4] = {};
#pragma unroll
    for (int c = 0; c < 4; ++c) {  // 32 keys at a time
      float s[4][4], dp[4][4];
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        uint32_t k[4], v[4];
        load_rows(k, keys, shift + 32 * c + 8 * n, lane);
        load_rows(v, values, shift + 32 * c + 8 * n, lane);
#pragma unroll
        for (int i = 0; i < 4; ++i) s[n][i] = 0.0F, dp[n][i] = -delta[i / 2];
        multiply(s[n], q[0], k[0], k[1]);
        multiply(s[n], q[1], k[2], k[3]);
        multiply(dp[n], da[0], v[0], v[1]);
        multiply(dp[n], da[1], v[2], v[3]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          s[n][i] = fmaf(s[n][i], scale, bias[4 * c + n][i]) - lse[i / 2];
        }
      }
      if (args.mask != nullptr) {
        const uint32_t word = window_word(slot.valid, shift + 32 * c, lane);
        if (word != ~0U) mask_scores(s, word, lane);
      }
#pragma unroll
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          dp[n][i] *= exp2_fast(s[n][i]);  // dS
          dbias[4 * c + n][i] += dp[n][i];
        }
      }
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        uint32_t ds[4];
        as_left(ds, dp[2 * j], dp[2 * j + 1]);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          uint32_t k[4];
          load_columns(k, keys, shift + 32 * c + 16 * j, half, lane);
          multiply(dq[2 * half], ds, k[0], k[1]);
          multiply(dq[2 * half + 1], ds, k[2], k[3]);
        }
      }
    }
    uint32_t packed[2][4];
    as_fragment(packed, dq, args.scale);
    store_fragment(place(args.dq, args.dq_stride, window, step, own), args.dq_stride.token, packed,
                   have, lane);
    if (step.ends == 1) {
      store_dbias(window, step.head);
    } else if (step.ends > 1 && args.dbias != nullptr) {
      float4* to = reinterpret_cast<float4*>(args.sums);
      to +=
          ((step.ends - 2) * args.work.rest + blockIdx.x % args.work.rest) * (16 * kWindowThreads);
#pragma unroll
      for (int n = 0; n < 16; ++n) {
        to[n * kWindowThreads + threadIdx.x] =
            make_float4(dbias[n][0], dbias[n][1], dbias[n][2], dbias[n][3]);
      }
    }
  }

  template <class T>
  __device__ __forceinline__ static T* place(T* base, const TokenStrides& stride, int window,
                                             const WindowStep& step, int token) {
    return base + window * stride.batch + step.row * stride.row + step.head * stride.head +
           token * stride.token;
  }

  /// dA as A operands, delta and log2(e) lse of this lane's two rows; writes what the kernel of dk
  /// and dv will read, and dgate.
  __device__ __forceinline__ void prepare(const QuerySlot& slot, const WindowStep& step, int window,
                                          int row, const bool (&have)[2], uint32_t (&da)[2][4],
                                          float (&delta)[2], float (&lse)[2]) const {
    const int own = query + lane / 4;
    delta[0] = delta[1] = 0.0F;
    uint32_t dgate[2][4];
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      uint32_t out[4], gate[4];
      load_left_step(da[k], smem_address(slot.dout), row, k, lane);
      load_left_step(out, smem_address(slot.out), row, k, lane);
      if (args.gate != nullptr) load_left_step(gate, smem_address(slot.gate), row, k, lane);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const uint32_t x = da[k][i], y = out[i];
        if (args.gate == nullptr) {
          delta[i % 2] = fmaf(low_of(x), low_of(y), fmaf(high_of(x), high_of(y), delta[i % 2]));
          continue;
        }
        float low, high;
        const float a = through_gate(low_of(x), low_of(y), low_of(gate[i]), delta[i % 2], low);
        const float b = through_gate(high_of(x), high_of(y), high_of(gate[i]), delta[i % 2], high);
        da[k][i] = pack_bf16(a, b);
        dgate[k][i] = pack_bf16(low, high);
      }
    }
    if (args.gate != nullptr) {
      store_fragment(place(args.gated, args.gated_stride, window, step, own),
                     args.gated_stride.token, da, have, lane);
      if (args.dgate != nullptr) {
        store_fragment(place(args.dgate, args.dgate_stride, window, step, own),
                       args.dgate_stride.token, dgate, have, lane);
      }
    }
    const int64_t line = (int64_t{window} * args.rows + step.row) * args.heads + step.head;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      delta[half] += __shfl_xor_sync(~0U, delta[half], 1);
      delta[half] += __shfl_xor_sync(~0U, delta[half], 2);
      const float natural = slot.lse[row + lane / 4 + 8 * half];
      lse[half] = have[half] && !(natural <= kHiddenLse) ? natural * kLog2E : INFINITY;
      if (lane % 4 == 0) {
        args.stats[line * kWindowQueries + own + 8 * half] = {lse[half], delta[half]};
      }
    }
  }

  __device__ __forceinline__ void store_dbias(int window, int head) const {
    if (args.dbias == nullptr) return;
    const int64_t plane = int64_t{window} * args.heads + head;
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      const int at_query = query + lane / 4 + i / 2 % 2 * 8, key = i / 4 * 8 + lane % 4 * 2 + i % 2;
      if (at_query >= args.queries || key >= args.keys) continue;
      const int64_t at = (plane * args.queries + at_query) * args.keys + key;
      const float x = dbias[i / 4][i % 4];
      if (args.bias_dtype == DType::f32) {
        static_cast<float*>(args.dbias)[at] = x;
      } else {
        static_cast<__nv_bfloat16*>(args.dbias)[at] = __float2bfloat16(x);
      }
    }
  }
};

__global__ void __launch_bounds__(kWindowThreads, kBlocks)
    windows_dqdbias(const __grid_constant__ WindowArgs args) {
  extern __shared__ __align__(1024) uint8_t bytes[];
  QueryShared& shared = *reinterpret_cast<QueryShared*>(bytes);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  allow_next_kernel();
  wait_for_earlier_kernels();
  PairFeed<QueryShared, QueryCopy> feed(args, shared, thread);
  feed.fill();
  QueryWarp self{args, thread % 32, warp / 2, warp % 2 * 16, {}, {}};
  int slot = 0;
  while (true) {
    copy_wait<kSlots - 2>();
    __syncthreads();
    const WindowStep step = shared.slots[slot].step;
    if (step.pair < 0) break;
    feed.issue(slot == 0 ? kSlots - 1 : slot - 1);
    if (step.active >> (warp / 2) & 1) self.run(shared.slots[slot], step);
    if (++slot == kSlots) slot = 0;
  }
  copy_wait<0>();
}

/// A CTA a sequence of the rest: its parts in order.
__global__ void __launch_bounds__(kWindowThreads)
    windows_sum_dbias(const __grid_constant__ WindowArgs args) {
  allow_next_kernel();
  wait_for_earlier_kernels();
  const WindowWork& w = args.work;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const int sequence = w.rounds * w.grid + static_cast<int>(blockIdx.x);
  const int window = sequence / args.heads * 2 + warp / 2;
  if (window >= args.batch) return;
  QueryWarp self{args, thread % 32, warp / 2, warp % 2 * 16, {}, {}};
  for (int part = 0; part < w.parts; ++part) {
    const float4* from = reinterpret_cast<const float4*>(args.sums) +
                         (part * w.rest + static_cast<int>(blockIdx.x)) * (16 * kWindowThreads);
#pragma unroll
    for (int n = 0; n < 16; ++n) {
      const float4 x = from[n * kWindowThreads + thread];
      self.dbias[n][0] += x.x, self.dbias[n][1] += x.y;
      self.dbias[n][2] += x.z, self.dbias[n][3] += x.w;
    }
  }
  self.store_dbias(window, sequence % args.heads);
}

// ---- dk, dv --------------------------------------------------------------------------------

constexpr int kBlockKeys = 64;   // of a CTA
constexpr int kSeenWindows = 5;  // windows of 32 queries whose 128 keys may reach into 64 keys
constexpr int kWarpWindows = 4;  // .. into a warp's 16 keys

struct KeyStep {
  int block, head, row;       // block < 0: no more steps
  int first_window, windows;  // in the queries' tiles
  int reload;                 // the bias
  int begins, ends;           // dk and dv
};
struct KeySlot {
  alignas(128) uint8_t q[kSeenWindows * 32 * kRowPitch], da[kSeenWindows * 32 * kRowPitch];
  uint8_t k[kBlockKeys * kRowPitch], v[kBlockKeys * kRowPitch];
  float2 stats[kSeenWindows * 32];
  alignas(16) KeyStep step;
};

/// How many windows begin before `token`. They never decrease, so those are the first ones.
__device__ __forceinline__ int windows_before(const WindowArgs& args, int token) {
  int count = 0;
  for (int b = static_cast<int>(threadIdx.x) % 32; b < args.batch; b += 32) {
    count += first_key_of(args, b) < token;
  }
  return static_cast<int>(__reduce_add_sync(~0U, static_cast<unsigned>(count)));
}
/// The first window that reaches `token` or beyond.
__device__ __forceinline__ int first_reaching(const WindowArgs& args, int token) {
  return windows_before(args, token - args.keys + 1);
}
__device__ __forceinline__ int block_token(const WindowArgs& args, int block) {
  return static_cast<int>(args.first_key_block) + block * kBlockKeys;
}

/// Where the copies stand in the walk over blocks of keys. As a rule five windows reach into a
/// block, and four, from its first or second on, into a warp's share of it: one pass. Where windows
/// lie closer, they are taken four at a time.
struct KeyCursor {
  int segment = -1, row = 0, row_end = 0, begin_row = 0;
  int block = -1, head = 0, pass = 0, passes = 1, low = 0, high = 0;

  __device__ __forceinline__ void next_segment(const WindowArgs& args) {
    const WindowSegment s = window_segment(args, ++segment);
    if (s.row_end == 0) {
      block = -1;
      return;
    }
    row = begin_row = s.row;
    row_end = s.row_end;
    head = s.sequence % args.heads;
    block = s.sequence / args.heads;
    const int token = block_token(args, block);
    low = first_reaching(args, token);
    high = windows_before(args, token + kBlockKeys);
    bool one = high - low <= kSeenWindows;
    if (high - low == kSeenWindows) {
      for (int warp = 0; warp < 4; ++warp) {
        const int start = min(first_reaching(args, token + 16 * warp) - low, 1);
        one = one && windows_before(args, token + 16 * (warp + 1)) - low <= start + kWarpWindows;
      }
    }
    pass = 0;
    passes = one ? 1 : (high - low + kWarpWindows - 1) / kWarpWindows;
  }
  __device__ __forceinline__ void advance(const WindowArgs& args) {
    if (++pass < passes) return;
    pass = 0;
    if (++row < row_end) return;
    next_segment(args);
  }
  __device__ __forceinline__ KeyStep step() const {
    KeyStep s;
    s.block = block;
    s.head = head;
    s.row = row;
    s.first_window = low + pass * kWarpWindows;
    s.windows = passes == 1 ? high - low : min(kWarpWindows, high - s.first_window);
    s.reload = row == begin_row || passes > 1;
    s.begins = pass == 0;
    s.ends = pass + 1 == passes;
    return s;
  }
};

struct KeyShared {
  KeySlot slots[kSlots];
  KeyCursor cursors[2];
};

struct KeyFeed {
  const WindowArgs& args;
  KeyShared& shared;
  int thread;
  uint32_t turn = 0;

  __device__ KeyFeed(const WindowArgs& a, KeyShared& s, int t) : args(a), shared(s), thread(t) {
    KeyCursor cursor;
    cursor.next_segment(args);
    if (thread == 0) shared.cursors[0] = cursor;
    __syncthreads();
#pragma unroll 1
    for (int i = 0; i < kSlots - 1; ++i) {
      issue(i);
      __syncthreads();
    }
  }
  /// The next step into slot `to`; a barrier stands between two calls.
  __device__ __forceinline__ void issue(int to) {
    KeySlot& slot = shared.slots[to];
    KeyCursor cursor = shared.cursors[turn];
    turn ^= 1;
    const KeyStep s = cursor.step();
    if (thread == 0) slot.step = s;
    if (s.block >= 0) {
      copy_windows(smem_address(slot.q), args.q, args.q_stride, s);
      copy_windows(smem_address(slot.da), args.gated, args.gated_stride, s);
      copy_block(smem_address(slot.k), args.k, args.k_stride, s);
      copy_block(smem_address(slot.v), args.v, args.v_stride, s);
      if (thread < kSeenWindows * 16) {
        const bool have = thread / 16 < s.windows;
        const int64_t line =
            (int64_t{s.first_window + thread / 16} * args.rows + s.row) * args.heads + s.head;
        copy_chunk(smem_address(slot.stats) + thread * 16,
                   have ? args.stats + line * kWindowQueries + thread % 16 * 2 : args.stats, have);
      }
      cursor.advance(args);
    }
    if (thread == 0) shared.cursors[turn] = cursor;
    copy_commit();
  }
  __device__ __forceinline__ void copy_windows(uint32_t tile, const __nv_bfloat16* from,
                                               const TokenStrides& stride, const KeyStep& s) const {
    const int query = thread / 4, chunk = thread % 4;
    const __nv_bfloat16* first = from + s.first_window * stride.batch + s.row * stride.row +
                                 s.head * stride.head + query * stride.token + chunk * 8;
    const uint32_t to = chunk_address(tile, query, chunk);
#pragma unroll
    for (int w = 0; w < kSeenWindows; ++w) {
      const bool have = w < s.windows && query < args.queries;
      copy_chunk(to + w * 32 * kRowPitch, have ? first + w * stride.batch : from, have);
    }
  }
  __device__ __forceinline__ void copy_block(uint32_t tile, const __nv_bfloat16* from,
                                             const TokenStrides& stride, const KeyStep& s) const {
    const int lead = thread / 4, chunk = thread % 4, token = block_token(args, s.block) + lead;
    const __nv_bfloat16* first =
        from + s.row * stride.row + s.head * stride.head + token * stride.token + chunk * 8;
    const uint32_t to = chunk_address(tile, lead, chunk);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const bool have = token + 32 * i >= 0 && token + 32 * i < args.key_total;
      copy_chunk(to + i * 32 * kRowPitch, have ? first + i * 32 * stride.token : from, have);
    }
  }
};

struct KeyWarp {
  const WindowArgs& args;
  int lane, warp;
  int start;          // of this warp's windows among those of the tiles
  float bias[16][4];  // of its keys (rows) and 4 x 32 queries
  float dk[4][4], dv[4][4];

  __device__ __forceinline__ void load_bias_of(const KeyStep& s) {
    const int base = block_token(args, s.block) + warp * 16;
    start = s.windows <= kWarpWindows ? 0 : min(first_reaching(args, base) - s.first_window, 1);
#pragma unroll
    for (int w = 0; w < kWarpWindows; ++w) {
      const bool exists = start + w < s.windows;
      const int window = exists ? s.first_window + start + w : 0,
                first = first_key_of(args, window);
      const int64_t plane = window * args.bias_batch + s.head * args.bias_head;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const int query = i / 4 * 8 + lane % 4 * 2 + i % 2;
        const int token = base + lane / 4 + i / 2 % 2 * 8, key = token - first;
        float x = -INFINITY;
        if (exists && query < args.queries && key >= 0 && key < args.keys && token >= 0 &&
            token < args.key_total) {
          x = args.bias_from == nullptr
                  ? 0.0F
                  : load_bias(args, plane + query * args.bias_query + key * args.bias_key);
        }
        bias[4 * w + i / 4][i % 4] = x;
      }
    }
  }

  __device__ __forceinline__ void run(const KeySlot& slot, const KeyStep& s) {
    if (s.reload) load_bias_of(s);
    const int token = block_token(args, s.block) + warp * 16 + lane / 4;
    bool have[2], unmasked[2] = {true, true};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int at = token + 8 * half;
      have[half] = at >= 0 && at < args.key_total;
      if (have[half] && args.mask != nullptr) {
        unmasked[half] = args.mask[s.row * args.mask_row + at * args.mask_key] != 0;
      }
    }
    if (s.begins) {
#pragma unroll
      for (int i = 0; i < 16; ++i) dk[i / 4][i % 4] = dv[i / 4][i % 4] = 0.0F;
    }
    uint32_t k[2][4], v[2][4];
    load_left(k, smem_address(slot.k), warp * 16, lane);
    load_left(v, smem_address(slot.v), warp * 16, lane);
    const uint32_t queries = smem_address(slot.q), gradients = smem_address(slot.da);
    const float scale = args.scale * kLog2E;
#pragma unroll
    for (int w = 0; w < kWarpWindows; ++w) {
      const int row = (start + w) * 32;
      float p[4][4], ds[4][4];
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        uint32_t q[4], da[4];
        load_rows(q, queries, row + 8 * n, lane);
        load_rows(da, gradients, row + 8 * n, lane);
        // lse and delta of queries 2 t and 2 t + 1: this lane's columns.
        const float4 stats =
            *reinterpret_cast<const float4*>(slot.stats + row + 8 * n + lane % 4 * 2);
        ds[n][0] = ds[n][2] = -stats.y;
        ds[n][1] = ds[n][3] = -stats.w;
#pragma unroll
        for (int i = 0; i < 4; ++i) p[n][i] = 0.0F;
        multiply(p[n], k[0], q[0], q[1]);
        multiply(p[n], k[1], q[2], q[3]);
        multiply(ds[n], v[0], da[0], da[1]);
        multiply(ds[n], v[1], da[2], da[3]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float score = fmaf(p[n][i], scale, bias[4 * w + n][i]);
          p[n][i] = exp2_fast(score - (i % 2 == 0 ? stats.x : stats.z));
          ds[n][i] *= p[n][i];
        }
      }
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        uint32_t left_p[4], left_ds[4];
        as_left(left_p, p[2 * j], p[2 * j + 1]);
        as_left(left_ds, ds[2 * j], ds[2 * j + 1]);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          uint32_t q[4], da[4];
          load_columns(da, gradients, row + 16 * j, half, lane);
          load_columns(q, queries, row + 16 * j, half, lane);
          multiply(dv[2 * half], left_p, da[0], da[1]);
          multiply(dv[2 * half + 1], left_p, da[2], da[3]);
          multiply(dk[2 * half], left_ds, q[0], q[1]);
          multiply(dk[2 * half + 1], left_ds, q[2], q[3]);
        }
      }
    }
    if (s.ends) {
      store(args.dk, args.dk_stride, s, dk, args.scale, token, have, unmasked);
      store(args.dv, args.dv_stride, s, dv, 1.0F, token, have, unmasked);
    }
  }

  /// A masked key has no gradient, and may have brought anything into its own row.
  __device__ __forceinline__ void store(__nv_bfloat16* to, const TokenStrides& stride,
                                        const KeyStep& s, const float (&x)[4][4], float scale,
                                        int token, const bool (&have)[2],
                                        const bool (&unmasked)[2]) const {
    uint32_t packed[2][4];
    as_fragment(packed, x, scale);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (!unmasked[i % 2]) packed[i / 4][i % 4] = 0;
    }
    store_fragment(to + s.row * stride.row + s.head * stride.head + token * stride.token,
                   stride.token, packed, have, lane);
  }
};

__global__ void __launch_bounds__(kWindowThreads, kBlocks)
    windows_dkdv(const __grid_constant__ WindowArgs args) {
  extern __shared__ __align__(1024) uint8_t bytes[];
  KeyShared& shared = *reinterpret_cast<KeyShared*>(bytes);
  const int thread = static_cast<int>(threadIdx.x);
  allow_next_kernel();
  wait_for_earlier_kernels();
  KeyFeed feed(args, shared, thread);
  KeyWarp self{args, thread % 32, thread / 32, 0, {}, {}, {}};
  int slot = 0;
  while (true) {
    copy_wait<kSlots - 2>();
    __syncthreads();
    const KeyStep step = shared.slots[slot].step;
    if (step.block < 0) break;
    feed.issue(slot == 0 ? kSlots - 1 : slot - 1);
    self.run(shared.slots[slot], step);
    if (++slot == kSlots) slot = 0;
  }
  copy_wait<0>();
}

// ---- the host's side -----------------------------------------------------------------------

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

struct Plan {
  WindowWork pairs, blocks;
  int64_t first_key_block;
  int64_t stats_at, gated_at, sums_at, bytes;

  explicit Plan(const EvoAttentionBackward& p) {
    const EvoAttentionForward& f = p.forward;
    const int64_t most = int64_t{kBlocks} * device_info().multiprocessors;
    pairs = WindowWork::of(ceil_div(f.batch, 2) * f.heads, f.rows, most);
    // Blocks begin where windows begin, so that five windows reach into one and not six.
    const int64_t phase = f.key_first == nullptr ? (f.key_offset % 32 + 32) % 32 : 0;
    first_key_block = phase == 0 ? 0 : phase - 32;
    const int64_t count = ceil_div(f.key_total - first_key_block, kBlockKeys);
    blocks = WindowWork::of(count * f.heads, f.rows, most);
    int64_t at = 0;
    const auto take = [&](int64_t size) {
      const int64_t begin = at;
      at += ceil_div(size, 1024) * 1024;
      return begin;
    };
    const int64_t lines = f.batch * f.rows * f.heads * kWindowQueries;
    stats_at = take(lines * static_cast<int64_t>(sizeof(float2)));
    gated_at = take(f.gate != nullptr ? lines * kWindowDim * 2 : 0);
    const int64_t tiles = int64_t{pairs.parts} * pairs.rest;
    sums_at = take(p.dbias != nullptr ? tiles * 64 * kWindowThreads * 4 : 0);
    bytes = at;
  }
};

template <class Shared>
void run_kernel(void (*kernel)(WindowArgs), const WindowArgs& args, Stream stream) {
  launch(kernel, dim3(args.work.grid), dim3(kWindowThreads), sizeof(Shared), stream, true, args);
}

}  // namespace

int64_t windows_backward_bytes(const EvoAttentionBackward& p) {
  return Plan(p).bytes;
}

void launch_windows_backward(const EvoAttentionBackward& p, void* workspace, Stream stream) {
  const EvoAttentionForward& f = p.forward;
  const Plan plan(p);
  char* base = static_cast<char*>(workspace);
  WindowArgs args = window_args(f);
  args.dout = static_cast<const __nv_bfloat16*>(p.dout), args.dout_stride = p.dout_stride;
  args.dq = static_cast<__nv_bfloat16*>(p.dq), args.dq_stride = p.dq_stride;
  args.dk = static_cast<__nv_bfloat16*>(p.dk), args.dk_stride = p.dk_stride;
  args.dv = static_cast<__nv_bfloat16*>(p.dv), args.dv_stride = p.dv_stride;
  args.dgate = static_cast<__nv_bfloat16*>(p.dgate), args.dgate_stride = p.dgate_stride;
  args.dbias = p.dbias;
  args.stats = reinterpret_cast<float2*>(base + plan.stats_at);
  args.sums = reinterpret_cast<float*>(base + plan.sums_at);
  args.first_key_block = plan.first_key_block;
  if (f.gate == nullptr) {
    args.gated = const_cast<__nv_bfloat16*>(args.dout);  // only read then
    args.gated_stride = p.dout_stride;
  } else {
    args.gated = reinterpret_cast<__nv_bfloat16*>(base + plan.gated_at);
    const int64_t token = f.heads * kWindowDim, row = kWindowQueries * token;
    args.gated_stride = {f.rows * row, row, token, kWindowDim};
  }
  args.work = plan.pairs;
  run_kernel<QueryShared>(windows_dqdbias, args, stream);
  if (p.dbias != nullptr && plan.pairs.rest > 0 && f.rows > 0) {
    launch(windows_sum_dbias, dim3(plan.pairs.rest), dim3(kWindowThreads), 0, stream, true, args);
  }
  args.work = plan.blocks;
  run_kernel<KeyShared>(windows_dkdv, args, stream);
}

}  // namespace megafold::kernels::sm90a
