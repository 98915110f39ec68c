// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/layernorm/test_case.h"

#include "kernels/common/dispatch.h"

namespace megafold::kernels::layernorm_test {
namespace {

struct Parameter {
  DType dtype, weight;
};

class LayerNorm : public testing::TestWithParam<Parameter> {};

TEST_P(LayerNorm, Cpu_EqualsReference) {
  const auto [dtype, weight] = GetParam();
  // What sums in the accumulation type may cost beside the rounding of the result.
  const double rounding = dtype == DType::f64 ? 4e-15 : 1.5e-6;
  for (const int64_t m : {1, 2, 15, 127, 129, 300})
    for (const int64_t c : {1, 7, 16, 31, 64, 128, 129, 384})
      for (const bool scale : {true, false}) {
        SCOPED_TRACE(testing::Message()
                     << name_of(dtype) << " M=" << m << " C=" << c << " scale=" << scale);
        const bool offset = scale || c % 2 == 0;
        Case ours(dtype, weight, m, c, 3, scale, offset);
        ours.run(kLayerNormForwardCpu, kLayerNormBackwardCpu);
        expect_equals_reference(ours, scale, offset, rounding);
      }
}

INSTANTIATE_TEST_SUITE_P(
    Types, LayerNorm,
    testing::Values(Parameter{DType::f32, DType::f32}, Parameter{DType::bf16, DType::f32},
                    Parameter{DType::bf16, DType::bf16}, Parameter{DType::f16, DType::f16},
                    Parameter{DType::f64, DType::f64}),
    [](const auto& test) {
      return std::string(name_of(test.param.dtype)) + "_" + name_of(test.param.weight);
    });

TEST(LayerNormReference, GradientsAreFiniteDifferences) {
  Case base(DType::f64, DType::f64, 3, 5, 0, true, true);
  base.run(kLayerNormForwardReference, kLayerNormBackwardReference);
  const double step = 1e-6;
  const auto loss = [&](Case& c) {
    kLayerNormForwardReference.launch(c.forward, nullptr, nullptr);
    double sum = 0;
    for (int64_t i = 0; i < 15; ++i) sum += c.y.get(i) * c.dy.get(i);
    return sum;
  };
  const auto check = [&](Matrix& input, const Matrix& gradient, int64_t n, const char* what) {
    for (int64_t i = 0; i < n; ++i) {
      const double value = input.get(i);
      input.set(i, value + step);
      const double up = loss(base);
      input.set(i, value - step);
      const double down = loss(base);
      input.set(i, value);
      EXPECT_NEAR((up - down) / (2 * step), gradient.get(i), 2e-8) << what << " " << i;
    }
  };
  check(base.x, base.dx, 15, "x");
  check(base.gamma, base.dgamma, 5, "gamma");
  check(base.beta, base.dbeta, 5, "beta");
}

TEST(LayerNormCpu, NanStaysInItsRow) {
  Case c(DType::f32, DType::f32, 4, 8, 0, true, true);
  c.x.set(8 + 3, kNan);
  c.run(kLayerNormForwardCpu, kLayerNormBackwardCpu);
  for (int64_t i = 0; i < 32; ++i) EXPECT_EQ(std::isnan(c.y.get(i)), i / 8 == 1) << i;
}

TEST(LayerNormCpu, RepeatsBitForBit) {
  Case a(DType::bf16, DType::f32, 777, 128, 0, true, true);
  Case b(DType::bf16, DType::f32, 777, 128, 0, true, true);
  a.run(kLayerNormForwardCpu, kLayerNormBackwardCpu);
  b.run(kLayerNormForwardCpu, kLayerNormBackwardCpu);
  EXPECT_EQ(std::memcmp(a.dgamma.bytes.data(), b.dgamma.bytes.data(), a.dgamma.bytes.size()), 0);
  EXPECT_EQ(std::memcmp(a.dx.bytes.data(), b.dx.bytes.data(), a.dx.bytes.size()), 0);
}

TEST(LayerNormDispatch, SaysWhyNot) {
  LayerNormForward p;
  p.rows = 3;
  p.channels = 0;
  try {
    choose("layernorm", layernorm_forward(), p);
    FAIL() << "no channels were accepted";
  } catch (const NoImplementation& error) {
    EXPECT_NE(std::strstr(error.what(), "channels = 0"), nullptr) << error.what();
    EXPECT_NE(std::strstr(error.what(), "x is null"), nullptr) << error.what();
  }
}

}  // namespace
}  // namespace megafold::kernels::layernorm_test
