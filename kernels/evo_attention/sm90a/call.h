// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What every Hopper kernel of the forward, and those of windows both ways, are told of a call.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/evo_attention/evo_attention.h"

namespace megafold::kernels::sm90a {

/// As in EvoAttentionForward, whose comments give the shapes.
struct CallArgs {
  const void* bias_from;
  int64_t bias_batch, bias_head, bias_query, bias_key;
  const uint8_t* mask;
  int64_t mask_batch, mask_row, mask_key;
  float scale;
  const __nv_bfloat16* gate;
  TokenStrides gate_stride;
  __nv_bfloat16* out;
  TokenStrides out_stride;
  float* lse;
  int32_t batch, rows, heads, queries, keys;
  int32_t key_offset, key_step, key_total;
  const int32_t* key_first;
};

/// The call has passed supports(): its sizes fit into 32 bits.
inline CallArgs call_args(const EvoAttentionForward& p) {
  CallArgs a{};
  a.bias_from = p.bias;
  a.bias_batch = p.bias_batch, a.bias_head = p.bias_head;
  a.bias_query = p.bias_query, a.bias_key = p.bias_key;
  a.mask = p.mask;
  a.mask_batch = p.mask_batch, a.mask_row = p.mask_row, a.mask_key = p.mask_key;
  a.scale = static_cast<float>(p.scale);
  a.gate = static_cast<const __nv_bfloat16*>(p.gate), a.gate_stride = p.gate_stride;
  a.out = static_cast<__nv_bfloat16*>(p.out), a.out_stride = p.out_stride;
  a.lse = p.lse;
  a.batch = static_cast<int32_t>(p.batch);
  a.rows = static_cast<int32_t>(p.rows);
  a.heads = static_cast<int32_t>(p.heads);
  a.queries = static_cast<int32_t>(p.queries);
  a.keys = static_cast<int32_t>(p.keys);
  a.key_offset = static_cast<int32_t>(p.key_offset);
  a.key_step = static_cast<int32_t>(p.key_step);
  a.key_total = static_cast<int32_t>(p.key_total);
  a.key_first = p.key_first;
  return a;
}

}  // namespace megafold::kernels::sm90a
