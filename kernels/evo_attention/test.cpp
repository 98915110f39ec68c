// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Every implementation of the CPU against fp64, its error beside that of the plain formula in the
// same dtype (test_case.h); what the operation promises; and properties that hold for exact
// attention.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <numeric>

#include "kernels/evo_attention/test_case.h"

namespace megafold::kernels {
namespace {

using namespace evo_attention_test;

/// Runs the CPU path on the case and judges every output against fp64 and the plain formula.
void expect_good(const Case& c) {
  SCOPED_TRACE(c.text());
  const Inputs inputs(c);
  const Results exact =
      run(kEvoAttentionForwardReference, kEvoAttentionBackwardReference, c, inputs, DType::f64);
  const Results got = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, inputs, c.dtype);
  const Results plain = plain_formula(c, inputs);
  expect_no_worse("out", c, got.out, plain.out, exact, &Results::out, c.dtype);
  expect_no_worse("lse", c, got.lse, plain.lse, exact, &Results::lse, DType::f32);
  expect_no_worse("dq", c, got.dq, plain.dq, exact, &Results::dq, c.dtype);
  expect_no_worse("dk", c, got.dk, plain.dk, exact, &Results::dk, c.dtype);
  expect_no_worse("dv", c, got.dv, plain.dv, exact, &Results::dv, c.dtype);
  if (c.gate) expect_no_worse("dgate", c, got.dgate, plain.dgate, exact, &Results::dgate, c.dtype);
  if (c.bias)
    expect_no_worse("dbias", c, got.dbias, plain.dbias, exact, &Results::dbias, c.bias_type());
}

TEST(EvoAttention, Cpu_F32_EveryLength) {
  for (const int64_t n : {1, 2, 15, 16, 17, 31, 63, 64, 65, 97, 127, 129, 203}) {
    expect_good({.rows = n > 100 ? 2 : 3, .heads = 2, .queries = n, .keys = n, .head_dim = 16});
  }
}

TEST(EvoAttention, Cpu_EveryTypeAndWidth) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    for (const int64_t width : {1, 8, 16, 24, 32, 48, 64, 128}) {
      expect_good(
          {.rows = 2, .heads = 2, .queries = 53, .keys = 101, .head_dim = width, .dtype = dtype});
      if (dtype != DType::f64) {
        expect_good({.rows = 1,
                     .queries = 20,
                     .keys = 9,
                     .head_dim = width,
                     .dtype = dtype,
                     .bias_dtype = dtype});
      }
    }
  }
}

TEST(EvoAttention, Cpu_OptionalArguments) {
  for (int bits = 0; bits < 8; ++bits) {
    expect_good({.batch = 2,
                 .rows = 3,
                 .queries = 19,
                 .keys = 40,
                 .bias = (bits & 1) != 0,
                 .gate = (bits & 2) != 0,
                 .mask = (bits & 4) != 0 ? Mask::holes : Mask::none});
  }
}

TEST(EvoAttention, Cpu_Masks) {
  for (const Mask mask : {Mask::holes, Mask::tail, Mask::one_key, Mask::empty_rows, Mask::closed}) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      expect_good(
          {.rows = 4, .heads = 2, .queries = 50, .keys = 130, .dtype = dtype, .mask = mask});
    }
  }
}

TEST(EvoAttention, Cpu_StridesAndPoison) {
  for (const Layout layout : {Layout::projection, Layout::ending_node, Layout::padded}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      expect_good({.batch = 2,
                   .rows = 17,
                   .heads = 3,
                   .queries = 17,
                   .keys = 17,
                   .dtype = dtype,
                   .mask = Mask::holes,
                   .layout = layout});
    }
  }
}

TEST(EvoAttention, Cpu_WindowsOfAtoms) {
  for (const int64_t atoms : {1, 31, 64, 128, 150, 224}) {
    for (const bool inside : {false, true}) {
      expect_good({.batch = (atoms + 31) / 32,
                   .rows = 3,
                   .heads = 2,
                   .queries = 32,
                   .keys = 128,
                   .head_dim = 8,
                   .mask = Mask::holes,
                   .windows = true,
                   .atoms = atoms,
                   .shift_inside = inside});
    }
  }
}

