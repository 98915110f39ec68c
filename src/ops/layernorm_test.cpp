// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/layernorm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/errors.h"

namespace megafold::ops {
namespace {

struct Result {
  at::Tensor y, dx, dweight, dbias;
};

template <class F>
Result run(F&& f, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
           const at::Tensor& dy) {
  const auto leaf = [](const at::Tensor& t) {
    return t.defined() ? t.detach().clone().requires_grad_(true) : t;
  };
  const at::Tensor a = leaf(x), w = leaf(weight), b = leaf(bias);
  const at::Tensor y = f(a, w, b);
  y.backward(dy);
  return {y.detach(), a.grad(), w.defined() ? w.grad() : w, b.defined() ? b.grad() : b};
}

double relative(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() && !b.defined()) return 0;
  const at::Tensor wide = b.to(at::kDouble);
  const double error = ((a.to(at::kDouble) - wide).norm() / wide.norm()).item<double>();
  return std::isnan(error) ? 1e300 : error;
}

TEST(LayerNorm, EqualsAtenInDoubleAndIsNoWorseInBfloat16) {
  at::manual_seed(1);
  for (const bool affine : {true, false}) {
    const at::Tensor x = at::randn({3, 5, 64}, at::kDouble) * 2 + 1, dy = at::randn_like(x);
    const at::Tensor weight = affine ? at::randn({64}, at::kDouble) : at::Tensor();
    const at::Tensor bias = affine ? at::randn({64}, at::kDouble) : at::Tensor();
    const auto ours = [](const auto& a, const auto& w, const auto& b) {
      return ops::layer_norm(a, w, b);
    };
    const auto aten = [](const auto& a, const auto& w, const auto& b) {
      return at::layer_norm(a, {64}, w, b, 1e-5);
    };
    const auto as = [](const at::Tensor& t, at::ScalarType type) {
      return t.defined() ? t.to(type) : t;
    };
    const Result exact = run(aten, x, weight, bias, dy);
    const Result ours64 = run(ours, x, weight, bias, dy);
    const auto half = at::kBFloat16;
    const Result ours16 = run(ours, as(x, half), as(weight, half), as(bias, half), as(dy, half));
    const Result aten16 = run(aten, as(x, half), as(weight, half), as(bias, half), as(dy, half));
    const Result exact16 = run(aten, x.to(half).to(at::kDouble), as(as(weight, half), at::kDouble),
                               as(as(bias, half), at::kDouble), dy.to(half).to(at::kDouble));
    for (const auto member : {&Result::y, &Result::dx, &Result::dweight, &Result::dbias}) {
      EXPECT_LE(relative(ours64.*member, exact.*member), 1e-14);
      EXPECT_LE(relative(ours16.*member, exact16.*member),
                1.02 * relative(aten16.*member, exact16.*member));
    }
  }
}

TEST(LayerNorm, TakesStridedAndEmptyTensors) {
  const at::Tensor wide = at::randn({4, 6, 32}, at::kDouble);
  for (const at::Tensor& x : {wide.transpose(0, 1), wide.slice(2, 3, 19), wide.slice(0, 0, 0)}) {
    const at::Tensor exact = at::layer_norm(x, {x.size(-1)});
    EXPECT_TRUE(at::allclose(ops::layer_norm(x, {}, {}), exact, 1e-12, 1e-12));
  }
}

TEST(LayerNorm, RefusesWithWhatCame) {
  const auto message = [](auto&& f) -> std::string {
    try {
      f();
    } catch (const BadInput& error) {
      return error.what();
    }
    return "accepted";
  };
  const at::Tensor x = at::zeros({2, 8});
  EXPECT_NE(message([&] { ops::layer_norm(x, at::zeros({7}), {}); }).find("[7] Float, but [8]"),
            std::string::npos);
  EXPECT_NE(message([&] { ops::layer_norm(x.to(at::kLong), {}, {}); }).find("Long"),
            std::string::npos);
  EXPECT_NE(message([&] { ops::layer_norm({}, {}, {}); }).find("none"), std::string::npos);
  EXPECT_NE(message([&] { ops::layer_norm(x, at::zeros({8}, at::kDouble), {}); }).find("Double"),
            std::string::npos);
}

}  // namespace
}  // namespace megafold::ops
