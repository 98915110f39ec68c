// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dispatch.h"
#include "kernels/smooth_lddt/test_case.h"

namespace megafold::kernels::smooth_lddt_test {
namespace {

TEST(SmoothLddt, Cpu_EqualsReference) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const int64_t samples : {1, 3})
      for (const int64_t atoms : {1, 2, 9, 130, 257})
        for (const double epsilon : {0.0, 1e-8}) {
          SCOPED_TRACE(testing::Message() << name_of(dtype) << " S=" << samples << " A=" << atoms
                                          << " epsilon=" << epsilon);
          Case c(dtype, samples, atoms, epsilon);
          c.run(kSmoothLddtCpu);
          expect_equals_reference(c, dtype == DType::f64 ? 1e-13 : 3e-6);
        }
}

TEST(SmoothLddtReference, GradientIsFiniteDifferences) {
  Case base(DType::f64, 2, 12, 1e-8);
  base.run(kSmoothLddtReference);
  const std::vector<std::byte> gradient = base.gradient;
  const double step = 1e-6;
  const auto score = [&](int64_t s) {
    base.run(kSmoothLddtReference);
    return at(base.score.data(), DType::f64, s);
  };
  for (int64_t i = 0; i < 72; ++i) {
    if (i < 6) continue;  // two atoms in one place
    const double value = at(base.x.data(), DType::f64, i);
    put(base.x.data(), DType::f64, i, value + step);
    const double up = score(i / 36);
    put(base.x.data(), DType::f64, i, value - step);
    const double down = score(i / 36);
    put(base.x.data(), DType::f64, i, value);
    EXPECT_NEAR((up - down) / (2 * step), at(gradient.data(), DType::f64, i), 1e-8) << i;
  }
}

TEST(SmoothLddtCpu, NanStaysInItsSample) {
  Case c(DType::f32, 3, 50);
  put(c.x.data(), DType::f32, 3 * 50 + 7, kNan);
  c.run(kSmoothLddtCpu);
  for (int64_t s = 0; s < 3; ++s)
    EXPECT_EQ(std::isnan(at(c.score.data(), DType::f32, s)), s == 1) << s;
}

TEST(SmoothLddtDispatch, SaysWhyNot) {
  SmoothLddt p;
  p.samples = 2;
  p.dtype = DType::bf16;
  try {
    choose("smooth_lddt", smooth_lddt(), p);
    FAIL() << "no atoms were accepted";
  } catch (const NoImplementation& error) {
    const std::string text = error.what();
    for (const char* part : {"2 samples of 0 atoms", "dtype bf16 (has f32, f64)", "radius is null"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace megafold::kernels::smooth_lddt_test