TEST(EvoAttention, Cpu_ManyRowsShareChunks) {
  // More rows than chunks of the bias' gradient, and a number that they do not divide.
  expect_good({.rows = 37, .heads = 1, .queries = 11, .keys = 13});
}

TEST(EvoAttention, Cpu_LargeScoresAndExtremeBias) {
  expect_good({.queries = 40, .keys = 120, .input_size = 12.0});
  Case c{.rows = 2, .queries = 9, .keys = 33, .head_dim = 8};
  Inputs inputs(c);
  // A bias as peers write masks, and one that closes a query's every key.
  for (int64_t j = 0; j < 33; ++j) {
    if (j % 2 == 0) inputs.bias[j] = -1e9;
    inputs.bias[33 + j] = -std::numeric_limits<double>::infinity();
    inputs.bias[66 + j] = j == 5 ? 40.0 : -1e9;
  }
  const Results got = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, inputs, c.dtype);
  const Results exact =
      run(kEvoAttentionForwardReference, kEvoAttentionBackwardReference, c, inputs, DType::f64);
  EXPECT_LT(distance(got.out, exact.out), 1e-6);
  EXPECT_LT(distance(got.dq, exact.dq), 1e-5);
  EXPECT_LT(distance(got.dbias, exact.dbias), 1e-5);
  for (int64_t d = 0; d < 8; ++d) EXPECT_EQ(got.out[8 + d], 0);
}

TEST(EvoAttention, Cpu_EmptyRowsAreZeroAndSoAreTheirGradients) {
  const Case c{.rows = 4, .queries = 7, .keys = 9, .mask = Mask::closed};
  const Results got = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, Inputs(c), c.dtype);
  for (const auto* values : {&got.out, &got.dq, &got.dk, &got.dv, &got.dgate, &got.dbias}) {
    EXPECT_TRUE(std::ranges::all_of(*values, [](double x) { return x == 0; }));
  }
  EXPECT_TRUE(std::ranges::all_of(got.lse, [](double x) { return std::isinf(x) && x < 0; }));
}

TEST(EvoAttention, Cpu_MaskedKeysAreNotRead) {
  Case c{.rows = 3, .queries = 20, .keys = 70, .mask = Mask::holes};
  Inputs inputs(c);
  const Results clean = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, inputs, c.dtype);
  inputs.poison_masked_keys(c);
  const Results got = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, inputs, c.dtype);
  EXPECT_EQ(got.out, clean.out);
  EXPECT_EQ(got.dq, clean.dq);
  EXPECT_EQ(got.dk, clean.dk);
  EXPECT_EQ(got.dbias, clean.dbias);
}

TEST(EvoAttention, Cpu_NaNStaysVisible) {
  Case c{.rows = 2, .queries = 5, .keys = 20, .head_dim = 8, .gate = false};
  Inputs inputs(c);
  inputs.q[3 * 8 + 2] = std::numeric_limits<double>::quiet_NaN();  // row 0, query 3
  const Results got = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, inputs, c.dtype);
  for (int64_t i = 0; i < 2 * 5; ++i) {
    for (int64_t d = 0; d < 8; ++d) EXPECT_EQ(std::isnan(got.out[i * 8 + d]), i == 3) << i;
  }
}

TEST(EvoAttention, Cpu_SameBitsForAnyNumberOfThreads) {
  const int before = omp_get_max_threads();
  for (const bool windows : {false, true}) {
    Case c{.batch = windows ? 5 : 2,
           .rows = 11,
           .heads = 2,
           .queries = 32,
           .keys = 128,
           .mask = Mask::holes,
           .windows = windows,
           .atoms = 150};
    const Inputs inputs(c);
    omp_set_num_threads(1);
    const Results one = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, inputs, c.dtype);
    for (const int threads : {2, 3, 7}) {
      omp_set_num_threads(threads);
      EXPECT_EQ(run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, inputs, c.dtype), one)
          << threads;
    }
  }
  omp_set_num_threads(before);
}

