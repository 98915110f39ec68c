// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Adam (Kingma and Ba 2015) with clipping by the global norm, a schedule, and an exponential moving
// average of the weights (SI 5.4). A step passes three times over the parameters: the norms of the
// gradients; Adam with the clipping factor in it; the average. All three are ATen's fused or
// foreach forms, so they are one launch per device where the device has them.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/parameters.h"

namespace megafold {

struct OptimizerOptions {
  double learning_rate = 1.8e-3;
  int64_t warmup_steps = 1000;  // linear from 0
  double decay = 0.95;          // factor, once every decay_steps
  int64_t decay_steps = 50000;
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double clip_norm = 10;  // of all gradients together; 0: no clipping
  double ema_decay = 0.999;
  /// The average forgets its start: decay min(ema_decay, (1 + u) / (10 + u)) at update u, for runs
  /// that are short beside 1 / (1 - ema_decay). SI and OpenFold 3 have none.
  bool ema_warmup = false;
};

/// The rate of update number `step` (0: the first): rises to the full rate over warmup_steps
/// updates, the first of which is not 0, and falls by `decay` after every decay_steps.
double learning_rate_at(const OptimizerOptions& options, int64_t step);

/// The decay of the weights' average at that update.
double ema_decay_at(const OptimizerOptions& options, int64_t step);

class Optimizer {
 public:
  /// Of the trainable parameters, whose values are the average's start. They must already be where
  /// they will be trained (device), in f32 or f64.
  Optimizer(const Parameters& parameters, const OptimizerOptions& options);

  /// Euclidean norm of all gradients together, not finite when any of them is not. A parameter
  /// without a gradient counts as zero.
  [[nodiscard]] double gradient_norm() const;
  /// The first parameter whose gradient is not finite; empty when all are.
  [[nodiscard]] std::string first_bad_gradient() const;

  /// Applies the gradients, whose norm the caller has measured and found finite, and drops them. A
  /// parameter without a gradient stays as it is, with its moments.
  void step(double gradient_norm);
  void drop_gradients();

  [[nodiscard]] int64_t steps_done() const { return steps_done_; }
  void set_steps_done(int64_t steps) { steps_done_ = steps; }
  [[nodiscard]] double learning_rate() const { return learning_rate_at(options_, steps_done_); }

  /// The state by name: "ema.P", "adam.m.P", "adam.v.P" and "adam.n.P" (updates seen, f32 scalar)
  /// for each parameter P. Handles, not copies: copy values into them to restore.
  [[nodiscard]] std::vector<std::pair<std::string, at::Tensor>> state() const;

 private:
  OptimizerOptions options_;
  std::vector<std::string> names_;
  std::vector<at::Tensor> parameters_, average_, first_, second_, updates_;
  int64_t steps_done_ = 0;
};

}  // namespace megafold
