// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "optim/optimizer.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "base/errors.h"

namespace megafold {

double learning_rate_at(const OptimizerOptions& options, int64_t step) {
  const auto s = static_cast<double>(step);
  const double warmup =
      std::min(1.0, (s + 1) / static_cast<double>(std::max<int64_t>(1, options.warmup_steps)));
  return options.learning_rate * warmup *
         std::pow(options.decay, std::floor(s / static_cast<double>(options.decay_steps)));
}

double ema_decay_at(const OptimizerOptions& options, int64_t step) {
  if (!options.ema_warmup) return options.ema_decay;
  const auto s = static_cast<double>(step);
  return std::min(options.ema_decay, (1 + s) / (10 + s));
}

Optimizer::Optimizer(const Parameters& parameters, const OptimizerOptions& options)
    : options_(options) {
  const c10::NoGradGuard no_gradient;
  for (const Parameters::Entry& entry : parameters.entries()) {
    if (!entry.trainable) continue;
    if (entry.tensor.scalar_type() != at::kFloat && entry.tensor.scalar_type() != at::kDouble)
      fail<BadInput>("parameter {}: master weights are f32 or f64, not {}", entry.name,
                     c10::toString(entry.tensor.scalar_type()));
    names_.push_back(entry.name);
    parameters_.push_back(entry.tensor);
    average_.push_back(entry.tensor.detach().clone());
    first_.push_back(at::zeros_like(entry.tensor.detach()));
    second_.push_back(at::zeros_like(entry.tensor.detach()));
    updates_.push_back(at::zeros({}, entry.tensor.options().dtype(at::kFloat)));
  }
}

double Optimizer::gradient_norm() const {
  const c10::NoGradGuard no_gradient;
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& parameter : parameters_)
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  if (gradients.empty()) return 0;
  return at::stack(at::_foreach_norm(gradients)).norm().item<double>();
}

std::string Optimizer::first_bad_gradient() const {
  const c10::NoGradGuard no_gradient;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& gradient = parameters_[i].grad();
    if (gradient.defined() && !at::isfinite(gradient).all().item<bool>()) return names_[i];
  }
  return "";
}

void Optimizer::step(double gradient_norm) {
  const c10::NoGradGuard no_gradient;
  std::vector<at::Tensor> parameters, gradients, first, second, updates;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& gradient = parameters_[i].grad();
    if (!gradient.defined()) continue;
    parameters.push_back(parameters_[i]);
    gradients.push_back(gradient);
    first.push_back(first_[i]);
    second.push_back(second_[i]);
    updates.push_back(updates_[i]);
  }
  if (!parameters.empty()) {
    std::optional<at::Tensor> divisor;  // ATen divides the gradients by it on the way
    if (options_.clip_norm > 0 && gradient_norm > options_.clip_norm)
      divisor = at::full({}, gradient_norm / options_.clip_norm, updates[0].options());
    at::_foreach_add_(updates, 1);
    at::_fused_adam_(parameters, gradients, first, second, /*max_exp_avg_sqs=*/{}, updates,
                     learning_rate(), options_.beta1, options_.beta2, /*weight_decay=*/0,
                     options_.epsilon, /*amsgrad=*/false, /*maximize=*/false, divisor);
  }
  at::_foreach_lerp_(average_, parameters_, 1 - ema_decay_at(options_, steps_done_));
  ++steps_done_;
  drop_gradients();
}

void Optimizer::drop_gradients() {
  for (at::Tensor& parameter : parameters_) parameter.mutable_grad().reset();
}

std::vector<std::pair<std::string, at::Tensor>> Optimizer::state() const {
  std::vector<std::pair<std::string, at::Tensor>> named;
  const auto add = [&](const char* kind, const std::vector<at::Tensor>& tensors) {
    for (size_t i = 0; i < names_.size(); ++i) named.emplace_back(kind + names_[i], tensors[i]);
  };
  add("ema.", average_);
  add("adam.m.", first_);
  add("adam.v.", second_);
  add("adam.n.", updates_);
  return named;
}

}  // namespace megafold
