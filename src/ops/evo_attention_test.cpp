// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/evo_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/errors.h"
#include "kernels/common/dispatch_counts.h"
#include "ops/dispatch_report.h"
#include "ops/evo_attention_composition.h"

namespace megafold::ops {
namespace {

struct Example {
  at::Tensor q, k, v, bias, mask, gate, dout;

  Example to(at::ScalarType type) const {
    const auto cast = [&](const at::Tensor& t) { return t.defined() ? t.to(type) : t; };
    return {cast(q), cast(k), cast(v), cast(bias), mask, cast(gate), cast(dout)};
  }
};

Example example(at::IntArrayRef q_shape, int64_t keys, at::IntArrayRef bias_shape) {
  std::vector<int64_t> k_shape = q_shape.vec();
  k_shape[2] = keys;
  const auto draw = [](at::IntArrayRef shape) { return at::randn(shape, at::kDouble); };
  return {draw(q_shape),
          draw(k_shape),
          draw(k_shape),
          draw(bias_shape),
          at::rand({q_shape[0], q_shape[1], keys}) > 0.3,
          draw(q_shape),
          draw(q_shape)};
}

/// out and the gradients of q, k, v, bias, gate.
template <class F>
std::vector<at::Tensor> run(const Example& e, F&& f) {
  const auto leaf = [](const at::Tensor& t) {
    return t.defined() ? t.detach().clone().requires_grad_(true) : t;
  };
  const Example l = {leaf(e.q), leaf(e.k), leaf(e.v), leaf(e.bias), e.mask, leaf(e.gate), e.dout};
  const at::Tensor out = f(l);
  out.backward(e.dout);
  std::vector<at::Tensor> results = {out.detach()};
  for (const auto* t : {&l.q, &l.k, &l.v, &l.bias, &l.gate}) {
    results.push_back(t->defined() ? t->grad() : at::Tensor());
  }
  return results;
}

double relative(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() && !b.defined()) return 0;
  const at::Tensor wide = b.to(at::kDouble);
  const double error =
      ((a.to(at::kDouble) - wide).norm() / wide.norm().clamp_min(1e-300)).item<double>();
  return std::isnan(error) ? 1e300 : error;
}

at::Tensor ours(const Example& e) {
  return evo_attention(e.q, e.k, e.v, e.bias, e.mask, e.gate, 0.3);
}
at::Tensor plain(const Example& e) {
  return evo_attention_composition(e.q, e.k, e.v, e.bias, e.mask, e.gate, 0.3);
}

TEST(EvoAttentionOp, EqualsTheCompositionInDouble) {
  at::manual_seed(1);
  for (int bits = 0; bits < 8; ++bits) {
    Example e = example({2, 3, 37, 2, 16}, 50, {2, 2, 37, 50});
    if ((bits & 1) == 0) e.bias = at::Tensor();
    if ((bits & 2) == 0) e.mask = at::Tensor();
    if ((bits & 4) == 0) e.gate = at::Tensor();
    const auto a = run(e, ours), b = run(e, plain);
    for (size_t i = 0; i < a.size(); ++i)
      EXPECT_LT(relative(a[i], b[i]), 1e-13) << bits << ' ' << i;
  }
}

TEST(EvoAttentionOp, IsNoWorseThanTheCompositionInBfloat16) {
  at::manual_seed(2);
  const Example e = example({1, 7, 65, 4, 32}, 65, {1, 4, 65, 65}).to(at::kBFloat16);
  const auto exact = run(e.to(at::kDouble), plain), a = run(e, ours), b = run(e, plain);
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].scalar_type(), at::kBFloat16);
    // The composition is fp32 inside: only the kept output's rounding is added to its error.
    EXPECT_LT(relative(a[i], exact[i]), 1.5 * relative(b[i], exact[i]) + 0x1p-9) << i;
  }
}

TEST(EvoAttentionOp, ReadsViewsOfAProjectionAndOfTheEndingNode) {
  at::manual_seed(3);
  const at::Tensor z = at::randn({1, 9, 9, 4, 2, 16}, at::kDouble);
  const at::Tensor bias = at::randn({1, 9, 9, 2}, at::kDouble).permute({0, 3, 1, 2});
  const at::Tensor mask = at::rand({1, 9, 9}) > 0.2;
  for (const bool ending : {false, true}) {
    const at::Tensor x = ending ? z.transpose(1, 2) : z;
    const auto parts = x.unbind(3);
    const at::Tensor m = ending ? mask.transpose(1, 2) : mask;
    const at::Tensor got = evo_attention(parts[0], parts[1], parts[2], bias, m, parts[3]);
    const at::Tensor want =
        evo_attention_composition(parts[0], parts[1], parts[2], bias, m, parts[3], 0.25);
    EXPECT_LT(relative(got, want), 1e-14);
  }
}

