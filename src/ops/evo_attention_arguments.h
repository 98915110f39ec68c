// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From tensors to EvoAttention's Params, for at::Tensor (the trainer) and torch::stable::Tensor
// (the Python package) alike. Includes no torch.
#pragma once

#include "kernels/evo_attention/evo_attention.h"

namespace megafold::ops {

/// The first key of window 0: the centres of queries and keys coincide, or with an odd difference
/// lie half an atom apart (rounded down, as Python's // does).
constexpr int64_t first_key_of(int64_t window_queries, int64_t window_keys) {
  return (window_queries - window_keys) >> 1;
}

/// Whether the backward should read a gradient as it stands. Autograd gives broadcast and sliced
/// ones (of a sum, of a concatenation); the fastest GPU kernels take neither, and a copy costs less
/// than the next best kernel.
template <class Tensor>
bool reads_well(const Tensor& t, bool on_gpu) {
  const int64_t last = t.dim() - 1;
  if (t.stride(last) != 1 && t.size(last) > 1) return false;
  if (!on_gpu) return true;
  for (int64_t i = 0; i < last; ++i) {
    const int64_t bytes = t.stride(i) * static_cast<int64_t>(t.element_size());
    if (t.size(i) > 1 && (bytes <= 0 || bytes % 16 != 0)) return false;
  }
  return reinterpret_cast<uintptr_t>(t.data_ptr()) % 16 == 0;
}

/// The tensors of one call, checked; undefined ones are left out. Every token tensor's D is
/// contiguous. In windows q, gate and out hold whole windows of queries.
template <class Tensor>
struct EvoAttentionArguments {
  Tensor q, k, v, bias, mask, gate, first_key;
  double scale = 1;
  int64_t window_queries = 0, window_keys = 0;  // 0: no windows
  kernels::DType dtype = kernels::DType::f32, bias_dtype = kernels::DType::f32;
  kernels::Place place = kernels::Place::cpu;

  bool windows() const { return window_queries > 0; }
  const char* name() const { return windows() ? "atom_attention" : "evo_attention"; }
  const char* backward_name() const {
    return windows() ? "atom_attention backward" : "evo_attention backward";
  }
  /// A kernel takes one set of windows at a time, so a batch of them is as many launches.
  int64_t launches() const { return windows() ? q.size(0) : 1; }

  /// Sets pointer and strides of a [B, R, N, H, D] tensor: all of it, or in windows the part of
  /// batch `launch`, whose windows then are the batches and lie `window_queries` tokens apart.
  template <class Pointer>
  void set(const Tensor& t, int64_t launch, Pointer& data, kernels::TokenStrides& strides) const {
    if (!t.defined()) return;
    data = static_cast<char*>(t.data_ptr());
    strides = {t.stride(0), t.stride(1), t.stride(2), t.stride(3)};
    if (!windows()) return;
    data = static_cast<char*>(t.data_ptr()) +
           launch * strides.batch * static_cast<int64_t>(t.element_size());
    strides.batch = window_queries * strides.token;
  }

  /// `lse`: fp32, [B, R, H, Nq] or in windows [B, W, R, H, queries of a window].
  kernels::EvoAttentionForward forward(const Tensor& out, const Tensor& lse, int64_t launch) const {
    kernels::EvoAttentionForward p;
    p.batch = windows() ? q.size(2) / window_queries : q.size(0);
    p.rows = q.size(1);
    p.heads = q.size(3);
    p.queries = windows() ? window_queries : q.size(2);
    p.keys = windows() ? window_keys : k.size(2);
    p.head_dim = q.size(4);
    p.scale = scale;
    p.dtype = dtype;
    p.place = place;
    set(q, launch, p.q, p.q_stride);
    set(k, launch, p.k, p.k_stride);
    set(v, launch, p.v, p.v_stride);
    set(gate, launch, p.gate, p.gate_stride);
    set(out, launch, p.out, p.out_stride);
    if (bias.defined()) {
      const int axis = windows() ? 1 : 0;  // of the kernel's batch; before it the launch's
      p.bias = static_cast<const char*>(bias.data_ptr()) +
               (windows() ? launch * bias.stride(0) * size_of(bias_dtype) : 0);
      p.bias_dtype = bias_dtype;
      p.bias_batch = bias.stride(axis);
      p.bias_head = bias.stride(axis + 1);
      p.bias_query = bias.stride(axis + 2);
      p.bias_key = bias.stride(axis + 3);
    }
    if (mask.defined()) {
      p.mask_batch = mask.stride(0);
      p.mask_row = mask.stride(1);
      p.mask_key = mask.stride(2);
      p.mask =
          static_cast<const uint8_t*>(mask.data_ptr()) + (windows() ? launch * p.mask_batch : 0);
    }
    if (windows()) {
      p.key_total = k.size(2);
      p.key_step = window_queries;
      p.key_offset = first_key_of(window_queries, window_keys);
      if (first_key.defined()) p.key_first = static_cast<const int32_t*>(first_key.data_ptr());
    }
    if (lse.defined()) {
      p.lse = static_cast<float*>(lse.data_ptr()) + launch * (lse.numel() / launches());
    }
    return p;
  }

  /// The gradients' tensors are contiguous; an undefined dbias or dgate is not wanted.
  kernels::EvoAttentionBackward backward(const Tensor& out, const Tensor& lse, const Tensor& dout,
                                         const Tensor& dq, const Tensor& dk, const Tensor& dv,
                                         const Tensor& dbias, const Tensor& dgate,
                                         int64_t launch) const {
    kernels::EvoAttentionBackward p;
    p.forward = forward(out, lse, launch);
    set(dout, launch, p.dout, p.dout_stride);
    set(dq, launch, p.dq, p.dq_stride);
    set(dk, launch, p.dk, p.dk_stride);
    set(dv, launch, p.dv, p.dv_stride);
    set(dgate, launch, p.dgate, p.dgate_stride);
    if (dbias.defined()) {
      p.dbias = static_cast<char*>(dbias.data_ptr()) +
                launch * (dbias.numel() / launches()) * size_of(bias_dtype);
    }
    return p;
  }
};

}  // namespace megafold::ops
