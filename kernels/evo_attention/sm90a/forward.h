// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the host tells the forward kernels, and how their work is cut. There are two:
//   shared  forward_shared.cuh: rows that share a bias, several of them in a CTA. No running
//           maximum, so it hands the tiles that leave its range to ..
//   exact   forward_exact.cuh: one tile of 64 queries a CTA, a running maximum, any finite input.
//           Alone where nothing is shared (one row a batch).
// Their instances are in forward_d*.cu; forward.cu plans, prepares the bias and launches.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/common/types.h"
#include "kernels/evo_attention/sm90a/call.h"

namespace megafold::kernels::sm90a {

constexpr float kLog2E = 1.44269504088896341F;
constexpr int kTileQueries = 64;  // rows of one wgmma: the queries of one score tile
constexpr int kTileKeys = 64;     // the keys of one score tile

/// How the shared kernel's work is cut. Each of kRows consumer warpgroups owns one row and kSubs
/// tiles of 64 queries, and goes through the keys 64 at a time with kBuffers score tiles in
/// registers. They share each bias tile; the two tiles of a row share K and V.
template <int kDim_, int kBuffers_, int kKvStages_, int kBiasStages_>
struct ForwardShape {
  static constexpr int kDim = kDim_, kRows = 3, kSubs = 2, kBuffers = kBuffers_;
  static constexpr int kKvStages = kKvStages_, kBiasStages = kBiasStages_;
};

/// The work handed out and handed over, in the workspace; zeroed before each launch.
struct ForwardQueue {
  int32_t next = 0;  // of the shared kernel's items, handed out beyond the first wave
  int32_t reserved = 0;
  int32_t count = 0;         // tiles on the exact kernel's list
  int32_t padding[61] = {};  // keeps what follows 256-byte aligned
};

/// Who brings the bias to the exact kernel, from the caller's own tensor.
enum class BiasSource : int32_t { none, tma_f32, tma_bf16, plain_f32, plain_bf16 };

struct ForwardArgs : CallArgs {
  CUtensorMap q, k, v;  // dimensions D, H, N, R, B; boxes of 64 tokens
  CUtensorMap bias;     // exact kernel, tma_*: dimensions Nk, Nq, H, B; boxes of 128 bytes x 64

  // Shared kernel: bias tiles of 64 x 64, divided by scale, in the accumulators' order; or null.
  // Bits of the mask: [B, row_groups * rows of the plan, key_tiles * 2].
  const void* bias_tiles;
  const uint32_t* valid;
  ForwardQueue* queue;
  int32_t* flags;  // one a tile: on the list already?
  int32_t* list;   // tiles of the exact kernel: ((batch * rows + row) * heads + head) * query_tiles
                   // + tile; or null: it does all of them
  int32_t row_groups, query_blocks, items;
  int32_t head_group;  // heads that follow each other in the items' order, a divisor of heads

  BiasSource bias_source;  // of the exact kernel
  int32_t query_tiles, key_tiles;
};

/// An instance of the shared kernel.
struct SharedPlan {
  int rows, subs;
  void (*launch)(const ForwardArgs&, int grid, Stream);
};
/// An instance of the exact kernel.
struct ExactPlan {
  int queries;  // that it loads of a tile
  void (*launch)(const ForwardArgs&, int grid, Stream);
};
/// The kernels of one D. Why these shapes: docs/kernels/evo_attention.md.
struct ForwardPlans {
  SharedPlan shared;
  ExactPlan exact, exact_32;  // exact_32: for 32 queries or fewer
};
const ForwardPlans& forward_plans_d32();
const ForwardPlans& forward_plans_d48();
const ForwardPlans& forward_plans_d64();

constexpr int kExactBlocks = 3;  // CTAs of the exact kernel on a multiprocessor

}  // namespace megafold::kernels::sm90a
