// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Attention in windows of atoms on Hopper, backward, without atomics: the same bits on every run.
//
//   dq, dbias   a warp has 16 queries of a window and half of its keys, 16 at a time, and sums
//   dbias
//               of the samples in registers; first the CTA makes delta, dgate and dA for ..
//   dk, dv      .. a warp that has 16 keys and half of the queries of all windows that see them
//   sum_dbias   where the samples of a window were cut into parts
//
// Two warps that share their rows hand each other what they have of half of the sums, in fp32
// through shared memory: so a thread's part of bias and sums is small enough for 16 warps a
// multiprocessor. Each kernel reads its tensors once: with 32 queries a window there is nothing to
// save by one pass, whose dk and dv would have to be summed over four windows through memory.
#include "kernels/evo_attention/sm90a/hidden.h"
#include "kernels/evo_attention/sm90a/windows.cuh"

namespace megafold::kernels::sm90a {
namespace {

constexpr int kBlocks = 2;  // CTAs on a multiprocessor
constexpr int kSlots = 3;
constexpr int kThreads = 256;
constexpr int kHalfBlocks = 8;  // blocks of 8 keys, or of 8 queries, of a warp

// ---- dq, dbias -----------------------------------------------------------------------------

struct QuerySlot {
  alignas(512) uint8_t k[kPairKeyBytes], v[kPairKeyBytes];
  uint8_t q[kPairQueryBytes], dout[kPairQueryBytes], out[kPairQueryBytes], gate[kPairQueryBytes];
  float lse[64];
  float2 stats[64];  // log2(e) lse (+inf: no gradient), delta
  uint8_t valid[kPairKeys];
  alignas(16) WindowStep step;
};
using QueryShared = PairShared<QuerySlot, kSlots, kThreads / 32>;

struct GradientsMore {
  static constexpr uint32_t kLseBytes = kWindowQueries * sizeof(float);
  __device__ static int windows(const PairArgs& args, const WindowStep& s) {
    return args.lse_aligned ? min(2, args.batch - 2 * s.pair) : 0;
  }
  __device__ static uint32_t bytes(const PairArgs& args, const WindowStep& s) {
    return (args.gate != nullptr ? 3 : 2) * kPairQueryBytes + windows(args, s) * kLseBytes;
  }
  __device__ static void load(const PairArgs& args, QuerySlot& slot, Mbarrier* full,
                              const WindowStep& s) {
    load_queries(slot.dout, &args.dout_map, full, s);
    load_queries(slot.out, &args.out_map, full, s);
    if (args.gate != nullptr) load_queries(slot.gate, &args.gate_map, full, s);
    for (int w = 0; w < windows(args, s); ++w) {
      const int64_t line = (int64_t{2 * s.pair + w} * args.rows + s.row) * args.heads + s.head;
      bulk_load(slot.lse + 32 * w, args.lse + line * kWindowQueries, kLseBytes, full);
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

template <class T>
__device__ __forceinline__ T* place(T* base, const TokenStrides& stride, int window, int token,
                                    const WindowStep& step) {
  return base + window * stride.batch + step.row * stride.row + step.head * stride.head +
         token * stride.token;
}

/// A thread's 8 of 32 columns of a query: dA, in dout's place, delta and log2(e) lse; writes what
/// the kernel of dk and dv will read, and dgate. Two warps make what they will read themselves.
__device__ __forceinline__ void prepare_queries(const WindowArgs& args, QuerySlot& slot,
                                                const WindowStep& step, int thread) {
  const int row = thread / 4, chunk = thread % 4, query = row % 32;
  const int window = 2 * step.pair + row / 32;
  const uint32_t at = chunk_address(0, row, chunk);
  const bool have = query < args.queries;
  const uint4 dout = *reinterpret_cast<const uint4*>(slot.dout + at);
  const uint4 out = *reinterpret_cast<const uint4*>(slot.out + at);
  uint32_t x[4] = {dout.x, dout.y, dout.z, dout.w};
  const uint32_t y[4] = {out.x, out.y, out.z, out.w};
  float delta = 0.0F;
  if (args.gate == nullptr) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      delta = fmaf(low_of(x[i]), low_of(y[i]), fmaf(high_of(x[i]), high_of(y[i]), delta));
    }
  } else {
    const uint4 gate = *reinterpret_cast<const uint4*>(slot.gate + at);
    const uint32_t z[4] = {gate.x, gate.y, gate.z, gate.w};
    uint32_t dgate[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float low, high;
      const float a = through_gate(low_of(x[i]), low_of(y[i]), low_of(z[i]), delta, low);
      const float b = through_gate(high_of(x[i]), high_of(y[i]), high_of(z[i]), delta, high);
      x[i] = pack_bf16(a, b);
      dgate[i] = pack_bf16(low, high);
    }
    const uint4 da = make_uint4(x[0], x[1], x[2], x[3]);
    *reinterpret_cast<uint4*>(slot.dout + at) = da;
    if (have) {
      *reinterpret_cast<uint4*>(place(args.gated, args.gated_stride, window, query, step) +
                                8 * chunk) = da;
      if (args.dgate != nullptr) {
        *reinterpret_cast<uint4*>(place(args.dgate, args.dgate_stride, window, query, step) +
                                  8 * chunk) = make_uint4(dgate[0], dgate[1], dgate[2], dgate[3]);
      }
    }
  }
  delta += __shfl_xor_sync(~0U, delta, 1);
  delta += __shfl_xor_sync(~0U, delta, 2);
  if (chunk == 0) {
    const int64_t line = (int64_t{window} * args.rows + step.row) * args.heads + step.head;
    float natural = 0.0F;
    if (args.lse_aligned) {
      natural = slot.lse[row];
    } else if (have) {
      natural = args.lse[line * args.queries + query];
    }
    const float lse = have && !(natural <= kHiddenLse) ? natural * kLog2E : INFINITY;
    slot.stats[row] = {lse, delta};
    args.stats[line * kWindowQueries + query] = {lse, delta};
  }
}

/// Of the two warps that share rows: half 0 keeps `first` and gets the other's, half 1 `second`;
/// the sum stands in `first`. A warp writes 8 n float4 at `own`; `barrier` is the two warps' alone.
template <int n>
__device__ __forceinline__ void exchange(float4* own, const float4* other, float (&first)[n],
                                         const float (&second)[n], int half, int barrier,
                                         int lane) {
#pragma unroll
  for (int i = 0; i < n; i += 4) {
    own[i / 4 * 32 + lane] =
        half == 0 ? make_float4(second[i], second[i + 1], second[i + 2], second[i + 3])
                  : make_float4(first[i], first[i + 1], first[i + 2], first[i + 3]);
  }
  named_barrier_sync(barrier, 64);
#pragma unroll
  for (int i = 0; i < n; i += 4) {
    const float4 x = other[i / 4 * 32 + lane];
    first[i] = (half == 0 ? first[i] : second[i]) + x.x;
    first[i + 1] = (half == 0 ? first[i + 1] : second[i + 1]) + x.y;
    first[i + 2] = (half == 0 ? first[i + 2] : second[i + 2]) + x.z;
    first[i + 3] = (half == 0 ? first[i + 3] : second[i + 3]) + x.w;
  }
}

template <bool kMasked>
struct QueryWarp {
  const WindowArgs& args;
  int lane, rows, half;  // rows: which 16 of the pair's 64 queries; half: keys 64 half ..
  float bias[kHalfBlocks][4], dbias[kHalfBlocks][4];

