// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/transition.h"

namespace megafold {
namespace {

at::Tensor swiglu(const at::Tensor& x, const at::Tensor& expand, const at::Tensor& contract) {
  const auto parts = project(x, expand).chunk(2, -1);
  return project(at::silu(parts[0]) * parts[1], contract);
}

at::Tensor masked(const at::Tensor& x, const at::Tensor& mask) {
  return mask.defined() ? x * like(x, mask).unsqueeze(-1) : x;
}

}  // namespace

Transition::Transition(const Scope& scope, int64_t channels, int64_t factor)
    : norm(scope / "norm", channels),
      expand(scope.parameter("expand", {2 * factor * channels, channels}, {kHe})),
      contract(scope.parameter("contract", {channels, factor * channels}, {kZeros})) {}

at::Tensor Transition::operator()(const at::Tensor& x, const at::Tensor& mask) const {
  return masked(swiglu(norm(x), expand, contract), mask);
}

AdaptiveLayerNorm::AdaptiveLayerNorm(const Scope& scope, int64_t c_a, int64_t c_s)
    : norm_s(scope / "norm_s", c_s, LayerNorm::scale_only),
      gate(Linear::with_bias(scope / "gate", c_s, c_a, kZeros)),
      shift(scope / "shift", c_s, c_a, kZeros) {}

at::Tensor AdaptiveLayerNorm::operator()(const at::Tensor& a, const at::Tensor& s) const {
  const at::Tensor condition = norm_s(s);
  return at::addcmul(shift(condition), gate(condition).sigmoid(), normalize(a));
}

ConditionedTransition::ConditionedTransition(const Scope& scope, int64_t c_a, int64_t c_s,
                                             int64_t factor)
    : norm(scope / "norm", c_a, c_s),
      expand(scope.parameter("expand", {2 * factor * c_a, c_a}, {kHe})),
      contract(scope.parameter("contract", {c_a, factor * c_a}, {kLecun})),
      gate(Linear::with_bias(scope / "gate", c_s, c_a, kZeros, -2)) {}

at::Tensor ConditionedTransition::operator()(const at::Tensor& a, const at::Tensor& s,
                                             const at::Tensor& mask) const {
  return masked(gate(s).sigmoid() * swiglu(norm(a, s), expand, contract), mask);
}

}  // namespace megafold