TEST(EvoAttentionOp, WindowsOfAtomsEqualGatheredKeys) {
  at::manual_seed(4);
  for (const int64_t atoms : {20, 64, 150}) {
    for (const bool shifted : {false, true}) {
      const int64_t count = (atoms + 31) / 32;
      const Example e = example({2, 3, atoms, 2, 8}, atoms, {2, count, 2, 32, 128});
      AtomWindows windows;
      if (shifted) {
        windows.first_key = (at::arange(count, at::kInt) * 32 - 48)
                                .clamp_max(std::max<int64_t>(atoms - 128, 0))
                                .clamp_min(0);
      }
      const auto a = run(e, [&](const Example& x) {
        return atom_attention(x.q, x.k, x.v, x.bias, x.mask, x.gate, 0.3, windows);
      });
      const auto b = run(e, [&](const Example& x) {
        return atom_attention_composition(x.q, x.k, x.v, x.bias, x.mask, x.gate, 0.3, windows);
      });
      for (size_t i = 0; i < a.size(); ++i) {
        EXPECT_LT(relative(a[i], b[i]), 1e-13) << atoms << ' ' << shifted << ' ' << i;
      }
    }
  }
}

/// The formula as a framework runs it: every result rounded to the tensors' own type.
at::Tensor in_own_type(const Example& e) {
  const auto heads = [](const at::Tensor& t) { return t.transpose(2, 3); };
  auto scores = at::matmul(heads(e.q), heads(e.k).mT()) * 0.3 + e.bias.unsqueeze(1);
  scores = scores.masked_fill(e.mask.logical_not().unsqueeze(2).unsqueeze(2),
                              -std::numeric_limits<double>::infinity());
  return heads(at::matmul(scores.softmax(-1), heads(e.v))) * e.gate.sigmoid();
}

Example on_gpu(const Example& e) {
  const auto move = [](const at::Tensor& t) { return t.defined() ? t.to(at::kCUDA) : t; };
  return {move(e.q), move(e.k), move(e.v), move(e.bias), move(e.mask), move(e.gate), move(e.dout)};
}

/// In tests of a machine's GPU: false where there is none.
bool has_gpu() {
  return at::globalContext().hasCUDA();
}

TEST(EvoAttentionOp, OnAGpuIsNoWorseThanTheFormulaInItsOwnType) {
  if (!has_gpu()) GTEST_SKIP() << "no GPU";
  at::globalContext().setAllowTF32CuBLAS(true);  // our fp32 products are TF32 there too
  at::manual_seed(5);
  for (const int64_t head_dim : {16, 32, 48, 64}) {
    Example exact = example({2, 6, 97, 3, head_dim}, 97, {2, 3, 97, 97});
    exact.mask.select(2, 0).fill_(true);
    for (const auto type : {at::kBFloat16, at::kHalf, at::kFloat, at::kDouble}) {
      const Example e = on_gpu(exact.to(type));
      const auto want = run(e.to(at::kDouble), plain), got = run(e, ours), again = run(e, ours);
      const auto known = run(e, in_own_type);
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_TRUE(got[i].is_cuda());
        // cuBLAS takes full fp32 for some of these shapes, our products are TF32: two roundings.
        const double unit = type == at::kFloat ? 0x1p-10 : 1e-14;
        EXPECT_LE(relative(got[i], want[i]), 1.1 * relative(known[i], want[i]) + unit)
            << head_dim << ' ' << c10::toString(type) << ' ' << i;
        EXPECT_TRUE(got[i].equal(again[i])) << head_dim << ' ' << c10::toString(type) << ' ' << i;
      }
    }
  }
}

TEST(EvoAttentionOp, WindowsOnAGpuEqualGatheredKeys) {
  if (!has_gpu()) GTEST_SKIP() << "no GPU";
  at::globalContext().setAllowTF32CuBLAS(true);
  at::manual_seed(6);
  for (const auto type : {at::kBFloat16, at::kFloat}) {
    const Example e = on_gpu(example({1, 5, 150, 4, 32}, 150, {1, 5, 4, 32, 128}).to(type));
    const auto windows = [](const Example& x) {
      return atom_attention(x.q, x.k, x.v, x.bias, x.mask, x.gate, 0.3);
    };
    const auto gathered = [](const Example& x) {
      return atom_attention_composition(x.q, x.k, x.v, x.bias, x.mask, x.gate, 0.3, {});
    };
    const auto want = run(e.to(at::kDouble), gathered), got = run(e, windows);
    const auto known = run(e, gathered);  // fp32 (TF32) inside: only our roundings are added
    const double unit = type == at::kFloat ? 0x1p-11 : 0x1p-8;
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_LE(relative(got[i], want[i]), 1.5 * relative(known[i], want[i]) + unit) << i;
    }
  }
}

