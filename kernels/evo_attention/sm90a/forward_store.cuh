// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The end of both forward kernels: a tile of O, normalised, gated and stored with its lse.
#pragma once

#include "kernels/common/arch/sm90a/wgmma.cuh"
#include "kernels/evo_attention/sm90a/forward.h"

namespace megafold::kernels::sm90a {

// The range of row sums where no largest score is subtracted. Below 2^-60 (all scores under -60)
// small terms start to be lost below fp32's 2^-126; above 2^100, l or O could come near the end of
// the range.
constexpr float kSmallestSum = 0x1p-60F, kLargestSum = 0x1p100F;

constexpr float kLn2 = 0.693147180559945309F;

/// 2^x; 0 below -126.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
/// Of normal numbers, to 2 ulp.
__device__ __forceinline__ float log2_fast(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Where the results of a thread's first row go; its other row is 8 further.
struct ForwardTarget {
  __nv_bfloat16* out;
  const __nv_bfloat16* gate;  // or null
  float* lse;                 // or null
  int query;
};

/// Args: ForwardArgs or WindowArgs.
template <class Args>
__device__ inline ForwardTarget target_of(const Args& args, int batch, int row, int head,
                                          int query) {
  ForwardTarget target{args.out, args.gate, args.lse, query};
  const auto place = [&](const TokenStrides& stride) {
    return batch * stride.batch + row * stride.row + head * stride.head + query * stride.token;
  };
  target.out += place(args.out_stride);
  if (args.gate != nullptr) target.gate += place(args.gate_stride);
  if (args.lse != nullptr) {
    const int64_t line = (int64_t{batch} * args.rows + row) * args.heads + head;
    target.lse += line * args.queries + query;
  }
  return target;
}

/// Two words of each lane with those of the lane that differs in `bit`, whose `odd` differs.
__device__ __forceinline__ void exchange_words(uint32_t& first, uint32_t& second, bool odd,
                                               int bit) {
  const uint32_t kept = odd ? second : first, sent = odd ? first : second;
  const uint32_t got = __shfl_xor_sync(~0U, sent, bit);
  first = odd ? got : kept;
  second = odd ? kept : got;
}
/// A 4 x 4 transpose within a quad: exchange with the lane that differs in bit 0, then in bit 1.
/// kSelect: by selections alone. The other form, an assignment to `odd ? x : y`, becomes two
/// branches with a shuffle in each, 30 instructions a word; it is left where machine code that has
/// been checked on a card has it (nothing gained there, docs/kernels/evo_attention.md).
template <bool kSelect>
__device__ __forceinline__ void transpose_quad(uint32_t (&word)[4], int t) {
  if constexpr (kSelect) {
    exchange_words(word[0], word[1], (t & 1) != 0, 1);
    exchange_words(word[2], word[3], (t & 1) != 0, 1);
    exchange_words(word[0], word[2], (t & 2) != 0, 2);
    exchange_words(word[1], word[3], (t & 2) != 0, 2);
  } else {
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      const uint32_t got = __shfl_xor_sync(~0U, t & 1 ? word[j] : word[j + 1], 1);
      (t & 1 ? word[j] : word[j + 1]) = got;
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const uint32_t got = __shfl_xor_sync(~0U, t & 2 ? word[j] : word[j + 2], 2);
      (t & 2 ? word[j] : word[j + 2]) = got;
    }
  }
}

__device__ inline float sigmoid(float x) {
  return __fdividef(1.0F, 1.0F + exp2_fast(-x * kLog2E));
}
__device__ inline void apply_gate(uint32_t (&word)[4], const __nv_bfloat16* from) {
  const uint4 gate = *reinterpret_cast<const uint4*>(from);
  const uint32_t pairs[4] = {gate.x, gate.y, gate.z, gate.w};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    word[j] = pack_bf16(
        __uint_as_float(word[j] << 16) * sigmoid(__uint_as_float(pairs[j] << 16)),
        __uint_as_float(word[j] & 0xFFFF0000U) * sigmoid(__uint_as_float(pairs[j] & 0xFFFF0000U)));
  }
}

/// kSelect: of transpose_quad. A tile's share of a thread (0 .. 127): o, the first D columns of
/// which are accumulators as wgmma leaves them, over `sum` of each row half; lse = ln(sum) + top.
/// none: no key, so 0 and -inf. `down`: rows from the target to this tile.
template <int kDim, bool kSelect = false, class Args, int n>
__device__ __forceinline__ void store_tile(const Args& args, const ForwardTarget& target, int down,
                                           int thread, const float (&o)[n], const float (&sum)[2],
                                           const float (&top)[2], const bool (&none)[2]) {
  const int left = args.queries - target.query - down;  // rows from this thread's first on
  float scale[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    scale[half] = reciprocal(sum[half]);
    if (args.lse != nullptr && thread % 4 == 0 && 8 * half < left) {
      target.lse[down + 8 * half] =
          none[half] ? -INFINITY : log2_fast(sum[half]) * kLn2 + top[half];
    }
  }
  // A thread's pairs of columns are exchanged within its quad so that each stores 16 bytes: word
  // f = half * (D / 8) + chunk of lane t goes to lane f % 4, which then holds all of its chunk.
  constexpr int kChunks = kDim / 8;
  const int t = thread % 4;
#pragma unroll
  for (int i = 0; i < 2 * kChunks / 4; ++i) {
    uint32_t word[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int half = (4 * i + j) / kChunks, chunk = (4 * i + j) % kChunks;
      word[j] = none[half] ? 0
                           : pack_bf16(o[4 * chunk + 2 * half] * scale[half],
                                       o[4 * chunk + 2 * half + 1] * scale[half]);
    }
    transpose_quad<kSelect>(word, t);
    const int f = 4 * i + t, half = f >= kChunks, chunk = f - half * kChunks;
    if (8 * half >= left) continue;
    const int row = down + 8 * half;
    if (args.gate != nullptr) {
      apply_gate(word, target.gate + row * args.gate_stride.token + 8 * chunk);
    }
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(
                     target.out + row * args.out_stride.token + 8 * chunk),
                 "r"(word[0]), "r"(word[1]), "r"(word[2]), "r"(word[3])
                 : "memory");
  }
}

}  // namespace megafold::kernels::sm90a