  __device__ __forceinline__ int window_of_pair() const { return rows / 2; }
  /// This lane's first query in its window.
  __device__ __forceinline__ int query() const { return rows % 2 * 16 + lane / 4; }

  __device__ __forceinline__ void run(QuerySlot& slot, const WindowStep& step) {
    const int window = 2 * step.pair + window_of_pair();
    if (step.begins) {
      load_window_bias<kHalfBlocks>(args, bias, step, window, query(), kHalfBlocks * half, lane);
#pragma unroll
      for (int i = 0; i < 32; ++i) dbias[i / 4][i % 4] = 0.0F;
    }
    prepare_queries(args, slot, step, static_cast<int>(threadIdx.x));
    fence_proxy_async();  // before TMA writes there again
    named_barrier_sync(1 + rows, 64);
    uint32_t q[2][4], da[2][4];
    load_left(q, smem_address(slot.q), 16 * rows, lane);
    load_left(da, smem_address(slot.dout), 16 * rows, lane);
    const float2 stats[2] = {slot.stats[16 * rows + lane / 4],
                             slot.stats[16 * rows + lane / 4 + 8]};
    const int shift = window_of_pair() * step.shift + 8 * kHalfBlocks * half;
    const uint32_t keys = rows_place(smem_address(slot.k), shift, lane);
    const uint32_t values = rows_place(smem_address(slot.v), shift, lane);
    const uint32_t key_columns = columns_place(smem_address(slot.k), shift, lane);
    const float scale = args.scale * kLog2E;
    float dq[2][8] = {};  // columns 0 .. 15, 16 .. 31
    uint32_t word = ~0U;
#pragma unroll
    for (int c = 0; c < kHalfBlocks / 2; ++c) {  // 16 keys at a time
      float s[2][4], dp[2][4];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        uint32_t k[4], v[4];
        load_rows(k, keys, 16 * c + 8 * n);
        load_rows(v, values, 16 * c + 8 * n);
#pragma unroll
        for (int i = 0; i < 4; ++i) s[n][i] = 0.0F, dp[n][i] = -stats[i / 2].y;
        multiply(s[n], q[0], k[0], k[1]);
        multiply(s[n], q[1], k[2], k[3]);
        multiply(dp[n], da[0], v[0], v[1]);
        multiply(dp[n], da[1], v[2], v[3]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          s[n][i] = fmaf(s[n][i], scale, bias[2 * c + n][i]) - stats[i / 2].x;
        }
      }
      if constexpr (kMasked) {
        if (c % 2 == 0) word = window_word(slot.valid, shift + 16 * c, lane);
        mask_scores<2>(s, word >> (c % 2 * 16), lane);
      }
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          dp[n][i] *= exp2_fast(s[n][i]);  // dS
          dbias[2 * c + n][i] += dp[n][i];
        }
      }
      uint32_t ds[4];
      as_left(ds, dp[0], dp[1]);
#pragma unroll
      for (int columns = 0; columns < 2; ++columns) {
        uint32_t k[4];
        load_columns(k, key_columns, 16 * c, columns);
        multiply(*reinterpret_cast<float(*)[4]>(dq[columns]), ds, k[0], k[1]);
        multiply(*reinterpret_cast<float(*)[4]>(dq[columns] + 4), ds, k[2], k[3]);
      }
    }
    // Nobody reads these rows of out and gate any more: a KiB a warp.
    float4* parts[2] = {reinterpret_cast<float4*>(slot.out + 1024 * rows),
                        reinterpret_cast<float4*>(slot.gate + 1024 * rows)};
    exchange(half == 0 ? parts[0] : parts[1], half == 0 ? parts[1] : parts[0], dq[0], dq[1], half,
             1 + rows, lane);
    fence_proxy_async();  // before TMA writes there again
    store_dq(window, step, dq[0]);
    if (step.ends == 1) {
      store_dbias(window, step.head);
    } else if (step.ends > 1 && args.dbias != nullptr) {
      float4* to = reinterpret_cast<float4*>(args.sums) + threadIdx.x;
      to += ((step.ends - 2) * args.work.rest + blockIdx.x % args.work.rest) *
            (kHalfBlocks * kThreads);
#pragma unroll
      for (int n = 0; n < kHalfBlocks; ++n) {
        to[n * kThreads] = make_float4(dbias[n][0], dbias[n][1], dbias[n][2], dbias[n][3]);
      }
    }
  }

