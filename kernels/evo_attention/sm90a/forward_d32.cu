// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/evo_attention/sm90a/forward_exact.cuh"
#include "kernels/evo_attention/sm90a/forward_shared.cuh"

namespace megafold::kernels::sm90a {

const ForwardPlans& forward_plans_d32() {
  static constexpr ForwardPlans kPlans = {
      shared_plan<ForwardShape<32, 2, 4, 5>>(),  // D, score buffers, K/V stages, bias stages
      exact_plan<ExactShape<32, 64, 2>>(),       // D, queries, stages
      exact_plan<ExactShape<32, 32, 4>>()};
  return kPlans;
}

}  // namespace megafold::kernels::sm90a
