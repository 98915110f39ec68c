// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the windows' kernels share: warp-level products, tiles of 64-byte rows in shared memory,
// the walk of a CTA over its work.
//
// A step is one sample of one sequence. Steps go through a ring of slots in shared memory:
//
//   wait for the copies of step t; __syncthreads       (and so the slot of step t - 1 is free)
//   issue the copies of step t + kSlots - 1 into that slot
//   compute step t
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

// ---- copies

/// 16 bytes, or zeros and nothing read. The neighbouring head's half of the line comes to L2 too.
__device__ __forceinline__ void copy_chunk(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void copy_word(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from),
               "r"(valid ? 4 : 0)
               : "memory");
}
__device__ __forceinline__ void copy_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kNewest>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
}

// ---- tiles: a token's 32 values are a row of 64 bytes, its four chunks permuted so that eight
// ---- rows from anywhere on lie in different banks

constexpr int kRowPitch = 64;
__device__ __forceinline__ uint32_t chunk_address(uint32_t tile, int row, int chunk) {
  return tile + row * kRowPitch + ((chunk ^ (row >> 1)) & 3) * 16;
}
/// Rows row .. row + 7 and all 32 columns: B operands of x[16 x 32] tile^T for two steps of 16.
__device__ __forceinline__ void load_rows(uint32_t (&to)[4], uint32_t tile, int row, int lane) {
  load_matrices(to, chunk_address(tile, row + lane % 8, lane / 8));
}
/// Rows row .. row + 15, columns 16 half ..: B operands of p[16 x 16] tile for two blocks of 8.
__device__ __forceinline__ void load_columns(uint32_t (&to)[4], uint32_t tile, int row, int half,
                                             int lane) {
  load_matrices_transposed(to, chunk_address(tile, row + lane % 16, 2 * half + lane / 16));
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
  if (args.bias_dtype == DType::f32)
    return scaled_bias(static_cast<const float*>(args.bias_from)[at]);
  return scaled_bias(__bfloat162float(static_cast<const __nv_bfloat16*>(args.bias_from)[at]));
}
__device__ __forceinline__ float2 load_bias_pair(const WindowArgs& args, int64_t at) {
  if (args.bias_dtype == DType::f32) {
    const float2 x =
        *reinterpret_cast<const float2*>(static_cast<const float*>(args.bias_from) + at);
    return {scaled_bias(x.x), scaled_bias(x.y)};
  }
  const uint32_t x =
      *reinterpret_cast<const uint32_t*>(static_cast<const __nv_bfloat16*>(args.bias_from) + at);
  return {scaled_bias(__uint_as_float(x << 16)), scaled_bias(__uint_as_float(x & 0xFFFF0000U))};
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

/// Which of a thread's five tokens (32 apart, from token `lead` of the tile on) may be read in
/// this step, as the tensors' ends say.
__device__ __forceinline__ uint32_t tokens_inside(const WindowArgs& args, int first, int lead) {
  uint32_t bits = 0;
#pragma unroll
  for (int i = 0; i < kPairKeys / 32; ++i) {
    const int token = first + lead + 32 * i;
    bits |= static_cast<uint32_t>(token >= 0 && token < args.key_total) << i;
  }
  return bits;
}
/// .. and as the mask says: loads that are issued a step before they are needed.
__device__ __forceinline__ uint32_t tokens_unmasked(const WindowArgs& args, int row, int first,
                                                    int lead, uint32_t inside) {
  if (args.mask == nullptr) return inside;
  const uint8_t* from = args.mask + row * args.mask_row;
  uint32_t bits = 0;
#pragma unroll
  for (int i = 0; i < kPairKeys / 32; ++i) {
    uint8_t valid = 0;
    if (inside >> i & 1) valid = from[(first + lead + 32 * i) * args.mask_key];
    bits |= static_cast<uint32_t>(valid != 0) << i;
  }
  return bits;
}

/// One tensor's tile of a pair's keys: rows of tokens first .. first + 159, zeros where `bits` has
/// none.
__device__ __forceinline__ void copy_keys(uint32_t tile, const __nv_bfloat16* from,
                                          const TokenStrides& stride, const WindowStep& s,
                                          uint32_t bits, int thread) {
  const int lead = thread / 4, chunk = thread % 4;
  const __nv_bfloat16* first = from + s.row * stride.row + s.head * stride.head +
                               (s.first + lead) * stride.token + chunk * 8;
  const uint32_t to = chunk_address(tile, lead, chunk);
#pragma unroll
  for (int i = 0; i < kPairKeys / 32; ++i) {
    const bool valid = bits >> i & 1;
    copy_chunk(to + i * 32 * kRowPitch, valid ? first + i * 32 * stride.token : from, valid);
  }
}
/// One tensor's tile of a pair's queries: 32 rows of each window, zeros where there are none.
__device__ __forceinline__ void copy_queries(const WindowArgs& args, uint32_t tile,
                                             const __nv_bfloat16* from, const TokenStrides& stride,
                                             const WindowStep& s, int thread) {
  const int query = thread / 4, chunk = thread % 4;
  const __nv_bfloat16* first = from + 2 * s.pair * stride.batch + s.row * stride.row +
                               s.head * stride.head + query * stride.token + chunk * 8;
  const uint32_t to = chunk_address(tile, query, chunk);
#pragma unroll
  for (int w = 0; w < 2; ++w) {
    const bool valid = query < args.queries && 2 * s.pair + w < args.batch;
    copy_chunk(to + w * 32 * kRowPitch, valid ? first + w * stride.batch : from, valid);
  }
}

/// The copies of a step that every kernel of pairs needs.
struct PairCopy {
  template <class Slot>
  __device__ __forceinline__ void operator()(const WindowArgs& args, Slot& slot,
                                             const WindowStep& s, uint32_t valid,
                                             int thread) const {
    copy_queries(args, smem_address(slot.q), args.q, args.q_stride, s, thread);
    copy_keys(smem_address(slot.k), args.k, args.k_stride, s, valid, thread);
    copy_keys(smem_address(slot.v), args.v, args.v_stride, s, valid, thread);
  }
};

template <class Slot_, int kSlots_>
struct PairShared {
  using Slot = Slot_;
  static constexpr int kSlots = kSlots_;
  Slot slots[kSlots];
  PairCursor cursors[2];  // of the step to copy next, in turns: registers are short
};

/// Issues the copies of one step after the other, by all threads of the CTA.
template <class Shared, class Copy>
struct PairFeed {
  const WindowArgs& args;
  Shared& shared;
  int thread;
  uint32_t turn = 0;
  uint32_t valid = 0;  // of this thread's tokens in the step to come

  __device__ PairFeed(const WindowArgs& a, Shared& s, int t) : args(a), shared(s), thread(t) {
    PairCursor cursor;
    cursor.next_segment(args);
    look(cursor);
    if (thread == 0) shared.cursors[0] = cursor;
    __syncthreads();
  }
  /// The first steps, as many as there are slots but one.
  __device__ __forceinline__ void fill() {
#pragma unroll 1
    for (int i = 0; i < Shared::kSlots - 1; ++i) {
      issue(i);
      __syncthreads();
    }
  }
  /// Asks the mask about the step to come.
  __device__ __forceinline__ void look(const PairCursor& cursor) {
    if (cursor.pair < 0) return;
    const int first = cursor.first_key(), lead = thread / 4;
    valid = tokens_unmasked(args, cursor.row, first, lead, tokens_inside(args, first, lead));
  }
  /// The next step into slot `to`; a barrier stands between two calls.
  __device__ __forceinline__ void issue(int to) {
    typename Shared::Slot& slot = shared.slots[to];
    PairCursor cursor = shared.cursors[turn];
    turn ^= 1;
    const WindowStep s = cursor.step(args);
    if (thread == 0) slot.step = s;
    if (s.pair >= 0) {
      Copy()(args, slot, s, valid, thread);
      if (args.mask != nullptr && thread % 4 == 0) {
#pragma unroll
        for (int i = 0; i < kPairKeys / 32; ++i) {
          slot.valid[thread / 4 + 32 * i] = valid >> i & 1;
        }
      }
      cursor.advance(args);
      look(cursor);
    }
    if (thread == 0) shared.cursors[turn] = cursor;
    copy_commit();
  }
};

/// The bias of a warp's 16 queries against all keys of its window, in the accumulators' order: -inf
/// for keys that the window or the tensor has not.
__device__ __forceinline__ void load_window_bias(const WindowArgs& args, float (&bias)[16][4],
                                                 const WindowStep& s, int window, int query,
                                                 int lane) {
  const int first = first_key_of(args, window);
  const int64_t head = window * args.bias_batch + s.head * args.bias_head;
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    const int key = 8 * n + lane % 4 * 2;
    const auto exists = [&](int j) {
      return j < args.keys && first + j >= 0 && first + j < args.key_total;
    };
    const bool have[2] = {exists(key), exists(key + 1)};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = query + 8 * half;
      const int64_t at = head + i * args.bias_query + key * args.bias_key;
      float2 x = {0.0F, 0.0F};
      if (args.bias_from != nullptr && i < args.queries) {
        if (args.bias_in_pairs && have[0] && have[1]) {
          x = load_bias_pair(args, at);
        } else {
          if (have[0]) x.x = load_bias(args, at);
          if (have[1]) x.y = load_bias(args, at + args.bias_key);
        }
      }
      bias[n][2 * half] = have[0] ? x.x : -INFINITY;
      bias[n][2 * half + 1] = have[1] ? x.y : -INFINITY;
    }
    asm volatile("" ::: "memory");  // or all addresses are made first, and registers spill
  }
}

/// Bit j: may the key in row `row` + j of the tiles be attended, as the mask says? For all lanes.
__device__ __forceinline__ uint32_t window_word(const uint8_t* valid, int row, int lane) {
  return __ballot_sync(~0U, valid[row + lane] != 0);
}
/// Where a word has a hole, the scores of its 32 keys become -inf.
__device__ __forceinline__ void mask_scores(float (*s)[4], uint32_t word, int lane) {
  const uint32_t bits = word >> (lane % 4 * 2);
#pragma unroll
  for (int n = 0; n < 4; ++n) {
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
    transpose_quad(word, lane % 4);
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
