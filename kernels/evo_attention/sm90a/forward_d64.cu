// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/evo_attention/sm90a/forward.cuh"

namespace megafold::kernels::sm90a {

const ForwardPlan& forward_plan_d64(bool many_rows) {
  //                                D  keys rows query_groups subs kv bias stages
  static constexpr ForwardPlan kMany = make_forward_plan<ForwardShape<64, 64, 3, 1, 1, 2, 3>>();
  static constexpr ForwardPlan kOne = make_forward_plan<ForwardShape<64, 64, 1, 3, 1, 4, 0>>();
  return many_rows ? kMany : kOne;
}

}  // namespace megafold::kernels::sm90a
