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

TEST(LayerNorm, GivesTheGradientsThatAreWantedWhicheverParametersThereAre) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({6, 8}, at::kDouble), dy = at::randn({6, 8}, at::kDouble);
  for (int bits = 0; bits < 16; ++bits) {
    const auto parameter = [&](int there, int wanted) {
      if ((bits & there) == 0) return at::Tensor();
      return at::randn({8}, at::kDouble).requires_grad_((bits & wanted) != 0);
    };
    const at::Tensor weight = parameter(1, 2), bias = parameter(4, 8);
    const auto gradients = [&](auto&& f) {
      const at::Tensor leaf = x.clone().requires_grad_(true);
      for (const auto& t : {weight, bias}) {
        if (t.defined()) t.mutable_grad() = at::Tensor();
      }
      f(leaf, weight, bias).backward(dy);
      return std::vector<at::Tensor>{leaf.grad(), weight.defined() ? weight.grad() : weight,
                                     bias.defined() ? bias.grad() : bias};
    };
    const auto got = gradients(
        [](const auto& a, const auto& w, const auto& b) { return ops::layer_norm(a, w, b); });
    const auto want = gradients([](const auto& a, const auto& w, const auto& b) {
      return at::layer_norm(a, {8}, w, b, 1e-5);
    });
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i].defined(), want[i].defined()) << bits << ' ' << i;
      EXPECT_LE(relative(got[i], want[i]), 1e-14) << bits << ' ' << i;
    }
  }
}

TEST(LayerNorm, OnAGpuIsNoWorseThanAten) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no GPU";
  at::manual_seed(3);
  for (const int64_t channels : {7, 64, 128, 384, 768, 1000, 1536}) {
    for (const auto type : {at::kBFloat16, at::kHalf, at::kFloat, at::kDouble}) {
      const auto draw = [&](at::IntArrayRef shape) {
        return at::randn(shape, at::TensorOptions(at::kDouble).device(at::kCUDA)).to(type);
      };
      const at::Tensor x = draw({2, 1501, channels}) * 2 + 1, dy = draw({2, 1501, channels});
      const at::Tensor weight = draw({channels}), bias = draw({channels});
      const auto ours = [](const auto& a, const auto& w, const auto& b) {
        return ops::layer_norm(a, w, b);
      };
      const auto aten = [&](const auto& a, const auto& w, const auto& b) {
        return at::layer_norm(a, {channels}, w, b, 1e-5);
      };
      const auto wide = [](const at::Tensor& t) { return t.to(at::kDouble); };
      const Result want = run(aten, wide(x), wide(weight), wide(bias), wide(dy));
      const Result known = run(aten, x, weight, bias, dy), got = run(ours, x, weight, bias, dy);
      const Result again = run(ours, x, weight, bias, dy);
      const double unit = type == at::kDouble ? 1e-14 : type == at::kFloat ? 3e-7 : 1e-5;
      for (const auto member : {&Result::y, &Result::dx, &Result::dweight, &Result::dbias}) {
        EXPECT_LE(relative(got.*member, want.*member),
                  1.02 * relative(known.*member, want.*member) + unit)
            << channels << ' ' << c10::toString(type);
        EXPECT_TRUE((got.*member).equal(again.*member)) << channels << ' ' << c10::toString(type);
      }
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
