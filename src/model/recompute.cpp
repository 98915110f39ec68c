// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/recompute.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "base/errors.h"

namespace megafold {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

thread_local bool enabled = false;

/// What the second run needs besides the inputs.
struct Again : torch::CustomClassHolder {
  BlockFunction block;
  Dropout drop;  // as it stood before the first run
};

constexpr size_t kMostInputs = 3;

struct Recomputed : torch::autograd::Function<Recomputed> {
  // LibTorch looks for gradients in single tensors alone, not in a list of them.
  using Maybe = std::optional<at::Tensor>;

  static variable_list forward(AutogradContext* context, const at::Tensor& first,
                               const Maybe& second, const Maybe& third, Dropout* drop,
                               const BlockFunction& block) {
    variable_list inputs = {first};
    for (const Maybe& t : {second, third})
      if (t.has_value()) inputs.push_back(*t);
    auto again = c10::make_intrusive<Again>();
    again->block = block;
    again->drop = *drop;
    context->save_for_backward(inputs);
    context->saved_data["again"] = c10::IValue::make_capsule(std::move(again));
    context->set_materialize_grads(false);
    return block(inputs, *drop);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    if (at::GradMode::is_enabled()) fail<Unsupported>("a recomputed block is differentiable once");
    const auto holder = context->saved_data["again"].toCapsule();
    const auto& again = static_cast<const Again&>(*holder);
    variable_list inputs;
    for (const at::Tensor& t : context->get_saved_variables())
      inputs.push_back(t.detach().requires_grad_(t.requires_grad()));
    const at::AutoGradMode record(true);
    Dropout drop = again.drop;
    variable_list outputs, given;
    const variable_list found = again.block(inputs, drop);
    for (size_t i = 0; i < found.size(); ++i)
      if (gradients[i].defined() && found[i].requires_grad()) {
        outputs.push_back(found[i]);
        given.push_back(gradients[i]);
      }
    if (!outputs.empty()) torch::autograd::backward(outputs, given);
    variable_list out;
    for (const at::Tensor& t : inputs) out.push_back(t.grad());
    out.resize(kMostInputs + 2);  // neither drop nor block has one
    return out;
  }
};

}  // namespace

RecomputeMode::RecomputeMode(bool on) : before_(enabled) {
  enabled = on;
}
RecomputeMode::~RecomputeMode() {
  enabled = before_;
}
bool RecomputeMode::is_enabled() {
  return enabled;
}

std::vector<at::Tensor> run_block(const std::vector<at::Tensor>& inputs, Dropout& drop,
                                  const BlockFunction& block) {
  if (!RecomputeMode::is_enabled() || !c10::GradMode::is_enabled()) return block(inputs, drop);
  if (inputs.empty() || inputs.size() > kMostInputs)
    fail<BadInput>("a recomputed block of {} inputs; 1 to {} are taken", inputs.size(),
                   kMostInputs);
  const auto at = [&](size_t i) {
    return i < inputs.size() ? Recomputed::Maybe(inputs[i]) : std::nullopt;
  };
  return Recomputed::apply(inputs[0], at(1), at(2), &drop, block);
}

}  // namespace megafold
