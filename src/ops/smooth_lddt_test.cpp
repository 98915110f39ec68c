// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/smooth_lddt.h"

#include <gtest/gtest.h>

#include "base/errors.h"

namespace megafold::ops {
namespace {

struct Case {
  at::Tensor x_true, x, radius;
  explicit Case(int64_t samples = 3, int64_t atoms = 700) {
    at::manual_seed(4);
    x_true = at::randn({atoms, 3}) * 12;
    x = x_true + at::randn({samples, atoms, 3});
    radius = at::arange(atoms).remainder(5).mul(7.5).to(at::kFloat);  // 0 .. 30
  }
};

TEST(SmoothLddt, Cuda_EqualsCpu) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no GPU";
  const Case c;
  const SmoothLddtSums here = smooth_lddt_sums(c.x.to(at::kDouble), c.x_true.to(at::kDouble),
                                               c.radius.to(at::kDouble), 1e-8);
  const SmoothLddtSums there = smooth_lddt_sums(c.x.cuda(), c.x_true.cuda(), c.radius.cuda(), 1e-8);
  const auto error = [](const at::Tensor& a, const at::Tensor& b) {
    return ((a.to(at::kCPU, at::kDouble) - b).abs().max() / b.abs().max()).item<double>();
  };
  EXPECT_LE(error(there.score, here.score), 3e-6);
  EXPECT_LE(error(there.gradient, here.gradient), 3e-6);
  EXPECT_LE(error(there.pairs, here.pairs), 1e-5);  // one at the very edge may fall off
  const SmoothLddtSums again = smooth_lddt_sums(c.x.cuda(), c.x_true.cuda(), c.radius.cuda(), 1e-8);
  EXPECT_TRUE(there.gradient.equal(again.gradient));
}

TEST(SmoothLddt, WrongShapesAreToldWithTheirs) {
  const Case c;
  const auto message = [](const auto& f) -> std::string {
    try {
      f();
    } catch (const BadInput& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(
      message([&] { smooth_lddt_sums(c.x, c.x_true.slice(0, 1), c.radius, 0); }),
      "smooth lDDT: x [S, A, 3], x_true [A, 3] and radius [A] are needed; they are [3, 700, 3] "
      "Float, [699, 3] Float and [700] Float");
  EXPECT_EQ(message([&] { smooth_lddt_sums(c.x, c.x_true.to(at::kDouble), c.radius, 0); }),
            "smooth lDDT: x is [3, 700, 3] Float on cpu, x_true or radius [700, 3] Double on cpu");
}

}  // namespace
}  // namespace megafold::ops
