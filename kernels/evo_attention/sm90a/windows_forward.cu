// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Attention in windows of atoms on Hopper, forward: a warp has 16 queries of a window and all of
// its keys, so the softmax is one pass over registers. windows.h: the work; windows.cuh: the ring.
#include "kernels/evo_attention/sm90a/windows.cuh"

namespace megafold::kernels::sm90a {
namespace {

#ifndef MEGAFOLD_WINDOW_BLOCKS
#define MEGAFOLD_WINDOW_BLOCKS 2
#endif
#ifndef MEGAFOLD_WINDOW_SLOTS
#define MEGAFOLD_WINDOW_SLOTS 4
#endif
constexpr int kBlocks = MEGAFOLD_WINDOW_BLOCKS;  // CTAs on a multiprocessor
constexpr int kSlots = MEGAFOLD_WINDOW_SLOTS;

struct Slot {
  alignas(128) uint8_t k[kPairKeyBytes], v[kPairKeyBytes], q[kPairQueryBytes];
  uint8_t valid[kPairKeys];  // where there is a mask
  alignas(16) WindowStep step;
};
using Shared = PairShared<Slot, kSlots>;

/// A warp's 16 queries, `query` the first, of window `window` of the step in `slot`.
__device__ __forceinline__ void attend(const WindowArgs& args, const Slot& slot,
                                       const WindowStep& step, int pair_row, int window, int query,
                                       int shift, const float (&bias)[16][4], int lane) {
  uint32_t q[2][4];
  load_left(q, smem_address(slot.q), pair_row, lane);
  float s[16][4];
  const uint32_t keys = smem_address(slot.k), values = smem_address(slot.v);
  const float scale = args.scale * kLog2E;
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    uint32_t k[4];
    load_rows(k, keys, shift + 8 * n, lane);
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] = 0.0F;
    multiply(s[n], q[0], k[0], k[1]);
    multiply(s[n], q[1], k[2], k[3]);
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] = fmaf(s[n][i], scale, bias[n][i]);
  }
  if (args.mask != nullptr) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const uint32_t word = window_word(slot.valid, shift + 32 * c, lane);
      if (word != ~0U) mask_scores(s + 4 * c, word, lane);
    }
  }

  float largest[2], sum[2];
  bool none[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float most = s[0][2 * half];
#pragma unroll
    for (int n = 0; n < 16; ++n) {
      most = fmaxf(most, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    }
    most = fmaxf(most, __shfl_xor_sync(~0U, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0U, most, 2));
    none[half] = most == -INFINITY;
    const float from = none[half] ? 0.0F : most;
    sum[half] = 0.0F;
#pragma unroll
    for (int n = 0; n < 16; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        s[n][i] = exp2_fast(s[n][i] - from);
        sum[half] += s[n][i];
      }
    }
    sum[half] += __shfl_xor_sync(~0U, sum[half], 1);
    sum[half] += __shfl_xor_sync(~0U, sum[half], 2);
    largest[half] = most * kLn2;
  }

  float o[4][4] = {};
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    uint32_t p[4];
    as_left(p, s[2 * n], s[2 * n + 1]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t v[4];
      load_columns(v, values, shift + 16 * n, half, lane);
      multiply(o[2 * half], p, v[0], v[1]);
      multiply(o[2 * half + 1], p, v[2], v[3]);
    }
  }
  float flat[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) flat[i] = o[i / 4][i % 4];
  store_tile<kWindowDim>(args, target_of(args, window, step.row, step.head, query + lane / 4), 0,
                         lane, flat, sum, largest, none);
}

__global__ void __launch_bounds__(kWindowThreads, kBlocks)
    evo_attention_windows(const __grid_constant__ WindowArgs args) {
  extern __shared__ __align__(1024) uint8_t bytes[];
  Shared& shared = *reinterpret_cast<Shared*>(bytes);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  allow_next_kernel();
  wait_for_earlier_kernels();
  PairFeed<Shared, PairCopy> feed(args, shared, thread);
  feed.fill();
  float bias[16][4];
  int slot = 0;
  while (true) {
    copy_wait<kSlots - 2>();
    __syncthreads();
    const WindowStep step = shared.slots[slot].step;
    if (step.pair < 0) break;
    feed.issue(slot == 0 ? kSlots - 1 : slot - 1);
    if (step.active >> (warp / 2) & 1) {
      const int window = 2 * step.pair + warp / 2, query = warp % 2 * 16;
      if (step.begins) load_window_bias(args, bias, step, window, query + lane / 4, lane);
      attend(args, shared.slots[slot], step, warp * 16, window, query, warp / 2 * step.shift, bias,
             lane);
    }
    if (++slot == kSlots) slot = 0;
  }
  copy_wait<0>();
}

}  // namespace

WindowArgs window_args(const EvoAttentionForward& p) {
  WindowArgs a{call_args(p)};
  a.q = static_cast<const __nv_bfloat16*>(p.q), a.q_stride = p.q_stride;
  a.k = static_cast<const __nv_bfloat16*>(p.k), a.k_stride = p.k_stride;
  a.v = static_cast<const __nv_bfloat16*>(p.v), a.v_stride = p.v_stride;
  a.bias_dtype = p.bias_dtype;
  const int64_t pair = p.bias_dtype == DType::f32 ? 8 : 4;
  a.bias_in_pairs = reinterpret_cast<uintptr_t>(p.bias) % pair == 0 && p.bias_key == 1 &&
                    p.bias_query % 2 == 0 && p.bias_head % 2 == 0 && p.bias_batch % 2 == 0;
  return a;
}

void launch_windows_forward(const EvoAttentionForward& p, Stream stream) {
  WindowArgs args = window_args(p);
  args.work = WindowWork::of((p.batch + 1) / 2 * p.heads, p.rows,
                             int64_t{kBlocks} * device_info().multiprocessors);
  launch(evo_attention_windows, dim3(args.work.grid), dim3(kWindowThreads), sizeof(Shared), stream,
         true, args);
}

}  // namespace megafold::kernels::sm90a
