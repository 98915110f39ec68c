// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Tile sizes of the portable EvoAttention, and the arguments its kernels take.
#pragma once

#include "kernels/common/arch/arch.h"
#include "kernels/evo_attention/evo_attention.h"

namespace megafold::kernels::evo_portable {

/// T: arch::Bf16, arch::F16 or float; head_dim: a multiple of 8.
///
/// A wave owns 16 rows of its block (queries, or keys in dK and dV) and walks over tiles of the
/// other side. The sizes keep every kernel within 64 KiB of shared memory, which is all that a CDNA
/// compute unit has, and its accumulators in registers.
template <class T, int head_dim>
struct Config {
  using Element = T;
  static constexpr int kDim = head_dim;
  static constexpr int kWidth = (head_dim + 15) / 16 * 16;  // whole fragments; the rest is zeros
  static constexpr int kWidthFragments = kWidth / arch::kTile;
  static constexpr int kRowBytes = kWidth * static_cast<int>(sizeof(T));
  static constexpr int kWaves = kRowBytes <= 256 ? 4 : 2;
  static constexpr int kRows = arch::kTile * kWaves;
  static constexpr int kLoop = kRowBytes <= 128 && sizeof(T) == 2 ? 64 : kRowBytes <= 256 ? 32 : 16;
  static constexpr int kLoopFragments = kLoop / arch::kTile;
  // Rows are 16 bytes (fp32: 32) longer than a multiple of 32: the eight rows of an ldmatrix, or
  // the half warp of an 8-byte load, then fall on different banks.
  static constexpr int kStride = kWidth + 8;
  static constexpr int kRowsBytes = kRows * kStride * static_cast<int>(sizeof(T));
  static constexpr int kLoopBytes = kLoop * kStride * static_cast<int>(sizeof(T));
  static constexpr int kFloats = kLoop * static_cast<int>(sizeof(float));
};

constexpr int kSharedLimit = 64 * 1024;

/// Calls f.operator()<D>() for a supported head width; false for any other.
template <class F>
bool with_head_dim(int64_t head_dim, const F& f) {
  const auto one = [&]<int d>() {
    if (head_dim == d) {
      f.template operator()<d>();
    }
    return head_dim == d;
  };
  return one.template operator()<16>() || one.template operator()<24>() ||
         one.template operator()<32>() || one.template operator()<48>() ||
         one.template operator()<64>() || one.template operator()<128>();
}

struct ForwardArgs {
  EvoAttentionForward params;
  float base2_scale = 1.0F;  // log2(e) scale: softmax works in base 2
  int64_t query_tiles = 0;
  // 16-byte (bias: one run's) accesses are possible: pointer and strides allow them.
  bool k_aligned = false, v_aligned = false, out_aligned = false;
  bool bias_aligned = false;
};

struct BackwardArgs {
  EvoAttentionBackward params;
  float scale = 1.0F, base2_scale = 1.0F;
  // dA = dout * sigmoid(gate), the gradient of the attention before the gate; dout without a gate.
  const void* da = nullptr;
  TokenStrides da_stride;
  void* da_out = nullptr;  // where `prepare` writes it; null without a gate
  float* delta = nullptr;  // [B, R, H, Nq]: sum over d of dout * out, which is sum_j P dP
  // In units of a block's rows: queries; keys (tokens of k). In units of the loop tile: queries
  // that dK and dV walk over; keys of a dBias block.
  int64_t query_tiles = 0, key_tiles = 0, loop_tiles = 0, bias_key_tiles = 0;
  bool q_aligned = false, k_aligned = false, v_aligned = false, da_aligned = false;
  bool dq_aligned = false, dk_aligned = false, dv_aligned = false;
  bool bias_aligned = false, bias_query_aligned = false, dbias_aligned = false;
  bool rows_aligned = false;  // dout, out, gate, dA and dgate, all of them
};

}  // namespace megafold::kernels::evo_portable
