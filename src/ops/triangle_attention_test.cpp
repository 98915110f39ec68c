// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/triangle_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <string>

#include "base/errors.h"

namespace megafold::ops {
namespace {

struct Example {
  at::Tensor z, mask, keep, dy;
  TriangleAttentionWeights w;
  TriangleAttentionOptions o;

  Example to(at::ScalarType type) const {
    const auto cast = [&](const at::Tensor& t) { return t.to(type); };
    return {cast(z),
            mask,
            cast(keep),
            cast(dy),
            {cast(w.norm_weight), cast(w.norm_bias), cast(w.projection), cast(w.bias), cast(w.out)},
            o};
  }
};

Example example(TriangleAttentionOptions o, int64_t n = 9, int64_t c = 24, int64_t width = 8) {
  at::manual_seed(3);
  const auto draw = [](at::IntArrayRef shape, double std) {
    return at::randn(shape, at::kDouble) * std;
  };
  Example e{draw({2, n, n, c}, 1),
            at::rand({2, n, n}) > 0.3,
            (at::rand(o.ending ? at::IntArrayRef{2, n, 1, c} : at::IntArrayRef{2, 1, n, c}) > 0.25)
                    .to(at::kDouble) /
                0.75,
            draw({2, n, n, c}, 1),
            {},
            o};
  e.mask.diagonal(0, 1, 2).fill_(true);
  e.w = {draw({c}, 1), draw({c}, 1), draw({4 * o.heads * width, c}, 0.3), draw({o.heads, c}, 0.3),
         draw({c, o.heads * width}, 0.3)};
  return e;
}

at::Tensor ours(const Example& e) {
  return triangle_attention(e.z, e.w, e.mask, e.keep, e.o);
}

/// Algorithms 14 and 15 operator by operator.
at::Tensor steps(const Example& e) {
  const auto x = at::layer_norm(e.z, {e.z.size(3)}, e.w.norm_weight, e.w.norm_bias, e.o.eps);
  const auto packed = at::matmul(x, e.w.projection.t()).unflatten(-1, {4, e.o.heads, -1});
  auto b = at::matmul(x, e.w.bias.t()).permute({0, 3, 1, 2});
  const auto rows = [&](const at::Tensor& t) { return e.o.ending ? t.transpose(1, 2) : t; };
  const auto q = rows(packed.select(3, 0)), k = rows(packed.select(3, 1));
  const auto v = rows(packed.select(3, 2)), g = rows(packed.select(3, 3));
  if (e.o.ending && e.o.transposed_bias) b = b.transpose(2, 3);
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(4)));
  auto s = at::einsum("brihd,brjhd->brhij", {q, k}) * scale + b.unsqueeze(1);
  s = s.masked_fill(rows(e.mask).logical_not().unsqueeze(2).unsqueeze(2),
                    -std::numeric_limits<double>::infinity());
  const auto a = at::einsum("brhij,brjhd->brihd", {s.softmax(-1), v}) * g.sigmoid();
  const auto update = at::matmul(rows(a).flatten(-2), e.w.out.t()) * e.keep;
  return e.o.residual ? e.z + update : update;
}

/// y and the gradients of z and every weight.
template <class F>
std::vector<at::Tensor> run(Example e, F&& f) {
  std::vector<at::Tensor> leaves;
  for (at::Tensor* t :
       {&e.z, &e.w.norm_weight, &e.w.norm_bias, &e.w.projection, &e.w.bias, &e.w.out}) {
    *t = t->detach().clone().requires_grad_(true);
    leaves.push_back(*t);
  }
  const at::Tensor y = f(e);
  std::vector<at::Tensor> results = {y.detach()};
  for (const auto& t : torch::autograd::grad({y}, leaves, {e.dy})) results.push_back(t);
  return results;
}

