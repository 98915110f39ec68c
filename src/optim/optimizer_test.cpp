// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "optim/optimizer.h"

#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/errors.h"
#include "base/philox.h"

namespace megafold {
namespace {

at::Tensor normal(at::IntArrayRef shape, uint64_t visit, double scale = 1) {
  auto tensor = at::zeros(shape, at::kFloat);
  Random random(1, 2, visit, Purpose::noise);
  for (int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data_ptr<float>()[i] = static_cast<float>(scale * random.normal());
  return tensor;
}

Parameters two_parameters() {
  Parameters parameters;
  parameters.add("a.weight", normal({7, 5}, 100), true);
  parameters.add("b.weight", normal({3}, 101), true);
  parameters.add("c.buffer", normal({2}, 102), false);
  return parameters;
}

/// Adam as its paper's algorithm 1 writes it, in f64, one value at a time.
struct Reference {
  OptimizerOptions options;
  std::vector<double> value, m, v, average;
  int64_t t = 0;
  void step(const std::vector<double>& gradient, double scale, double rate, double decay) {
    ++t;
    for (size_t i = 0; i < value.size(); ++i) {
      const double g = gradient[i] * scale;
      m[i] = options.beta1 * m[i] + (1 - options.beta1) * g;
      v[i] = options.beta2 * v[i] + (1 - options.beta2) * g * g;
      const double m_hat = m[i] / (1 - std::pow(options.beta1, static_cast<double>(t)));
      const double v_hat = v[i] / (1 - std::pow(options.beta2, static_cast<double>(t)));
      value[i] -= rate * m_hat / (std::sqrt(v_hat) + options.epsilon);
      average[i] = decay * average[i] + (1 - decay) * value[i];
    }
  }
};

std::vector<double> values(const at::Tensor& tensor) {
  const auto flat = tensor.detach().to(at::kDouble).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

TEST(Optimizer, EqualsThePapersAdamWithClippingAndAverage) {
  for (const bool warmup : {false, true}) {
    Parameters parameters = two_parameters();
    const OptimizerOptions options{.learning_rate = 1e-2,
                                   .warmup_steps = 4,
                                   .decay = 0.5,
                                   .decay_steps = 9,
                                   .clip_norm = 3,
                                   .ema_decay = 0.9,
                                   .ema_warmup = warmup};
    Optimizer optimizer(parameters, options);
    std::vector<Reference> references;
    for (const auto& tensor : parameters.trainable()) {
      const auto start = values(tensor);
      references.push_back({options, start, std::vector<double>(start.size()),
                            std::vector<double>(start.size()), start});
    }
    int clipped = 0;
    for (int64_t step = 0; step < 20; ++step) {
      auto trainable = parameters.trainable();
      double squares = 0;
      for (size_t i = 0; i < trainable.size(); ++i) {
        trainable[i].mutable_grad() =
            normal(trainable[i].sizes(), static_cast<uint64_t>(10 * step) + i,
                   0.2 + 0.1 * static_cast<double>(step % 5));
        squares += trainable[i].grad().square().sum().item<double>();
      }
      const double norm = optimizer.gradient_norm();
      ASSERT_NEAR(norm, std::sqrt(squares), 1e-5 * norm);
      const double scale = norm > 3 ? 3 / norm : 1;
      clipped += norm > 3;
      const double rate = 1e-2 * std::min(1.0, static_cast<double>(step + 1) / 4) *
                          (step < 9    ? 1
                           : step < 18 ? 0.5
                                       : 0.25);
      ASSERT_DOUBLE_EQ(optimizer.learning_rate(), rate);
      const auto s = static_cast<double>(step);
      for (size_t i = 0; i < trainable.size(); ++i)
        references[i].step(values(trainable[i].grad()), scale, rate,
                           warmup ? std::min(0.9, (1 + s) / (10 + s)) : 0.9);
      optimizer.step(norm);
      ASSERT_FALSE(trainable[0].grad().defined());
    }
    EXPECT_GT(clipped, 2);
    EXPECT_LT(clipped, 18);
    const auto state = optimizer.state();
    const auto trainable = parameters.trainable();
    for (size_t i = 0; i < trainable.size(); ++i) {
      // f32 rounding of 20 updates of size about the rate, on values of size about 1.
      for (size_t k = 0; k < references[i].value.size(); ++k) {
        EXPECT_NEAR(values(trainable[i])[k], references[i].value[k], 5e-6);
        EXPECT_NEAR(values(state[i].second)[k], references[i].average[k], 5e-6);
        EXPECT_NEAR(values(state[2 + i].second)[k], references[i].m[k], 1e-6);
        EXPECT_NEAR(values(state[4 + i].second)[k], references[i].v[k], 1e-6);
      }
    }
    EXPECT_EQ(state[0].first, "ema.a.weight");
    EXPECT_EQ(state[3].first, "adam.m.b.weight");
  }
}

TEST(Optimizer, SkipsParametersWithoutAGradient) {
  Parameters parameters = two_parameters();
  Optimizer optimizer(parameters, {.learning_rate = 0.1, .warmup_steps = 0, .ema_decay = 0.5});
  auto trainable = parameters.trainable();
  const auto before = trainable[1].detach().clone();
  for (int step = 0; step < 3; ++step) {
    trainable[0].mutable_grad() = at::ones_like(trainable[0].detach());
    optimizer.step(optimizer.gradient_norm());
  }
  EXPECT_TRUE(at::equal(trainable[1].detach(), before));
  const auto state = optimizer.state();
  EXPECT_EQ(state[6].second.item<float>(), 3.0F);
  EXPECT_EQ(state[7].second.item<float>(), 0.0F);
  optimizer.step(optimizer.gradient_norm());  // none at all
  EXPECT_EQ(optimizer.steps_done(), 4);
}

TEST(Optimizer, FindsGradientsThatAreNotFinite) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    Parameters parameters = two_parameters();
    const Optimizer optimizer(parameters, {});
    auto trainable = parameters.trainable();
    trainable[0].mutable_grad() = at::ones_like(trainable[0].detach());
    EXPECT_EQ(optimizer.first_bad_gradient(), "");
    trainable[1].mutable_grad() = at::full({3}, bad);
    EXPECT_FALSE(std::isfinite(optimizer.gradient_norm()));
    EXPECT_EQ(optimizer.first_bad_gradient(), "b.weight");
  }
}

TEST(Optimizer, RefusesLowPrecisionMasters) {
  Parameters parameters;
  parameters.add("x", at::zeros({2}, at::kBFloat16), true);
  EXPECT_THROW(Optimizer(parameters, {}), BadInput);
}

TEST(Optimizer, StateRestoresBitEqual) {
  const auto run = [](Parameters& parameters, Optimizer& optimizer, int from, int to) {
    for (int step = from; step < to; ++step) {
      auto trainable = parameters.trainable();
      for (size_t i = 0; i < trainable.size(); ++i)
        trainable[i].mutable_grad() =
            normal(trainable[i].sizes(), static_cast<uint64_t>(step) * 2 + i);
      optimizer.step(optimizer.gradient_norm());
    }
  };
  Parameters whole = two_parameters(), first = two_parameters(), second = two_parameters();
  Optimizer a(whole, {}), b(first, {}), c(second, {});
  run(whole, a, 0, 20);
  run(first, b, 0, 10);
  {
    const c10::NoGradGuard no_gradient;
    for (size_t i = 0; i < 2; ++i) second.trainable()[i].copy_(first.trainable()[i]);
    for (size_t i = 0; i < b.state().size(); ++i) c.state()[i].second.copy_(b.state()[i].second);
    c.set_steps_done(b.steps_done());
  }
  run(second, c, 10, 20);
  for (size_t i = 0; i < 2; ++i)
    EXPECT_TRUE(at::equal(whole.trainable()[i].detach(), second.trainable()[i].detach()));
  for (size_t i = 0; i < a.state().size(); ++i)
    EXPECT_TRUE(at::equal(a.state()[i].second, c.state()[i].second));
}

TEST(Schedule, IsTheSupplements) {
  const OptimizerOptions options;
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 0), 1.8e-6);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 499), 0.9e-3);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 999), 1.8e-3);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 49999), 1.8e-3);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 50000), 1.8e-3 * 0.95);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 100000), 1.8e-3 * 0.95 * 0.95);
  EXPECT_DOUBLE_EQ(learning_rate_at({.warmup_steps = 0}, 0), 1.8e-3);
}

}  // namespace
}  // namespace megafold
