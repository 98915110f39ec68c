// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Windows of atoms (algorithm 7) on Hopper: 32 queries that attend to 128 keys, the next window's
// keys 32 further. What the host tells the kernels, and how their work is cut.
//
// A score tile is small and there is nothing to carry from one to the next, so these kernels are
// warp-level: mma.sync, 16 rows of one (window, sample, head) a warp (in the backward two, half of
// the columns each), their bias in registers while the CTA goes through the samples. A CTA is two
// neighbouring windows of one head, which share 96 of their 128 keys; its loads run two samples
// ahead (windows.cuh).
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <algorithm>
#include <cstdint>

#include "kernels/common/types.h"
#include "kernels/evo_attention/sm90a/call.h"

namespace megafold::kernels::sm90a {

constexpr int kWindowQueries = 32, kWindowKeys = 128, kWindowDim = 32;  // at most; D exactly
constexpr int kWindowThreads = 128;                                     // of the forward

/// The pairs of neighbours (of windows; of blocks of 32 keys) and heads are `sequences`; a CTA
/// takes one and goes through its samples. While there are as many sequences as CTAs, each takes a
/// whole one; the `rest` is cut into `parts` of `part_rows` samples. So neighbours go through the
/// samples in step, and what they share is read from memory once and from L2 then.
struct WindowWork {
  int32_t grid, rounds, rest, parts, part_rows;

  static WindowWork of(int64_t sequences, int64_t rows, int64_t most) {
    WindowWork w{};
    w.rounds = static_cast<int32_t>(sequences / most);
    w.rest = static_cast<int32_t>(sequences % most);
    const int64_t parts = w.rest == 0 ? 1 : std::min(most / w.rest, rows);
    w.part_rows = static_cast<int32_t>((rows + parts - 1) / parts);
    w.parts = static_cast<int32_t>((rows + w.part_rows - 1) / w.part_rows);
    w.grid = static_cast<int32_t>(w.rounds > 0 ? most : int64_t{w.rest} * w.parts);
    return w;
  }
};

struct WindowArgs : CallArgs {  // batch: windows; rows: samples
  const __nv_bfloat16 *q, *k, *v;
  TokenStrides q_stride, k_stride, v_stride;
  DType bias_dtype;
  bool bias_in_pairs;  // two neighbouring keys can be loaded at once
  WindowWork work;
  // Backward.
  bool lse_aligned;  // a window's lse are 128 bytes that can be copied in bulk
  const __nv_bfloat16* dout;
  TokenStrides dout_stride;
  __nv_bfloat16 *dq, *dk, *dv, *dgate;
  TokenStrides dq_stride, dk_stride, dv_stride, dgate_stride;
  float2* stats;         // [batch, rows, heads, 32]: log2(e) lse (+inf: no gradient), delta
  __nv_bfloat16* gated;  // with a gate: dA = dout sigmoid(gate) as rounded; dout without
  TokenStrides gated_stride;
  void* dbias;              // or null
  float* sums;              // of dbias: [parts, rest, 64 queries, 128 keys], as its threads have it
  int64_t first_key_block;  // the token where blocks of 64 keys begin, 0 or less
};

/// Of the kernels of pairs of windows: q, dout, out and gate [D, H, N, R, B], boxes of 32 queries
/// of two windows; k, v [D, H, N, R], boxes of 160 keys. Tokens that do not exist arrive as zeros.
struct PairArgs : WindowArgs {
  CUtensorMap q_map, k_map, v_map, dout_map, out_map, gate_map;
};

/// What all windows' kernels ask for beyond what their callers ask of any call.
inline bool windows_fit(const EvoAttentionForward& p) {
  return p.key_total != 0 && p.head_dim == kWindowDim && p.queries <= kWindowQueries &&
         p.keys <= kWindowKeys;
}
/// All but the backward's.
PairArgs pair_args(const EvoAttentionForward& p);
/// Of a tensor laid out as q: boxes of all queries of `windows` windows.
CUtensorMap window_queries_map(const EvoAttentionForward& p, const void* base,
                               const TokenStrides& stride, int windows);
/// Of k or v: boxes of `keys` tokens.
CUtensorMap window_keys_map(const EvoAttentionForward& p, const void* base,
                            const TokenStrides& stride, int keys);

void launch_windows_forward(const EvoAttentionForward& p, Stream stream);

int64_t windows_backward_bytes(const EvoAttentionBackward& p);
void launch_windows_backward(const EvoAttentionBackward& p, void* workspace, Stream stream);

}  // namespace megafold::kernels::sm90a
