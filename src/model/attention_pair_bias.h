// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 24, AttentionPairBias, without conditioning (the Pairformer's single attention) and
// with it (the diffusion transformer; attention_pair_bias on atoms has keys normed by an AdaLN of
// their own).
//
//   x = LN(a) or AdaLN(a, s);  out = Attention(x, bias_HIJ = Linear(LN(z_IJC)))
//   with s: out = sigmoid(Linear(s)) * out
#pragma once

#include <optional>

#include "model/attention.h"
#include "model/conventions.h"
#include "model/transition.h"

namespace megafold {

struct SingleAttention {
  LayerNorm norm_a, norm_z;
  Linear bias;
  Attention attention;

  SingleAttention(const Scope& scope, int64_t c_s, int64_t c_z, int64_t heads);
  /// s [N, C_s], z [N, N, C_z]; mask bool [N] or undefined. Returns the update, [N, C_s].
  at::Tensor operator()(const at::Tensor& s, const at::Tensor& z, const at::Tensor& mask) const;
};

/// With conditioning. The bias is made outside, for all blocks at once (diffusion_transformer.h).
struct ConditionedAttention {
  enum Over { tokens, atoms } over;
  bool keys_normed_twice, windows_padded;
  AdaptiveLayerNorm norm_a;
  std::optional<AdaptiveLayerNorm> norm_kv;  // atoms
  Attention attention;
  Linear gate;

  ConditionedAttention(const Scope& scope, const Conventions& conventions, Over what, int64_t c_a,
                       int64_t c_s, int64_t heads);
  /// a [S, N, C_a], s [S or 1, N, C_s]; bias [H, N, N], or [W, H, 32, 128] over atoms; mask bool
  /// [S, N] or undefined. Returns the update, [S, N, C_a].
  at::Tensor operator()(const at::Tensor& a, const at::Tensor& s, const at::Tensor& pair_bias,
                        const at::Tensor& mask) const;
};

}  // namespace megafold