  /// This warp's 16 columns of dq. A lane's pairs are exchanged within its quad, so that each has 8
  /// columns of one query.
  __device__ __forceinline__ void store_dq(int window, const WindowStep& step,
                                           const float (&x)[8]) const {
    uint32_t word[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // i / 2: the query, i % 2: the block of 8 columns
      const int at = i % 2 * 4 + i / 2 * 2;
      word[i] = pack_bf16(x[at] * args.scale, x[at + 1] * args.scale);
    }
    transpose_quad<true>(word, lane % 4);
    const int own = query() + lane % 4 / 2 * 8;
    if (own >= args.queries) return;
    *reinterpret_cast<uint4*>(place(args.dq, args.dq_stride, window, own, step) + 16 * half +
                              lane % 2 * 8) = make_uint4(word[0], word[1], word[2], word[3]);
  }

  __device__ __forceinline__ void store_dbias(int window, int head) const {
    if (args.dbias == nullptr) return;
    const int64_t plane = int64_t{window} * args.heads + head;
#pragma unroll
    for (int i = 0; i < 4 * kHalfBlocks; ++i) {
      const int at_query = query() + i / 2 % 2 * 8;
      const int key = 8 * (kHalfBlocks * half + i / 4) + lane % 4 * 2 + i % 2;
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

template <bool kMasked>
__global__ void __launch_bounds__(kThreads, kBlocks)
    windows_dqdbias(const __grid_constant__ PairArgs args) {
  extern __shared__ __align__(1024) uint8_t bytes[];
  QueryShared& shared = *reinterpret_cast<QueryShared*>(bytes);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  if (thread == 0) shared.init();
  __syncthreads();
  allow_next_kernel();
  wait_for_earlier_kernels();
  PairFeed<QueryShared, GradientsMore, kMasked> feed(args, shared, thread % 32);
  QueryWarp<kMasked> self{args, thread % 32, warp / 2, warp % 2, {}, {}};
  RingCursor<kSlots> ring;
  while (true) {
    if (warp == 0) feed.issue();
    feed.wait(ring.slot, ring.parity);
    const WindowStep step = shared.slots[ring.slot].step;
    if (step.pair < 0) break;
    if (step.active >> self.window_of_pair() & 1) self.run(shared.slots[ring.slot], step);
    shared.release(ring.slot);
    ring.advance();
  }
}

/// A CTA a sequence of the rest: its parts in order.
__global__ void __launch_bounds__(kThreads)
    windows_sum_dbias(const __grid_constant__ WindowArgs args) {
  allow_next_kernel();
  wait_for_earlier_kernels();
  const WindowWork& w = args.work;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const int sequence = w.rounds * w.grid + static_cast<int>(blockIdx.x);
  QueryWarp<false> self{args, thread % 32, warp / 2, warp % 2, {}, {}};
  const int window = sequence / args.heads * 2 + self.window_of_pair();
  if (window >= args.batch) return;
  for (int part = 0; part < w.parts; ++part) {
    const float4* from = reinterpret_cast<const float4*>(args.sums) +
                         (part * w.rest + static_cast<int>(blockIdx.x)) * (kHalfBlocks * kThreads);
#pragma unroll
    for (int n = 0; n < kHalfBlocks; ++n) {
      const float4 x = from[n * kThreads + thread];
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
/// Boxes of q and dA are kSeenWindows windows, of k and v kBlockKeys keys.
struct KeyArgs : WindowArgs {
  CUtensorMap q_map, da_map, k_map, v_map;
};
struct KeySlot {
  alignas(512) uint8_t q[kSeenWindows * 32 * kRowPitch], da[kSeenWindows * 32 * kRowPitch];
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

struct KeyShared : WindowRing<KeySlot, kSlots, kThreads / 32> {
  float4 parts[kThreads / 32][128];  // of dk and dv, on their way to the other warp
  KeyCursor cursor;
};

/// Brings one step after the other; warp 0 calls it.
struct KeyFeed {
  const KeyArgs& args;
  KeyShared& shared;
  int lane;
  RingCursor<kSlots> ring;

  __device__ KeyFeed(const KeyArgs& a, KeyShared& s, int l) : args(a), shared(s), lane(l) {
    if (threadIdx.x >= 32) return;
    KeyCursor cursor;
    cursor.next_segment(args);
    if (lane == 0) shared.cursor = cursor;
    __syncwarp();
#pragma unroll 1
    for (int i = 0; i < kSlots - 1; ++i) issue();
  }
  __device__ __forceinline__ void issue() {
    const uint32_t to = ring.slot;
    mbarrier_wait(&shared.empty[to], ring.parity ^ 1);
    ring.advance();
    KeySlot& slot = shared.slots[to];
    KeyCursor cursor = shared.cursor;
    const KeyStep s = cursor.step();
    if (lane == 0) slot.step = s;
    if (s.block < 0) {
      if (lane == 0) mbarrier_arrive(&shared.full[to]);
      return;
    }
    if (s.windows < kSeenWindows) {  // what stands there may be no number; P is 0 there
      for (int w = s.windows; w < kSeenWindows; ++w) slot.stats[32 * w + lane] = {0.0F, 0.0F};
      fence_proxy_async();  // before a bulk copy writes there again
    }
    cursor.advance(args);
    __syncwarp();
    if (lane == 0) {
      shared.cursor = cursor;
      load(slot, &shared.full[to], s);
    }
    __syncwarp();
  }
  /// By one thread. Windows behind s.windows come along if there are any; their P is 0.
  __device__ __forceinline__ void load(KeySlot& slot, Mbarrier* full, const KeyStep& s) const {
    constexpr uint32_t kStatsBytes = kWindowQueries * sizeof(float2);
    mbarrier_expect(full, sizeof(slot.q) + sizeof(slot.da) + sizeof(slot.k) + sizeof(slot.v) +
                              s.windows * kStatsBytes);
    const Coordinates<5> queries = {{0, s.head, 0, s.row, s.first_window}};
    const Coordinates<4> keys = {{0, s.head, block_token(args, s.block), s.row}};
    tma_load<5>(slot.q, &args.q_map, full, queries);
    tma_load<5>(slot.da, &args.da_map, full, queries);
    tma_load<4>(slot.k, &args.k_map, full, keys);
    tma_load<4>(slot.v, &args.v_map, full, keys);
#pragma unroll 1
    for (int w = 0; w < s.windows; ++w) {
      const int64_t line = (int64_t{s.first_window + w} * args.rows + s.row) * args.heads + s.head;
      bulk_load(slot.stats + 32 * w, args.stats + line * kWindowQueries, kStatsBytes, full);
    }
  }
};

struct KeyWarp {
  const WindowArgs& args;
  int lane, keys, half;        // keys: which 16 of the block's 64; half: windows start + 2 half ..
  int start;                   // of these keys' windows among those of the tiles
  float bias[kHalfBlocks][4];  // of its keys (rows) and 2 x 32 queries
  float dk[16], dv[16];

  __device__ __forceinline__ void load_bias_of(const KeyStep& s) {
    const int base = block_token(args, s.block) + keys * 16;
    start = s.windows <= kWarpWindows ? 0 : min(first_reaching(args, base) - s.first_window, 1);
#pragma unroll
    for (int w = 0; w < kWarpWindows / 2; ++w) {
      const int ahead = start + 2 * half + w;
      const bool exists = ahead < s.windows;
      const int window = exists ? s.first_window + ahead : 0, first = first_key_of(args, window);
      const int64_t plane = window * args.bias_batch + s.head * args.bias_head;
      const int key = base + lane / 4 - first;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const int query = i / 4 * 8 + lane % 4 * 2 + i % 2, down = i / 2 % 2 * 8;
        const int token = base + lane / 4 + down;
        const bool have = exists && query < args.queries && key + down >= 0 &&
                          key + down < args.keys && token >= 0 && token < args.key_total;
        float x = have ? 0.0F : -INFINITY;
        if (have && args.bias_from != nullptr) {
          x = load_bias(args, plane + query * args.bias_query + (key + down) * args.bias_key);
        }
        bias[4 * w + i / 4][i % 4] = x;
      }
    }
#pragma unroll
    for (int i = 0; i < 4 * kHalfBlocks; ++i) bias[i / 4][i % 4] = scaled_bias(bias[i / 4][i % 4]);
  }

  __device__ __forceinline__ void run(const KeySlot& slot, KeyShared& shared, const KeyStep& s) {
    if (s.reload) load_bias_of(s);
    if (s.begins) {
#pragma unroll
      for (int i = 0; i < 16; ++i) dk[i] = dv[i] = 0.0F;
    }
    uint32_t k[2][4], v[2][4];
    load_left(k, smem_address(slot.k), keys * 16, lane);
    load_left(v, smem_address(slot.v), keys * 16, lane);
    const int begin = (start + 2 * half) * 32;
    const uint32_t queries = rows_place(smem_address(slot.q), begin, lane);
    const uint32_t gradients = rows_place(smem_address(slot.da), begin, lane);
    const uint32_t query_columns = columns_place(smem_address(slot.q), begin, lane);
    const uint32_t gradient_columns = columns_place(smem_address(slot.da), begin, lane);
    const float2* pairs = slot.stats + begin + lane % 4 * 2;  // this lane's columns' queries
    const float scale = args.scale * kLog2E;
#pragma unroll
    for (int j = 0; j < kHalfBlocks / 2; ++j) {  // 16 queries at a time
      float p[2][4], ds[2][4];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        uint32_t q[4], da[4];
        load_rows(q, queries, 16 * j + 8 * n);
        load_rows(da, gradients, 16 * j + 8 * n);
        // lse and delta of queries 2 t and 2 t + 1: this lane's columns.
        const float4 stats = *reinterpret_cast<const float4*>(pairs + 16 * j + 8 * n);
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
          const float score = fmaf(p[n][i], scale, bias[2 * j + n][i]);
          p[n][i] = exp2_fast(score - (i % 2 == 0 ? stats.x : stats.z));
          ds[n][i] *= p[n][i];
        }
      }
      uint32_t left_p[4], left_ds[4];
      as_left(left_p, p[0], p[1]);
      as_left(left_ds, ds[0], ds[1]);
#pragma unroll
      for (int columns = 0; columns < 2; ++columns) {
        uint32_t q[4], da[4];
        load_columns(da, gradient_columns, 16 * j, columns);
        load_columns(q, query_columns, 16 * j, columns);
        multiply(*reinterpret_cast<float(*)[4]>(dv + 8 * columns), left_p, da[0], da[1]);
        multiply(*reinterpret_cast<float(*)[4]>(dv + 8 * columns + 4), left_p, da[2], da[3]);
        multiply(*reinterpret_cast<float(*)[4]>(dk + 8 * columns), left_ds, q[0], q[1]);
        multiply(*reinterpret_cast<float(*)[4]>(dk + 8 * columns + 4), left_ds, q[2], q[3]);
      }
    }
    if (s.ends) {
      named_barrier_sync(1 + keys, 64);  // the other has read what the last step left
      exchange(shared.parts[2 * keys + half], shared.parts[2 * keys + 1 - half], dk, dv, half,
               1 + keys, lane);
      store(s);
    }
  }

  /// dk (half 0) or dv, which stands in dk by now. A masked key has no gradient, and may have
  /// brought anything into its own row.
  __device__ __forceinline__ void store(const KeyStep& s) const {
    const int token = block_token(args, s.block) + keys * 16 + lane / 4;
    bool have[2], unmasked[2] = {true, true};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = token + 8 * i;
      have[i] = at >= 0 && at < args.key_total;
      if (have[i] && args.mask != nullptr) {
        unmasked[i] = args.mask[s.row * args.mask_row + at * args.mask_key] != 0;
      }
    }
    uint32_t packed[2][4];
    as_fragment(packed, *reinterpret_cast<const float(*)[4][4]>(dk), half == 0 ? args.scale : 1.0F);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (!unmasked[i % 2]) packed[i / 4][i % 4] = 0;
    }
    const TokenStrides& stride = half == 0 ? args.dk_stride : args.dv_stride;
    store_fragment((half == 0 ? args.dk : args.dv) + s.row * stride.row + s.head * stride.head +
                       token * stride.token,
                   stride.token, packed, have, lane);
  }
};

__global__ void __launch_bounds__(kThreads, kBlocks)
    windows_dkdv(const __grid_constant__ KeyArgs args) {
  extern __shared__ __align__(1024) uint8_t bytes[];
  KeyShared& shared = *reinterpret_cast<KeyShared*>(bytes);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  if (thread == 0) shared.init();
  __syncthreads();
  allow_next_kernel();
  wait_for_earlier_kernels();
  KeyFeed feed(args, shared, thread % 32);
  KeyWarp self{args, thread % 32, warp / 2, warp % 2, 0, {}, {}, {}};
  RingCursor<kSlots> ring;
  while (true) {
    if (warp == 0) feed.issue();
    mbarrier_wait(&shared.full[ring.slot], ring.parity);
    const KeyStep step = shared.slots[ring.slot].step;
    if (step.block < 0) break;
    self.run(shared.slots[ring.slot], shared, step);
    shared.release(ring.slot);
    ring.advance();
  }
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
    sums_at = take(p.dbias != nullptr ? tiles * 4 * kHalfBlocks * kThreads * 4 : 0);
    bytes = at;
  }
};

template <class Shared, class Args>
void run_kernel(void (*kernel)(Args), const Args& args, Stream stream) {
  launch(kernel, dim3(args.work.grid), dim3(kThreads), sizeof(Shared), stream, true, args);
}

}  // namespace

