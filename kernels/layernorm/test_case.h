// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// LayerNorm's tests: a call over poisoned memory, and the measure of its error.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/common/number.h"
#include "kernels/layernorm/implementations.h"

namespace megafold::kernels::layernorm_test {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// A tensor [rows, channels] whose rows lie `stride` apart; what lies between them is NaN.
struct Matrix {
  DType dtype;
  int64_t rows, channels, stride;
  std::vector<std::byte> bytes;

  Matrix(DType type, int64_t m, int64_t c, int64_t gap = 0)
      : dtype(type), rows(m), channels(c), stride(c + gap), bytes(size_of(type) * m * (c + gap)) {
    for (int64_t i = 0; i < m * stride; ++i) set(i, kNan);
  }
  void set(int64_t i, double value) {
    with_type(dtype, [&](auto t) {
      using T = decltype(t);
      reinterpret_cast<T*>(bytes.data())[i] = narrow<T>(static_cast<Accumulate<T>>(value));
    });
  }
  [[nodiscard]] double get(int64_t i) const {
    return with_type(dtype, [&](auto t) {
      return static_cast<double>(widen(reinterpret_cast<const decltype(t)*>(bytes.data())[i]));
    });
  }
  void fill_normal(std::mt19937& random, double mean, double deviation) {
    std::normal_distribution<double> normal(mean, deviation);
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t c = 0; c < channels; ++c) set(m * stride + c, normal(random));
  }
};

/// Everything of one forward and backward.
struct Case {
  Matrix x, gamma, beta, dy, y, dx, dgamma, dbeta, mean, rstd;
  LayerNormForward forward;
  LayerNormBackward backward;

  Case(DType dtype, DType weight, int64_t m, int64_t c, int64_t gap, bool scale, bool offset)
      : x(dtype, m, c, gap),
        gamma(weight, 1, c),
        beta(weight, 1, c),
        dy(dtype, m, c, gap),
        y(dtype, m, c, gap),
        dx(dtype, m, c, gap),
        dgamma(weight, 1, c),
        dbeta(weight, 1, c),
        mean(dtype == DType::f64 ? DType::f64 : DType::f32, 1, m),
        rstd(dtype == DType::f64 ? DType::f64 : DType::f32, 1, m) {
    std::mt19937 random(static_cast<unsigned>(m * 1000 + c));
    x.fill_normal(random, 0.7, 2.0);
    dy.fill_normal(random, 0.0, 1.0);
    gamma.fill_normal(random, 1.0, 0.3);
    beta.fill_normal(random, 0.0, 0.3);
    forward.rows = m;
    forward.channels = c;
    forward.dtype = dtype;
    forward.weight_dtype = weight;
    forward.x = x.bytes.data();
    forward.x_row = x.stride;
    forward.gamma = scale ? gamma.bytes.data() : nullptr;
    forward.beta = offset ? beta.bytes.data() : nullptr;
    forward.y = y.bytes.data();
    forward.y_row = y.stride;
    forward.mean = mean.bytes.data();
    forward.rstd = rstd.bytes.data();
    backward.dy = dy.bytes.data();
    backward.dy_row = dy.stride;
    backward.dx = dx.bytes.data();
    backward.dx_row = dx.stride;
    backward.dgamma = scale ? dgamma.bytes.data() : nullptr;
    backward.dbeta = offset ? dbeta.bytes.data() : nullptr;
  }
  void run(const Implementation<LayerNormForward>& f, const Implementation<LayerNormBackward>& b) {
    ASSERT_EQ(f.supports(forward), Reasons{});
    f.launch(forward, nullptr, nullptr);
    backward.forward = forward;
    ASSERT_EQ(b.supports(backward), Reasons{});
    std::vector<std::byte> workspace(b.workspace_bytes(backward), std::byte{0xFF});  // NaN
    b.launch(backward, workspace.data(), nullptr);
  }
};

/// The error norm of `ours` beside that of the exact result rounded to the same type. NaN never
/// passes, and nothing may be written between the rows.
inline void expect_close(const char* what, const Matrix& ours, const Matrix& exact,
                         double rounding) {
  double error = 0, rounded = 0, norm = 0;
  for (int64_t m = 0; m < ours.rows; ++m) {
    for (int64_t c = 0; c < ours.stride; ++c) {
      const double value = ours.get(m * ours.stride + c);
      if (c >= ours.channels) {
        ASSERT_TRUE(std::isnan(value))
            << what << ": written between rows " << m << " and " << m + 1;
        continue;
      }
      const double truth = exact.get(m * exact.stride + c);
      ASSERT_TRUE(std::isfinite(value)) << what << " [" << m << "," << c << "] = " << value;
      Matrix one(ours.dtype, 1, 1);
      one.set(0, truth);
      error += std::pow(value - truth, 2);
      rounded += std::pow(one.get(0) - truth, 2);
      norm += truth * truth;
    }
  }
  EXPECT_LE(std::sqrt(error), 1.1 * std::sqrt(rounded) + rounding * std::sqrt(norm)) << what;
}

/// The same inputs, exact: every number of the case widened to f64, run by the reference.
inline Case exact_of(const Case& ours, bool scale, bool offset) {
  const int64_t c = ours.x.channels;
  Case exact(DType::f64, DType::f64, ours.x.rows, c, 0, scale, offset);
  for (const auto& [to, from] : {std::pair{&exact.x, &ours.x},
                                 {&exact.dy, &ours.dy},
                                 {&exact.gamma, &ours.gamma},
                                 {&exact.beta, &ours.beta}})
    for (int64_t i = 0; i < to->rows; ++i)
      for (int64_t k = 0; k < c; ++k) to->set(i * to->stride + k, from->get(i * from->stride + k));
  exact.run(kLayerNormForwardReference, kLayerNormBackwardReference);
  return exact;
}

/// Everything of `ours` against the reference.
inline void expect_equals_reference(const Case& ours, bool scale, bool offset, double rounding) {
  const int64_t c = ours.x.channels;
  const Case exact = exact_of(ours, scale, offset);
  expect_close("y", ours.y, exact.y, rounding);
  // One channel: x - mean is 0, and dx is what rounding leaves of it.
  if (c > 1) expect_close("dx", ours.dx, exact.dx, rounding);
  if (scale && c > 1) expect_close("dgamma", ours.dgamma, exact.dgamma, rounding);
  if (offset) expect_close("dbeta", ours.dbeta, exact.dbeta, rounding);
}

}  // namespace megafold::kernels::layernorm_test
