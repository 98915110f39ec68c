// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Attention in windows of atoms on Hopper, forward: a warp has 16 queries of a window and all of
// its keys, so the softmax is one pass over registers. windows.h: the work; windows.cuh: the ring.
#include "kernels/evo_attention/sm90a/windows.cuh"

namespace megafold::kernels::sm90a {
namespace {

constexpr int kBlocks = 3;  // CTAs on a multiprocessor
constexpr int kSlots = 3;

struct Slot {
  alignas(512) uint8_t k[kPairKeyBytes], v[kPairKeyBytes], q[kPairQueryBytes];
  uint8_t valid[kPairKeys];  // where there is a mask
  alignas(16) WindowStep step;
};
using Shared = PairShared<Slot, kSlots, kWindowThreads / 32>;

/// A warp's 16 queries of a (window, head). P = 2^(S - shift), S in units of log2(e) and `shift`
/// the largest bias of a row, so no sample needs to look for its own largest score: 16 keys at a
/// time go from products to products. fp32 and bf16 reach 2^127, so a row is right whenever its sum
/// lies within kSmallestSum .. kLargestSum and all is finite; a sample that has another row is done
/// again with its own largest scores.
template <bool kMasked>
struct ForwardWarp {
  const WindowArgs& args;
  int lane, window_of_pair, query;  // query: the warp's first in its window
  float bias[16][4];                // log2(e) bias - shift
  float shift[2];
  bool stale = true;  // shift is not that of the bias

  __device__ __forceinline__ void run(const Slot& slot, const WindowStep& step) {
    const int window = 2 * step.pair + window_of_pair, own = query + lane / 4;
    uint32_t q[2][4];
    load_left(q, smem_address(slot.q), window_of_pair * 32 + query, lane);
    float o[4][4], sum[4];
    bool again = false;
#pragma unroll 1
    while (true) {
      if (step.begins || stale || again) {
        load_window_bias<16>(args, bias, step, window, own, 0, lane);
        shift[0] = shift[1] = -INFINITY;
        if (again) {
          each_16_keys(slot, step, q,
                       [&](int, const float(&s)[2][4]) { find_largest(s[0], s[1]); });
        } else {
#pragma unroll
          for (int n = 0; n < 16; n += 2) find_largest(bias[n], bias[n + 1]);
        }
        shift_bias();
        stale = again;
      }
#pragma unroll
      for (int i = 0; i < 16; ++i) o[i / 4][i % 4] = 0.0F;
      sum[0] = sum[1] = sum[2] = sum[3] = 0.0F;
      const uint32_t values =
          columns_place(smem_address(slot.v), window_of_pair * step.shift, lane);
      const uint32_t any = each_16_keys(slot, step, q, [&](int c, float(&s)[2][4]) {
#pragma unroll
        for (int i = 0; i < 8; ++i) s[i / 4][i % 4] = exp2_fast(s[i / 4][i % 4]);
        uint32_t p[4];
        as_left(p, s[0], s[1]);
        constexpr uint32_t kOnes = 0x3F803F80;  // bf16 1, twice
        multiply(sum, p, kOnes, kOnes);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          uint32_t v[4];
          load_columns(v, values, 16 * c, half);
          multiply(o[2 * half], p, v[0], v[1]);
          multiply(o[2 * half + 1], p, v[2], v[3]);
        }
      });
      if (again || __all_sync(~0U, good(o, sum) || any == 0)) break;
      again = true;
    }
    float flat[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) flat[i] = o[i / 4][i % 4];
    const float sums[2] = {sum[0], sum[2]}, top[2] = {shift[0] * kLn2, shift[1] * kLn2};
    const bool none[2] = {sum[0] == 0.0F, sum[2] == 0.0F};
    store_tile<kWindowDim, true>(args, target_of(args, window, step.row, step.head, own), 0, lane,
                                 flat, sums, top, none);
  }

  /// use(c, S): the scores of keys 16 c .. 16 c + 15, -inf where masked. 0 if no key is unmasked.
  template <class Use>
  __device__ __forceinline__ uint32_t each_16_keys(const Slot& slot, const WindowStep& step,
                                                   const uint32_t (&q)[2][4], Use use) const {
    const int first = window_of_pair * step.shift;
    const uint32_t keys = rows_place(smem_address(slot.k), first, lane);
    const float scale = args.scale * kLog2E;
    uint32_t word = ~0U, any = kMasked ? 0 : ~0U;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      float s[2][4];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        uint32_t k[4];
        load_rows(k, keys, 16 * c + 8 * n);
#pragma unroll
        for (int i = 0; i < 4; ++i) s[n][i] = 0.0F;
        multiply(s[n], q[0], k[0], k[1]);
        multiply(s[n], q[1], k[2], k[3]);
#pragma unroll
        for (int i = 0; i < 4; ++i) s[n][i] = fmaf(s[n][i], scale, bias[2 * c + n][i]);
      }
      if constexpr (kMasked) {
        if (c % 2 == 0) any |= word = window_word(slot.valid, first + 16 * c, lane);
        mask_scores<2>(s, word >> (c % 2 * 16), lane);
      }
      use(c, s);
    }
    return any;
  }
  __device__ __forceinline__ void find_largest(const float (&x)[4], const float (&y)[4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float a = fmaxf(x[2 * half], x[2 * half + 1]), b = fmaxf(y[2 * half], y[2 * half + 1]);
      shift[half] = fmaxf(shift[half], fmaxf(a, b));
    }
  }
  /// From the largest of this lane's columns: that of the row, out of the bias; no key: 0.
  __device__ __forceinline__ void shift_bias() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      shift[half] = fmaxf(shift[half], __shfl_xor_sync(~0U, shift[half], 1));
      shift[half] = fmaxf(shift[half], __shfl_xor_sync(~0U, shift[half], 2));
      if (shift[half] == -INFINITY) shift[half] = 0.0F;
    }
