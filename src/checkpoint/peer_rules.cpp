// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Names that the peers share.
#include "checkpoint/peer_rules.h"

namespace megafold {

std::vector<LeafRule> with_shared_leaves(std::vector<LeafRule> own) {
  own.insert(
      own.begin(),
      {
          {"triangle_multiplication", "norm_in.weight", {"layer_norm_in.weight"}},
          {"triangle_multiplication", "norm_in.bias", {"layer_norm_in.bias"}},
          {"triangle_multiplication", "norm_out.weight", {"layer_norm_out.weight"}},
          {"triangle_multiplication", "norm_out.bias", {"layer_norm_out.bias"}},
          {"triangle_multiplication",
           "project",
           {"linear_a_p.weight", "linear_b_p.weight", "linear_a_g.weight", "linear_b_g.weight"}},
          {"triangle_multiplication", "gate.weight", {"linear_g.weight"}},
          {"triangle_multiplication", "out.weight", {"linear_z.weight"}},
          {"triangle_attention", "norm.weight", {"layer_norm.weight"}},
          {"triangle_attention", "norm.bias", {"layer_norm.bias"}},
          {"triangle_attention",
           "attention.query_gate",
           {"mha.linear_q.weight", "mha.linear_g.weight"}},
          {"triangle_attention",
           "attention.key_value",
           {"mha.linear_k.weight", "mha.linear_v.weight"}},
          {"triangle_attention", "attention.out", {"mha.linear_o.weight"}},
          {"outer_product_mean", "norm.weight", {"layer_norm.weight"}},
          {"outer_product_mean", "norm.bias", {"layer_norm.bias"}},
          {"outer_product_mean", "project", {"linear_1.weight", "linear_2.weight"}},
          {"outer_product_mean", "out.weight", {"linear_out.weight"}},
          {"outer_product_mean", "out.bias", {"linear_out.bias"}},
          {"fourier", "w", {"w"}},
          {"fourier", "b", {"b"}},
      });
  return own;
}

}  // namespace megafold