TEST(EvoAttention, SoftmaxDoesNotSeeAShiftOfAQuerysBias) {
  Case c{.rows = 2, .queries = 21, .keys = 50, .dtype = DType::f64, .mask = Mask::holes};
  Inputs inputs(c);
  const auto a = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, inputs, c.dtype);
  for (size_t e = 0; e < inputs.bias.size(); ++e) {
    inputs.bias[e] += 3.25 * static_cast<double>(e / 50 % 21) - 20;
  }
  const auto b = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, inputs, c.dtype);
  EXPECT_LT(distance(b.out, a.out), 1e-13);
  EXPECT_LT(distance(b.dk, a.dk), 1e-13);
  // So a query's bias gradients sum to zero.
  for (size_t i = 0; i < a.dbias.size() / 50; ++i) {
    EXPECT_NEAR(std::accumulate(a.dbias.begin() + i * 50, a.dbias.begin() + (i + 1) * 50, 0.0), 0,
                1e-13);
  }
}

TEST(EvoAttention, Cpu_WeightsAddUpToOneInTheBackwardToo) {
  // lse rounds away 1e-4 of 3,000, and all of log(keys) beside -1e9. With weights that add up to 1,
  // dv added up over keys is dout added up over queries.
  constexpr int64_t kQueries = 40, kKeys = 130, kWidth = 8;
  for (const double shift : {0.0, 3000.0, -1e9}) {
    const Case c{.queries = kQueries, .keys = kKeys, .head_dim = kWidth, .gate = false};
    Inputs inputs(c);
    for (double& bias : inputs.bias) bias = rounded(DType::f32, bias + shift);
    const auto got = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, inputs, c.dtype);
    for (int64_t d = 0; d < kWidth; ++d) {
      double of_queries = 0, of_keys = 0;
      for (int64_t i = 0; i < kQueries; ++i) of_queries += inputs.dout[i * kWidth + d];
      for (int64_t j = 0; j < kKeys; ++j) of_keys += got.dv[j * kWidth + d];
      EXPECT_NEAR(of_keys, of_queries, 1e-5) << shift;
    }
  }
}

TEST(EvoAttention, OrderOfKeysDoesNotMatter) {
  Case c{.queries = 10, .keys = 37, .head_dim = 4, .dtype = DType::f64, .mask = Mask::holes};
  const Inputs inputs(c);
  Inputs turned = inputs;
  for (int64_t j = 0; j < 37; ++j) {
    const int64_t to = (j * 5 + 3) % 37;
    std::copy_n(inputs.k.begin() + j * 4, 4, turned.k.begin() + to * 4);
    std::copy_n(inputs.v.begin() + j * 4, 4, turned.v.begin() + to * 4);
    turned.mask[to] = inputs.mask[j];
    for (int64_t i = 0; i < 10; ++i) turned.bias[i * 37 + to] = inputs.bias[i * 37 + j];
  }
  const auto a = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, inputs, c.dtype);
  const auto b = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, turned, c.dtype);
  EXPECT_LT(distance(b.out, a.out), 1e-14);
  EXPECT_LT(distance(b.dq, a.dq), 1e-13);
  for (int64_t j = 0; j < 37; ++j) {
    EXPECT_NEAR(b.dv[(j * 5 + 3) % 37 * 4], a.dv[j * 4], 1e-13);
  }
}

