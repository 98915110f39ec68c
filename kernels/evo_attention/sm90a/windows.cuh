// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the windows' kernels share: warp-level products, tiles of 64-byte rows in shared memory,
// the walk of a CTA over its work.
//
// A step is one sample of one sequence. Steps go through a ring of slots in shared memory: warp 0
// brings step t + kSlots - 1 by TMA once every warp has arrived on its slot's `empty`, that is, is
// done with step t - 1; a warp waits for `full` of step t. So warps drift apart, and no barrier
// holds all of them. Masked keys' rows are zeroed when they are there.
#pragma once

#include "kernels/common/arch/sm90a/host.h"
#include "kernels/common/arch/sm90a/tma.cuh"
#include "kernels/evo_attention/sm90a/forward_store.cuh"
#include "kernels/evo_attention/sm90a/windows.h"

namespace megafold::kernels::sm90a {

// ---- products of a warp: C[16 x 8] += A[16 x 16] B[16 x 8]; lane 4 g + t holds rows g, g + 8

/// Four 8 x 8 matrices of bf16; lane l brings the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// Two neighbouring accumulators (columns 0 .. 15) as the A operand of the next product.
__device__ __forceinline__ void as_left(uint32_t (&a)[4], const float (&x)[4],
                                        const float (&y)[4]) {
  a[0] = pack_bf16(x[0], x[1]);
  a[1] = pack_bf16(x[2], x[3]);
  a[2] = pack_bf16(y[0], y[1]);
  a[3] = pack_bf16(y[2], y[3]);
}

// ---- tiles: a token's 32 values are a row of 64 bytes, its four chunks permuted so that eight
// ---- rows from anywhere on lie in different banks

constexpr int kRowPitch = 64;
__device__ __forceinline__ uint32_t chunk_address(uint32_t tile, int row, int chunk) {
  return tile + row * kRowPitch + ((chunk ^ (row >> 1)) & 3) * 16;
}
/// Where this lane's part of the operands of load_rows and load_columns lies, `first` being row 0
/// of them: 8 or 16 rows further it is as many rows further, since the permutation repeats.
__device__ __forceinline__ uint32_t rows_place(uint32_t tile, int first, int lane) {
  return chunk_address(tile, first + lane % 8, lane / 8);
}
__device__ __forceinline__ uint32_t columns_place(uint32_t tile, int first, int lane) {
  return chunk_address(tile, first + lane % 16, lane / 16);
}
/// Rows row .. row + 7, a multiple of 8, and all 32 columns: B operands of x[16 x 32] tile^T for
/// two steps of 16.
__device__ __forceinline__ void load_rows(uint32_t (&to)[4], uint32_t place, int row) {
  load_matrices(to, place + row * kRowPitch);
}
/// Rows row .. row + 15, a multiple of 16, columns 16 half ..: B operands of p[16 x 16] tile for
/// two blocks of 8.
__device__ __forceinline__ void load_columns(uint32_t (&to)[4], uint32_t place, int row, int half) {
  load_matrices_transposed(to, (place ^ half * 32) + row * kRowPitch);
}
/// Rows row .. row + 15 as A operands: columns 16 step ..; both steps.
__device__ __forceinline__ void load_left_step(uint32_t (&to)[4], uint32_t tile, int row, int step,
                                               int lane) {
  load_matrices(to, chunk_address(tile, row + lane % 16, 2 * step + lane / 16));
}
__device__ __forceinline__ void load_left(uint32_t (&to)[2][4], uint32_t tile, int row, int lane) {
  load_left_step(to[0], tile, row, 0, lane);
  load_left_step(to[1], tile, row, 1, lane);
}

// ---- the walk

struct WindowSegment {
  int sequence, row, row_end, part;  // part: -1 for a whole sequence
};
/// The CTA's segment `index`, from 0; row_end = 0 past the last.
__device__ __forceinline__ WindowSegment window_segment(const WindowArgs& args, int index) {
  const WindowWork& w = args.work;
  const int cta = static_cast<int>(blockIdx.x);
  if (index < w.rounds) return {index * w.grid + cta, 0, args.rows, -1};
  if (index > w.rounds || cta >= w.rest * w.parts) return {0, 0, 0, -1};
  const int part = cta / w.rest, row = part * w.part_rows;
  return {w.rounds * w.grid + cta % w.rest, row, min(row + w.part_rows, args.rows), part};
}

__device__ __forceinline__ int first_key_of(const WindowArgs& args, int window) {
  return args.key_first != nullptr ? args.key_first[window]
                                   : args.key_offset + window * args.key_step;
}

/// log2(e) bias of one (window, head) at query, key; a finite bias stays finite; -inf where the
/// window has no such key.
__device__ __forceinline__ float scaled_bias(float x) {
  const float scaled = x * kLog2E;
  return isinf(scaled) && !isinf(x) ? copysignf(3.4028234e38F, x) : scaled;
}
__device__ __forceinline__ float load_bias(const WindowArgs& args, int64_t at) {
  if (args.bias_dtype == DType::f32) return static_cast<const float*>(args.bias_from)[at];
  return __bfloat162float(static_cast<const __nv_bfloat16*>(args.bias_from)[at]);
}
/// What a step is, in its slot.
struct WindowStep {
  int pair, head, row;  // pair < 0: no more steps
  int first;            // the token in row 0 of the keys' tile
  int shift;            // rows from there to the second window's first key
  int active;           // bit w: window w of the pair is computed
  int begins, ends;     // a segment; ends: 1 for a whole sequence, 2 + its part for a part
};

/// Where the copies stand in the walk over pairs of windows. Two windows whose keys lie further
/// apart than a tile reaches are done one after the other: two passes.
struct PairCursor {
  int segment = -1, row = 0, row_end = 0, begin_row = 0, part = 0;
  int pair = -1, head = 0, pass = 0, passes = 1;
  int first = 0, other = 0;  // the windows' first keys