#pragma unroll
    for (int i = 0; i < 64; ++i) bias[i / 4][i % 4] -= shift[i / 2 % 2];
  }
  /// Did neither of this lane's rows leave the range in which it is right?
  __device__ __forceinline__ static bool good(const float (&o)[4][4], const float (&sum)[4]) {
    float zero = 0.0F;  // NaN when any of O is infinite or NaN
#pragma unroll
    for (int i = 0; i < 16; ++i) zero = fmaf(o[i / 4][i % 4], 0.0F, zero);
    const float least = fminf(sum[0], sum[2]), most = fmaxf(sum[0], sum[2]);
    return (least >= kSmallestSum) & (most <= kLargestSum) & (zero == 0.0F);
  }
};

template <bool kMasked>
__global__ void __launch_bounds__(kWindowThreads, kBlocks)
    evo_attention_windows(const __grid_constant__ PairArgs args) {
  extern __shared__ __align__(1024) uint8_t bytes[];
  Shared& shared = *reinterpret_cast<Shared*>(bytes);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  if (threadIdx.x == 0) shared.init();
  __syncthreads();
  allow_next_kernel();
  wait_for_earlier_kernels();
  PairFeed<Shared, NothingMore, kMasked> feed(args, shared, lane);
  ForwardWarp<kMasked> self{args, lane, warp / 2, warp % 2 * 16, {}, {}};
  RingCursor<kSlots> ring;
  while (true) {
    if (warp == 0) feed.issue();
    feed.wait(ring.slot, ring.parity);
    const WindowStep step = shared.slots[ring.slot].step;
    if (step.pair < 0) break;
    if (step.active >> (warp / 2) & 1) self.run(shared.slots[ring.slot], step);
    shared.release(ring.slot);
    ring.advance();
  }
}

}  // namespace

CUtensorMap window_queries_map(const EvoAttentionForward& p, const void* base,
                               const TokenStrides& stride, int windows) {
  return make_tensor_map<5>(base, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
                            {{{kWindowDim, 1, kWindowDim},
                              {p.heads, stride.head, 1},
                              {p.queries, stride.token, kWindowQueries},
                              {p.rows, stride.row, 1},
                              {p.batch, stride.batch, windows}}},
                            CU_TENSOR_MAP_SWIZZLE_64B);
}
CUtensorMap window_keys_map(const EvoAttentionForward& p, const void* base,
                            const TokenStrides& stride, int keys) {
  return make_tensor_map<4>(base, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
                            {{{kWindowDim, 1, kWindowDim},
                              {p.heads, stride.head, 1},
                              {p.key_total, stride.token, keys},
                              {p.rows, stride.row, 1}}},
                            CU_TENSOR_MAP_SWIZZLE_64B);
}

PairArgs pair_args(const EvoAttentionForward& p) {
  PairArgs a{WindowArgs{call_args(p)}};
  a.q = static_cast<const __nv_bfloat16*>(p.q), a.q_stride = p.q_stride;
  a.k = static_cast<const __nv_bfloat16*>(p.k), a.k_stride = p.k_stride;
  a.v = static_cast<const __nv_bfloat16*>(p.v), a.v_stride = p.v_stride;
  a.bias_dtype = p.bias_dtype;
  const int64_t pair = p.bias_dtype == DType::f32 ? 8 : 4;
  a.bias_in_pairs = reinterpret_cast<uintptr_t>(p.bias) % pair == 0 && p.bias_key == 1 &&
                    p.bias_query % 2 == 0 && p.bias_head % 2 == 0 && p.bias_batch % 2 == 0;
  a.q_map = window_queries_map(p, p.q, p.q_stride, 2);
  a.k_map = window_keys_map(p, p.k, p.k_stride, kPairKeys);
  a.v_map = window_keys_map(p, p.v, p.v_stride, kPairKeys);
  return a;
}

void launch_windows_forward(const EvoAttentionForward& p, Stream stream) {
  PairArgs args = pair_args(p);
  args.work = WindowWork::of((p.batch + 1) / 2 * p.heads, p.rows,
                             int64_t{kBlocks} * device_info().multiprocessors);
  launch(p.mask != nullptr ? evo_attention_windows<true> : evo_attention_windows<false>,
         dim3(args.work.grid), dim3(kWindowThreads), sizeof(Shared), stream, true, args);
}

}  // namespace megafold::kernels::sm90a
