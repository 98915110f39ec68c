// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 11, Transition: out_..C = Linear(swish(a) * b), a and b_..nC = Linear(LN(x_..C)).
// Algorithm 25, ConditionedTransitionBlock: the same behind AdaLN(a, s), gated by s.
// Algorithm 26, AdaLN: sigmoid(Linear(LN(s))) * LN(a) + LinearNoBias(LN(s)).
#pragma once

#include "model/primitives.h"

namespace megafold {

struct Transition {
  LayerNorm norm;
  at::Tensor expand;    // [2 n C, C]: rows of a, then rows of b
  at::Tensor contract;  // [C, n C]

  Transition(const Scope& scope, int64_t channels, int64_t factor);
  /// mask [..] of x without its channels: multiplies the output (conventions.h); undefined: none.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& mask = {}) const;
};

struct AdaptiveLayerNorm {
  LayerNorm norm_s;
  Linear gate, shift;

  AdaptiveLayerNorm(const Scope& scope, int64_t c_a, int64_t c_s);
  /// a [.., C_a], s [.., C_s] with broadcasting leading dimensions.
  at::Tensor operator()(const at::Tensor& a, const at::Tensor& s) const;
};

struct ConditionedTransition {
  AdaptiveLayerNorm norm;
  at::Tensor expand, contract;
  Linear gate;

  ConditionedTransition(const Scope& scope, int64_t c_a, int64_t c_s, int64_t factor);
  at::Tensor operator()(const at::Tensor& a, const at::Tensor& s,
                        const at::Tensor& mask = {}) const;
};

}  // namespace megafold