  __device__ __forceinline__ void next_segment(const WindowArgs& args) {
    const WindowSegment s = window_segment(args, ++segment);
    if (s.row_end == 0) {
      pair = -1;
      return;
    }
    row = begin_row = s.row;
    row_end = s.row_end;
    part = s.part;
    head = s.sequence % args.heads;
    pair = s.sequence / args.heads;
    const bool two = 2 * pair + 1 < args.batch;
    first = first_key_of(args, 2 * pair);
    other = two ? first_key_of(args, 2 * pair + 1) : first;
    const int shift = other - first;
    passes = shift < 0 || shift > 32 ? 2 : 1;
    pass = 0;
  }
  __device__ __forceinline__ int first_key() const { return pass == 0 ? first : other; }
  __device__ __forceinline__ void advance(const WindowArgs& args) {
    if (++pass < passes) return;
    pass = 0;
    if (++row < row_end) return;
    next_segment(args);
  }
  __device__ __forceinline__ WindowStep step(const WindowArgs& args) const {
    WindowStep s;
    s.pair = pair;
    s.head = head;
    s.row = row;
    s.first = first_key();
    s.shift = passes == 1 ? other - first : 0;
    s.active = passes == 2 ? 1 << pass : 2 * pair + 1 < args.batch ? 3 : 1;
    s.begins = row == begin_row;
    s.ends = row + 1 == row_end ? part + 2 : 0;
    return s;
  }
};

constexpr int kPairKeys = kWindowKeys + 32;           // rows of a pair's K and V tiles
constexpr int kPairKeyBytes = kPairKeys * kRowPitch;  // of K, of V
constexpr int kPairQueryBytes = 64 * kRowPitch;       // of a tile of both windows' queries

/// Which of a lane's five tokens (32 apart, from token `lane` of the tile on) may be attended:
/// loads that are issued a step before they are needed.
__device__ __forceinline__ uint32_t tokens_valid(const WindowArgs& args, int row, int first,
                                                 int lane) {
  const uint8_t* from = args.mask + row * args.mask_row;
  uint32_t bits = 0;
#pragma unroll
  for (int i = 0; i < kPairKeys / 32; ++i) {
    const int token = first + lane + 32 * i;
    uint8_t valid = 0;
    if (token >= 0 && token < args.key_total) valid = from[token * args.mask_key];
    bits |= static_cast<uint32_t>(valid != 0) << i;
  }
  return bits;
}

/// Both windows' queries of a step.
__device__ __forceinline__ void load_queries(void* to, const CUtensorMap* map, Mbarrier* full,
                                             const WindowStep& s) {
  tma_load<5>(to, map, full, {{0, s.head, 0, s.row, 2 * s.pair}});
}
/// q, K and V of a step and what More wants, by one thread. TMA's swizzle of 64-byte rows is
/// chunk_address().
template <class More, class Slot>
__device__ __forceinline__ void load_pair(const PairArgs& args, Slot& slot, Mbarrier* full,
                                          const WindowStep& s) {
  mbarrier_expect(full, 2 * kPairKeyBytes + kPairQueryBytes + More::bytes(args, s));
  const Coordinates<4> keys = {{0, s.head, s.first, s.row}};
  tma_load<4>(slot.k, &args.k_map, full, keys);
  tma_load<4>(slot.v, &args.v_map, full, keys);
  load_queries(slot.q, &args.q_map, full, s);
  More::load(args, slot, full, s);
}

/// What a kernel brings beside q, K and V: `bytes` by load(), in one thread. Here nothing.
struct NothingMore {
  __device__ static uint32_t bytes(const PairArgs&, const WindowStep&) { return 0; }
  template <class Slot>
  __device__ static void load(const PairArgs&, Slot&, Mbarrier*, const WindowStep&) {}
};

/// Steps' slots, and the barriers between the warp that fills them and kWarps that read them.
template <class Slot_, int kSlots_, int kWarps_>
struct WindowRing {
  using Slot = Slot_;
  static constexpr int kSlots = kSlots_, kWarps = kWarps_;
  Slot slots[kSlots];
  Mbarrier full[kSlots], empty[kSlots];

