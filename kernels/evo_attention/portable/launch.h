// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From Params to launches. `Start` says where a kernel runs:
//
//   struct Start {
//     static constexpr int kWave, kRun;      // of the back end
//     template <class Kernel> void operator()(const typename Kernel::Args&, int64_t blocks) const;
//   };
#pragma once

#include "kernels/evo_attention/portable/backward.h"

namespace megafold::kernels::evo_portable {

/// May the tensor be read `bytes` at a time along D?
inline bool aligned_to(int64_t bytes, const void* pointer, const TokenStrides& stride,
                       int64_t element) {
  const auto ok = [&](int64_t elements) { return elements * element % bytes == 0; };
  return reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(bytes) == 0 &&
         ok(stride.batch) && ok(stride.row) && ok(stride.token) && ok(stride.head);
}

/// May runs of `run` elements of the bias be read as one, along keys (or along queries)?
inline bool bias_aligned_to(int run, const EvoAttentionForward& p, bool along_queries) {
  const int64_t along = along_queries ? p.bias_query : p.bias_key;
  const int64_t across = along_queries ? p.bias_key : p.bias_query;
  return along == 1 && across % run == 0 && p.bias_batch % run == 0 && p.bias_head % run == 0 &&
         reinterpret_cast<uintptr_t>(p.bias) %
                 static_cast<uintptr_t>(run * size_of(p.bias_dtype)) ==
             0;
}

constexpr int64_t tiles_of(int64_t count, int64_t tile) {
  return (count + tile - 1) / tile;
}

template <class C, class Start>
void start_forward(const EvoAttentionForward& p, const Start& start) {
  constexpr int64_t element = sizeof(typename C::Element);
  const ForwardArgs args{
      .params = p,
      .base2_scale = static_cast<float>(p.scale * kLog2EWide),
      .query_tiles = tiles_of(p.queries, C::kRows),
      .k_aligned = aligned_to(16, p.k, p.k_stride, element),
      .v_aligned = aligned_to(16, p.v, p.v_stride, element),
      .out_aligned = aligned_to(16, p.out, p.out_stride, element),
      .bias_aligned = bias_aligned_to(Start::kRun, p, false),
  };
  start.template operator()<ForwardKernel<C>>(args, p.batch * p.rows * p.heads * args.query_tiles);
}

/// Bytes of delta, rounded up so that dA behind it is aligned.
inline int64_t delta_bytes(const EvoAttentionForward& p) {
  return tiles_of(p.batch * p.rows * p.heads * p.queries * 4, 256) * 256;
}
inline int64_t backward_workspace(const EvoAttentionForward& p) {
  const int64_t da = p.batch * p.rows * p.queries * p.heads * p.head_dim * size_of(p.dtype);
  return delta_bytes(p) + (p.gate == nullptr ? 0 : da);
}

template <class C, class Start>
void start_backward(const EvoAttentionBackward& b, void* workspace, const Start& start) {
  using T = typename C::Element;
  constexpr int64_t element = sizeof(T);
  const EvoAttentionForward& p = b.forward;
  const bool windowed = p.key_total != 0;
  BackwardArgs args{
      .params = b,
      .scale = static_cast<float>(p.scale),
      .base2_scale = static_cast<float>(p.scale * kLog2EWide),
      .da = b.dout,
      .da_stride = b.dout_stride,
      .delta = static_cast<float*>(workspace),
      .query_tiles = tiles_of(p.queries, C::kRows),
      .key_tiles = tiles_of(windowed ? p.key_total : p.keys, C::kRows),
      .loop_tiles = tiles_of(p.queries, C::kLoop),
      .bias_key_tiles = tiles_of(p.keys, C::kLoop),
      .q_aligned = aligned_to(16, p.q, p.q_stride, element),
      .k_aligned = aligned_to(16, p.k, p.k_stride, element),
      .v_aligned = aligned_to(16, p.v, p.v_stride, element),
      .dq_aligned = aligned_to(16, b.dq, b.dq_stride, element),
      .dk_aligned = aligned_to(16, b.dk, b.dk_stride, element),
      .dv_aligned = aligned_to(16, b.dv, b.dv_stride, element),
      .bias_aligned = bias_aligned_to(Start::kRun, p, false),
      .bias_query_aligned = bias_aligned_to(Start::kRun, p, true),
      .dbias_aligned = p.keys % Start::kRun == 0 &&
                       reinterpret_cast<uintptr_t>(b.dbias) %
                               static_cast<uintptr_t>(Start::kRun * size_of(p.bias_dtype)) ==
                           0,
  };
  if (p.gate != nullptr) {
    args.da_out = static_cast<char*>(workspace) + delta_bytes(p);
    args.da = args.da_out;
    const int64_t token = p.heads * p.head_dim, row = p.queries * token;
    args.da_stride = {.batch = p.rows * row, .row = row, .token = token, .head = p.head_dim};
  }
  args.da_aligned = aligned_to(16, args.da, args.da_stride, element);
  args.rows_aligned = args.da_aligned && aligned_to(16, b.dout, b.dout_stride, element) &&
                      aligned_to(16, p.out, p.out_stride, element) &&
                      (p.gate == nullptr || aligned_to(16, p.gate, p.gate_stride, element)) &&
                      (b.dgate == nullptr || aligned_to(16, b.dgate, b.dgate_stride, element));

  start.template operator()<PrepareKernel<T>>(args, PrepareKernel<T>::blocks(p, Start::kWave));
  start.template operator()<KeyGradientKernel<C>>(
      args, (windowed ? 1 : p.batch) * p.rows * p.heads * args.key_tiles);
  start.template operator()<QueryGradientKernel<C>>(args,
                                                    p.batch * p.rows * p.heads * args.query_tiles);
  if (b.dbias != nullptr && p.rows != 1) {
    start.template operator()<BiasGradientKernel<C>>(
        args, p.batch * p.heads * args.query_tiles * args.bias_key_tiles);
  }
}

}  // namespace megafold::kernels::evo_portable
