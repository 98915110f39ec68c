// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the host tells the forward kernel, and the tiles it is built for. The kernel is in
// forward.cuh, one instance a forward_d*.cu; forward.cu plans, prepares the bias and launches.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/common/types.h"
#include "kernels/evo_attention/evo_attention.h"

namespace megafold::kernels::sm90a {

constexpr float kLog2E = 1.44269504088896341F;
constexpr int kTileQueries = 64;  // rows of one wgmma: the queries of one score tile

/// How a CTA's work is cut. Each consumer warpgroup owns one row and kSubs tiles of 64 queries, and
/// goes through the keys kKeys at a time. kRows x kQueryGroups warpgroups run side by side: those
/// of different rows share each bias tile, those of one row share K and V.
template <int kDim_, int kKeys_, int kRows_, int kQueryGroups_, int kSubs_, int kKvStages_,
          int kBiasStages_>
struct ForwardShape {
  static constexpr int kDim = kDim_, kKeys = kKeys_, kRows = kRows_, kQueryGroups = kQueryGroups_;
  static constexpr int kSubs = kSubs_, kKvStages = kKvStages_, kBiasStages = kBiasStages_;
  using Exact =
      ForwardShape<kDim, kKeys, kRows, kQueryGroups, 1, kKvStages, kBiasStages>;  // of its kernel
};

/// The work left to the exact kernel, in the workspace; zeroed before each launch.
struct ForwardQueue {
  int32_t next = 0;          // of the fast kernel's items, handed out beyond the first wave
  int32_t next_exact = 0;    // of `count`
  int32_t count = 0;         // items that the fast kernel found out of range
  int32_t padding[61] = {};  // keeps what follows 256-byte aligned
};

struct ForwardArgs {
  CUtensorMap q, k, v;      // dimensions D, H, N, R, B
  const float* bias_tiles;  // 64 x keys, times log2(e), in the accumulators' order; or null
  const void* bias;  // where consumers read it themselves: as in EvoAttentionForward, or null
  int64_t bias_batch, bias_head, bias_query, bias_key;
  bool bias_bf16, bias_pairs;  // pairs: two f32 of neighbouring keys can be loaded at once
  const uint32_t* valid;       // [B, row_groups * kRows, key_tiles * kKeys / 32]: bits of the mask
  const __nv_bfloat16* gate;
  TokenStrides gate_stride;
  __nv_bfloat16* out;
  TokenStrides out_stride;
  float* lse;
  ForwardQueue* queue;
  int32_t* flags;  // one per item of the exact kernel: already in the list?
  int32_t* list;   // items of the exact kernel
  int32_t rows, heads, queries, keys;
  int32_t row_groups, query_blocks, exact_query_blocks, query_tiles, key_tiles, items;
  int32_t key_offset, key_step, key_total;  // windows; key_total = 0: none
  const int32_t* key_first;
  float q_scale;  // scale * log2(e)
};

/// A pair of kernels of one ForwardShape; why these shapes: docs/kernels/evo_attention.md. `exact`
/// keeps a running maximum and takes any finite scores; `fast` has none and hands the items that it
/// cannot do to the exact one.
struct ForwardPlan {
  int keys, rows, query_groups, subs;
  bool direct_bias;
  void (*fast)(const ForwardArgs&, int grid, Stream);
  void (*exact)(const ForwardArgs&, int grid, Stream);
};
/// For rows that share a bias (rows > 1), and for one row a batch.
const ForwardPlan& forward_plan_d32(bool many_rows);
const ForwardPlan& forward_plan_d48(bool many_rows);
const ForwardPlan& forward_plan_d64(bool many_rows);

}  // namespace megafold::kernels::sm90a