  /// By one thread, before all others come.
  __device__ void init() {
    for (int i = 0; i < kSlots; ++i) {
      mbarrier_init(&full[i], 1);
      mbarrier_init(&empty[i], kWarps);
    }
    fence_mbarrier_init();
  }
  /// A warp is done with a slot.
  __device__ __forceinline__ void release(uint32_t slot) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(&empty[slot]);
  }
};
template <class Slot, int kSlots, int kWarps>
struct PairShared : WindowRing<Slot, kSlots, kWarps> {
  PairCursor cursor;  // of the step to bring next: registers are short
};

/// Brings one step after the other; warp 0 calls it, with kMasked all lanes of it.
template <class Shared, class More, bool kMasked>
struct PairFeed {
  const PairArgs& args;
  Shared& shared;
  int lane;
  RingCursor<Shared::kSlots> ring;
  uint32_t valid = 0;  // of this lane's tokens in the step to come

  __device__ PairFeed(const PairArgs& a, Shared& s, int l) : args(a), shared(s), lane(l) {
    if (threadIdx.x >= 32) return;
    PairCursor cursor;
    cursor.next_segment(args);
    look(cursor);
    if (lane == 0) shared.cursor = cursor;
    __syncwarp();
#pragma unroll 1
    for (int i = 0; i < Shared::kSlots - 1; ++i) issue();
  }
  /// Asks the mask about the step to come.
  __device__ __forceinline__ void look(const PairCursor& cursor) {
    if (!kMasked || cursor.pair < 0) return;
    valid = tokens_valid(args, cursor.row, cursor.first_key(), lane);
  }
  __device__ __forceinline__ void issue() {
    if (!kMasked && lane != 0) return;
    const uint32_t to = ring.slot;
    mbarrier_wait(&shared.empty[to], ring.parity ^ 1);
    ring.advance();
    typename Shared::Slot& slot = shared.slots[to];
    PairCursor cursor = shared.cursor;
    const WindowStep s = cursor.step(args);
    if (lane == 0) slot.step = s;
    if (s.pair < 0) {
      if (lane == 0) mbarrier_arrive(&shared.full[to]);
      return;
    }
    if (kMasked) {
#pragma unroll
      for (int i = 0; i < kPairKeys / 32; ++i) slot.valid[lane + 32 * i] = valid >> i & 1;
    }
    cursor.advance(args);
    look(cursor);
    if (kMasked) __syncwarp();
    if (lane == 0) {
      shared.cursor = cursor;
      load_pair<More>(args, slot, &shared.full[to], s);
    }
    if (kMasked) __syncwarp();
  }
  /// Until q, K and V of the slot are there, and masked keys' rows zero: they may hold anything,
  /// and 0 * NaN is NaN. For all threads of the CTA.
  __device__ __forceinline__ void wait(uint32_t at, uint32_t parity) const {
    mbarrier_wait(&shared.full[at], parity);
    if (!kMasked) return;
    typename Shared::Slot& slot = shared.slots[at];
    if (slot.step.pair < 0) return;
#pragma unroll 1
    for (int row = threadIdx.x; row < kPairKeys; row += 32 * Shared::kWarps) {
      if (slot.valid[row] != 0) continue;
#pragma unroll
      for (int i = 0; i < kRowPitch / 16; ++i) {
        reinterpret_cast<uint4*>(slot.k + row * kRowPitch)[i] = make_uint4(0, 0, 0, 0);
        reinterpret_cast<uint4*>(slot.v + row * kRowPitch)[i] = make_uint4(0, 0, 0, 0);
      }
    }
    fence_proxy_async();  // before TMA writes there again
    __syncthreads();
  }
};

