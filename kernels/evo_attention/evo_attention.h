// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention: attention with a bias that rows (or diffusion samples) share, a key mask and a
// gate. AF3 supplement, algorithms 14 and 15 (triangle attention), 24 (attention with pair bias), 7
// (windows of atoms); AlphaFold 2's MSA row and column attention have the same form.
//
//   S[b,r,h,i,j] = scale * sum_d q[b,r,i,h,d] k[b,r,j,h,d] + bias[b,h,i,j]    (-inf where
//   mask[b,r,j] = 0) P = softmax over j of S;  A[b,r,i,h,d] = sum_j P[b,r,h,i,j] v[b,r,j,h,d] out =
//   sigmoid(gate) * A          (out = A without a gate)
//
// A row r whose mask holds no valid key gives out = 0 and zero gradients (PyTorch gives NaN there).
#pragma once

#include "kernels/common/types.h"

namespace megafold::kernels {

/// Element strides of a [B, R, N, H, D] tensor; D is contiguous.
struct TokenStrides {
  int64_t batch = 0, row = 0, token = 0, head = 0;
};

struct EvoAttentionForward {
  // B batches; R rows or samples that share the batch's bias; H heads; Nq queries; Nk keys; head
  // width D.
  int64_t batch = 1, rows = 1, heads = 1, queries = 0, keys = 0, head_dim = 0;
  double scale = 1.0;         // usually 1 / sqrt(D)
  DType dtype = DType::bf16;  // of q, k, v, gate, out and their gradients
  Place place = Place::cpu;

  const void* q = nullptr;  // [B, R, Nq, H, D]
  const void* k = nullptr;  // [B, R, Nk, H, D]
  const void* v = nullptr;  // [B, R, Nk, H, D]
  TokenStrides q_stride, k_stride, v_stride;

  const void* bias = nullptr;  // [B, H, Nq, Nk], or null
  DType bias_dtype = DType::f32;
  int64_t bias_batch = 0, bias_head = 0, bias_query = 0, bias_key = 1;  // element strides

  // Windows of atoms (algorithm 7): a batch is a window and its rows are the samples. Key j of
  // window b is atom key_offset + b * key_step + j of key_total atoms, k, v and mask point at atom
  // 0 (their batch strides are unused; dk and dv likewise), and a key outside 0 .. key_total - 1 is
  // masked and never read. key_total = 0: no windows.
  int64_t key_offset = 0, key_step = 0, key_total = 0;
  // [B] the first atom of each window's keys, never decreasing, or null: key_offset + b * key_step.
  // OpenFold 3 shifts the windows at the ends inside, so there they lie closer.
  const int32_t* key_first = nullptr;

  // [B, R, Nk], 1: may be attended; or null: every key may. In windows [R, key_total].
  const uint8_t* mask = nullptr;
  int64_t mask_batch = 0, mask_row = 0, mask_key = 1;

  const void* gate = nullptr;  // [B, R, Nq, H, D] before the sigmoid, or null
  TokenStrides gate_stride;

  void* out = nullptr;  // [B, R, Nq, H, D]
  TokenStrides out_stride;

  // [B, R, H, Nq], contiguous: log(sum_j exp(S)) in natural units, -inf for a row without valid
  // keys. Null when no backward will follow.
  float* lse = nullptr;
};

struct EvoAttentionBackward {
  EvoAttentionForward forward;  // as it ran; out and lse are inputs here (out is the gated output)

  const void* dout = nullptr;  // [B, R, Nq, H, D]
  TokenStrides dout_stride;
  void *dq = nullptr, *dk = nullptr, *dv = nullptr;  // as q, k, v; dtype of the forward
  TokenStrides dq_stride, dk_stride, dv_stride;
  void* dgate = nullptr;  // [B, R, Nq, H, D], or null
  TokenStrides dgate_stride;
  // [B, H, Nq, Nk] contiguous in bias_dtype: the sum over rows in a fixed order, without atomics;
  // the same bits on every run. Null when the bias needs no gradient.
  void* dbias = nullptr;
};

/// In order of preference; the last of each place takes everything that the operation allows.
const std::vector<Implementation<EvoAttentionForward>>& evo_attention_forward();
const std::vector<Implementation<EvoAttentionBackward>>& evo_attention_backward();

}  // namespace megafold::kernels