double error(const at::Tensor& a, const at::Tensor& b) {
  const double e = (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>();
  return std::isnan(e) ? 1e300 : e;
}

class TriangleAttentionOp : public testing::TestWithParam<TriangleAttentionOptions> {};

TEST_P(TriangleAttentionOp, IsTheAlgorithmInDouble) {
  const Example e = example(GetParam());
  const auto got = run(e, ours), want = run(e, steps);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_LT(error(got[i], want[i]), 1e-13 * want[i].norm().item<double>()) << i;
  }
}

TEST_P(TriangleAttentionOp, IsNoWorseThanItsStepsInBfloat16) {
  const Example e = example(GetParam(), 33, 64, 16).to(at::kBFloat16);
  const auto got = run(e, ours), known = run(e, steps), again = run(e, ours);
  const auto want = run(e.to(at::kDouble), steps);
  for (size_t i = 0; i < got.size(); ++i) {
    const double size = want[i].norm().item<double>();
    // As in python/tests/test_nn.py: the weights' gradients scatter.
    const double factor = i < 2 ? 1.05 : 2;
    EXPECT_LE(error(got[i], want[i]), factor * error(known[i], want[i]) + 0x1p-10 * size) << i;
    EXPECT_TRUE(got[i].equal(again[i])) << i;
  }
}

TEST_P(TriangleAttentionOp, OnAGpuToo) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no GPU";
  for (const auto type : {at::kBFloat16, at::kDouble}) {
    Example e = example(GetParam(), 65, 128, 32).to(type);
    for (at::Tensor* t : {&e.z, &e.mask, &e.keep, &e.dy, &e.w.norm_weight, &e.w.norm_bias,
                          &e.w.projection, &e.w.bias, &e.w.out}) {
      *t = t->to(at::kCUDA);
    }
    const auto got = run(e, ours), known = run(e, steps), again = run(e, ours);
    const auto want = run(e.to(at::kDouble), steps);
    for (size_t i = 0; i < got.size(); ++i) {  // weights: see python/tests/test_nn.py
      const double unit = type == at::kDouble ? 1e-13 : 0x1p-10;
      EXPECT_LE(error(got[i], want[i]), (i < 2 ? 1.05 : 4) * error(known[i], want[i]) +
                                            unit * want[i].norm().item<double>())
          << i;
      EXPECT_TRUE(got[i].equal(again[i])) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Nodes, TriangleAttentionOp,
    testing::Values(TriangleAttentionOptions{.heads = 2},
                    TriangleAttentionOptions{.heads = 2, .residual = true},
                    TriangleAttentionOptions{.heads = 2, .ending = true},
                    TriangleAttentionOptions{
                        .heads = 3, .ending = true, .transposed_bias = false, .residual = true}),
    [](const auto& tested) {
      const TriangleAttentionOptions& o = tested.param;
      return std::string(o.ending ? "ending" : "starting") + (o.residual ? "_residual" : "") +
             (o.transposed_bias ? "" : "_bias_as_is");
    });

TEST(TriangleAttention, RefusesWithWhatCame) {
  const auto message = [](auto&& change) -> std::string {
    Example e = example({.heads = 2});
    change(e);
    try {
      ours(e);
    } catch (const BadInput& refusal) {
      return refusal.what();
    }
    return "accepted";
  };
  const auto expect = [&](const char* part, auto&& change) {
    const std::string text = message(change);
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect("z is [2, 9, 8, 24]", [](Example& e) { e.z = e.z.narrow(2, 0, 8); });
  expect("projection is [63, 24]",
         [](Example& e) { e.w.projection = e.w.projection.narrow(0, 0, 63); });
  expect("bias is [2, 23]", [](Example& e) { e.w.bias = e.w.bias.narrow(1, 0, 23); });
  expect("out is [24, 16] Float", [](Example& e) { e.w.out = e.w.out.to(at::kFloat); });
  expect("norm_bias is none", [](Example& e) { e.w.norm_bias = at::Tensor(); });
  expect("mask is [2, 9, 9] Double", [](Example& e) { e.mask = e.mask.to(at::kDouble); });
  expect("keep is [2, 1, 8, 24]", [](Example& e) { e.keep = e.keep.narrow(2, 0, 8); });
}

}  // namespace
}  // namespace megafold::ops