TEST(EvoAttention, LinearInTheValues) {
  Case c{.queries = 10, .keys = 37, .head_dim = 4, .dtype = DType::f64};
  Inputs x(c), y(c, 77), sum(c);
  y.q = x.q;
  y.k = x.k;
  y.bias = x.bias;
  y.gate = x.gate;
  for (size_t e = 0; e < x.v.size(); ++e) sum.v[e] = 2 * x.v[e] - 3 * y.v[e];
  const auto a = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, x, c.dtype);
  const auto b = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, y, c.dtype);
  const auto s = run(kEvoAttentionForwardCpu, kEvoAttentionBackwardCpu, c, sum, c.dtype);
  for (size_t e = 0; e < s.out.size(); ++e) {
    EXPECT_NEAR(s.out[e], 2 * a.out[e] - 3 * b.out[e], 1e-13);
  }
}

TEST(EvoAttention, GradientsAreFiniteDifferences) {
  // Central differences in fp64 along one random direction an input; error h^2 about 1e-8.
  const Case c{.batch = 2,
               .rows = 2,
               .heads = 2,
               .queries = 5,
               .keys = 7,
               .head_dim = 4,
               .dtype = DType::f64,
               .mask = Mask::holes};
  const Inputs inputs(c), direction(c, 99);
  const Results at =
      run(kEvoAttentionForwardReference, kEvoAttentionBackwardReference, c, inputs, c.dtype);
  const auto loss = [&](const Inputs& x) {
    const auto out =
        run(kEvoAttentionForwardReference, kEvoAttentionBackwardReference, c, x, c.dtype).out;
    return std::inner_product(out.begin(), out.end(), inputs.dout.begin(), 0.0);
  };
  const auto check = [&](const char* name, std::vector<double> Inputs::*input,
                         const std::vector<double>& gradient) {
    constexpr double kStep = 1e-4;
    Inputs up = inputs, down = inputs;
    for (size_t e = 0; e < (inputs.*input).size(); ++e) {
      (up.*input)[e] += kStep * (direction.*input)[e];
      (down.*input)[e] -= kStep * (direction.*input)[e];
    }
    const double numeric = (loss(up) - loss(down)) / (2 * kStep);
    const double analytic =
        std::inner_product(gradient.begin(), gradient.end(), (direction.*input).begin(), 0.0);
    EXPECT_NEAR(numeric, analytic, 1e-6 * std::max(1.0, std::abs(analytic))) << name;
  };
  check("q", &Inputs::q, at.dq);
  check("k", &Inputs::k, at.dk);
  check("v", &Inputs::v, at.dv);
  check("bias", &Inputs::bias, at.dbias);
  check("gate", &Inputs::gate, at.dgate);
}

TEST(EvoAttention, RefusesWithTheValuesMet) {
  EvoAttentionForward p;
  p.batch = p.rows = p.heads = 1;
  p.queries = 3;
  p.keys = -1;
  p.head_dim = 0;
  const Reasons reasons = kEvoAttentionForwardCpu.supports(p);
  EXPECT_NE(std::ranges::find(reasons, "keys = -1, wanted 0 or more"), reasons.end());
  EXPECT_NE(std::ranges::find(reasons, "head_dim = 0, wanted 1 or more"), reasons.end());
  EXPECT_NE(std::ranges::find(reasons, "q or out is null"), reasons.end());
  p = {};
  p.place = Place::gpu;
  EXPECT_EQ(kEvoAttentionForwardReference.supports(p).size(), 2U);  // head_dim and the place
  EvoAttentionBackward b;
  b.forward.batch = b.forward.rows = b.forward.heads = b.forward.queries = 1;
  b.forward.head_dim = 8;
  const Reasons more = kEvoAttentionBackwardCpu.supports(b);
  EXPECT_NE(std::ranges::find(more, "the forward kept no lse"), more.end());
}

TEST(EvoAttention, NothingToDo) {
  // No rows, no queries or no keys: outputs of zeros or of no elements, and no read.
  expect_good({.rows = 0, .queries = 4, .keys = 5});
  expect_good({.rows = 2, .queries = 0, .keys = 5});
  expect_good({.rows = 2, .queries = 4, .keys = 0});
}

}  // namespace
}  // namespace megafold::kernels