TEST(EvoAttentionOp, ARowWithoutKeysGivesZeroAndZeroGradients) {
  Example e = example({1, 2, 5, 1, 8}, 6, {1, 1, 5, 6});
  e.mask[0][1].fill_(false);
  for (const auto& f : {ours, plain}) {
    const auto results = run(e, f);
    for (const size_t i : {0, 1, 2, 3, 5}) {
      EXPECT_EQ(results[i].select(1, 1).abs().max().item<double>(), 0) << i;
      EXPECT_GT(results[i].select(1, 0).abs().max().item<double>(), 0) << i;
    }
    EXPECT_FALSE(results[4].isnan().any().item<bool>());
  }
}

TEST(EvoAttentionOp, GradientsOfSomeArgumentsOnly) {
  const Example e = example({1, 2, 5, 1, 8}, 6, {1, 1, 5, 6});
  const at::Tensor gate = e.gate.clone().requires_grad_(true);
  evo_attention(e.q, e.k, e.v, {}, e.mask, gate).sum().backward();
  EXPECT_TRUE(gate.grad().defined());
  const at::Tensor bias = e.bias.clone().requires_grad_(true);
  evo_attention(e.q, e.k, e.v, bias, {}, e.gate).sum().backward();
  EXPECT_LT(bias.grad().sum().abs().item<double>(), 1e-12);
}

TEST(EvoAttentionOp, CountsWhatRan) {
  kernels::reset_dispatch_counts();
  EXPECT_EQ(dispatch_report(), "");
  run(example({1, 2, 5, 1, 8}, 6, {1, 1, 5, 6}), ours);
  const std::string report = dispatch_report();
  EXPECT_NE(report.find("evo_attention "), std::string::npos) << report;
  EXPECT_NE(report.find("evo_attention backward"), std::string::npos) << report;
  EXPECT_NE(report.find("cpu"), std::string::npos) << report;
  EXPECT_NE(report.find("1 call\n"), std::string::npos) << report;
}

template <class F>
std::string message(F&& f) {
  try {
    f();
  } catch (const BadInput& error) {
    return error.what();
  }
  return "no BadInput";
}

TEST(EvoAttentionOp, RefusesWithTheShapesMet) {
  const Example e = example({1, 2, 5, 1, 8}, 6, {1, 1, 5, 6});
  EXPECT_EQ(message([&] { evo_attention(e.q[0], e.k, e.v); }),
            "evo_attention: q is [2, 5, 1, 8] Double, but [B, R, N, H, D] with D >= 1 is needed");
  EXPECT_EQ(message([&] { evo_attention(e.q, e.k.to(at::kFloat), e.v); }),
            "evo_attention: k is Float on cpu, but Double on cpu is needed");
  EXPECT_EQ(
      message([&] { evo_attention(e.q, e.k, e.v.narrow(2, 0, 5)); }),
      "evo_attention: v is [1, 2, 5, 1, 8] Double, but k's shape = [1, 2, 6, 1, 8] is needed");
  EXPECT_EQ(message([&] { evo_attention(e.q, e.k, e.v, e.bias.transpose(2, 3)); }),
            "evo_attention: bias is [1, 1, 6, 5] Double, but [B, H, Nq, Nk] = [1, 1, 5, 6] is "
            "needed");
  EXPECT_EQ(message([&] { evo_attention(e.q, e.k, e.v, e.bias, e.mask.to(at::kFloat)); }),
            "evo_attention: mask is Float on cpu, but Bool on cpu is needed");
  EXPECT_EQ(
      message([&] { evo_attention(e.q.to(at::kLong), e.k.to(at::kLong), e.v.to(at::kLong)); }),
      "evo_attention is Long; float64, float32, bfloat16 or float16 is needed");
  EXPECT_EQ(
      message([&] { atom_attention(e.q, e.k, e.v); }),
      "atom_attention: k is [1, 2, 6, 1, 8] Double, but q's shape = [1, 2, 5, 1, 8] is needed");
}

TEST(EvoAttentionOp, RefusesASecondDerivative) {
  const Example e = example({1, 1, 3, 1, 8}, 3, {1, 1, 3, 3});
  const at::Tensor q = e.q.clone().requires_grad_(true);
  const at::Tensor out = evo_attention(q, e.k, e.v).sum();
  EXPECT_THROW(out.backward({}, std::nullopt, /*create_graph=*/true), Unsupported);
}

}  // namespace
}  // namespace megafold::ops