int64_t windows_backward_bytes(const EvoAttentionBackward& p) {
  return Plan(p).bytes;
}

void launch_windows_backward(const EvoAttentionBackward& p, void* workspace, Stream stream) {
  const EvoAttentionForward& f = p.forward;
  const Plan plan(p);
  char* base = static_cast<char*>(workspace);
  PairArgs args = pair_args(f);
  args.dout = static_cast<const __nv_bfloat16*>(p.dout), args.dout_stride = p.dout_stride;
  args.dq = static_cast<__nv_bfloat16*>(p.dq), args.dq_stride = p.dq_stride;
  args.dk = static_cast<__nv_bfloat16*>(p.dk), args.dk_stride = p.dk_stride;
  args.dv = static_cast<__nv_bfloat16*>(p.dv), args.dv_stride = p.dv_stride;
  args.dgate = static_cast<__nv_bfloat16*>(p.dgate), args.dgate_stride = p.dgate_stride;
  args.dbias = p.dbias;
  args.dout_map = window_queries_map(f, p.dout, p.dout_stride, 2);
  args.out_map = window_queries_map(f, f.out, f.out_stride, 2);
  if (f.gate != nullptr) args.gate_map = window_queries_map(f, f.gate, f.gate_stride, 2);
  args.stats = reinterpret_cast<float2*>(base + plan.stats_at);
  args.sums = reinterpret_cast<float*>(base + plan.sums_at);
  args.first_key_block = plan.first_key_block;
  args.lse_aligned = f.queries == kWindowQueries && reinterpret_cast<uintptr_t>(f.lse) % 16 == 0;
  if (f.gate == nullptr) {
    args.gated = const_cast<__nv_bfloat16*>(args.dout);  // only read then
    args.gated_stride = p.dout_stride;
  } else {
    args.gated = reinterpret_cast<__nv_bfloat16*>(base + plan.gated_at);
    const int64_t token = f.heads * kWindowDim, row = kWindowQueries * token;
    args.gated_stride = {f.rows * row, row, token, kWindowDim};
  }
  args.work = plan.pairs;
  run_kernel<QueryShared>(f.mask != nullptr ? windows_dqdbias<true> : windows_dqdbias<false>, args,
                          stream);
  if (p.dbias != nullptr && plan.pairs.rest > 0 && f.rows > 0) {
    launch<WindowArgs>(windows_sum_dbias, dim3(plan.pairs.rest), dim3(kThreads), 0, stream, true,
                       args);
  }
  KeyArgs keys{args};
  keys.work = plan.blocks;
  keys.q_map = window_queries_map(f, f.q, f.q_stride, kSeenWindows);
  keys.da_map = window_queries_map(f, args.gated, args.gated_stride, kSeenWindows);
  keys.k_map = window_keys_map(f, f.k, f.k_stride, kBlockKeys);
  keys.v_map = window_keys_map(f, f.v, f.v_stride, kBlockKeys);
  run_kernel<KeyShared, KeyArgs>(windows_dkdv, keys, stream);
}

}  // namespace megafold::kernels::sm90a