/// The bias of a warp's 16 queries against keys 8 n0 .. 8 (n0 + kBlocks) - 1 of its window, times
/// log2(e), in the accumulators' order: -inf for keys that the window or the tensor has not.
/// query: this lane's first; its other is 8 further.
template <int kBlocks>
__device__ __forceinline__ void load_window_bias(const WindowArgs& args, float (&bias)[kBlocks][4],
                                                 const WindowStep& s, int window, int query, int n0,
                                                 int lane) {
  const int first = first_key_of(args, window), begin = 8 * n0;
  const int64_t head = window * args.bias_batch + s.head * args.bias_head;
  const bool whole = first + begin >= 0 && first + begin + 8 * kBlocks <= args.key_total &&
                     begin + 8 * kBlocks <= args.keys && args.queries == kWindowQueries;
  if (whole && args.bias_from != nullptr && args.bias_in_pairs) {  // all loads under way at once
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t at = head + (query + 8 * half) * args.bias_query + begin + lane % 4 * 2;
      if (args.bias_dtype == DType::f32) {
        const float* from = static_cast<const float*>(args.bias_from) + at;
#pragma unroll
        for (int n = 0; n < kBlocks; ++n) {
          const float2 x = *reinterpret_cast<const float2*>(from + 8 * n);
          bias[n][2 * half] = x.x;
          bias[n][2 * half + 1] = x.y;
        }
      } else {
        const __nv_bfloat16* from = static_cast<const __nv_bfloat16*>(args.bias_from) + at;
#pragma unroll
        for (int n = 0; n < kBlocks; ++n) {
          const uint32_t x = *reinterpret_cast<const uint32_t*>(from + 8 * n);
          bias[n][2 * half] = __uint_as_float(x << 16);
          bias[n][2 * half + 1] = __uint_as_float(x & 0xFFFF0000U);
        }
      }
    }
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) bias[n][i] = scaled_bias(bias[n][i]);
    }
    return;
  }
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    const int key = begin + 8 * n + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = key + i % 2, row = query + i / 2 * 8;
      const bool have = at < args.keys && first + at >= 0 && first + at < args.key_total;
      float x = 0.0F;
      if (args.bias_from != nullptr && have && row < args.queries) {
        x = scaled_bias(load_bias(args, head + row * args.bias_query + at * args.bias_key));
      }
      bias[n][i] = have ? x : -INFINITY;
    }
    asm volatile("" ::: "memory");  // or all addresses are made first, and registers spill
  }
}

/// Bit j: may the key in row `row` + j of the tiles be attended, as the mask says? For all lanes.
__device__ __forceinline__ uint32_t window_word(const uint8_t* valid, int row, int lane) {
  return __ballot_sync(~0U, valid[row + lane] != 0);
}
/// Where a word has a hole, the scores of its first 8 kBlocks keys become -inf.
template <int kBlocks>
__device__ __forceinline__ void mask_scores(float (*s)[4], uint32_t word, int lane) {
  const uint32_t bits = word >> (lane % 4 * 2);
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((bits >> (8 * n + i % 2) & 1) == 0) s[n][i] = -INFINITY;
    }
  }
}

/// A warp's 16 rows of 32 columns, packed as A operands are: to rows `stride` elements apart, `to`
/// being this lane's first; its other row is 8 further.
__device__ __forceinline__ void store_fragment(__nv_bfloat16* to, int64_t stride,
                                               const uint32_t (&x)[2][4], const bool (&have)[2],
                                               int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t word[4] = {x[0][half], x[0][2 + half], x[1][half], x[1][2 + half]};
    transpose_quad<true>(word, lane % 4);
    if (!have[half]) continue;
    *reinterpret_cast<uint4*>(to + 8 * half * stride + lane % 4 * 8) =
        make_uint4(word[0], word[1], word[2], word[3]);
  }
}
/// Four accumulators (32 columns) packed so, times `scale`.
__device__ __forceinline__ void as_fragment(uint32_t (&x)[2][4], const float (&c)[4][4],
                                            float scale) {
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      x[n / 2][n % 2 * 2 + half] = pack_bf16(c[n][2 * half] * scale, c[n][2 * half + 1] * scale);
    }
  }
}

}  // namespace megafold::kernels::sm90a
