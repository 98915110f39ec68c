// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 23, DiffusionTransformer, and with windows of atoms Algorithm 7, AtomTransformer:
//
//   for each block:  a = a + AttentionPairBias(a, s, z);  a = a + ConditionedTransition(a, s)
//
// (SI adds both to the same a; the released code and both peers go one after the other.)
#pragma once

#include "model/attention_pair_bias.h"

namespace megafold {

struct DiffusionTransformer {
  struct Block {
    ConditionedAttention attention;
    at::Tensor
        norm_z;       // [C_z], the scale of the block's LN(z), which has no offset; or the stack's
    at::Tensor bias;  // [H, C_z]
    ConditionedTransition transition;
  };
  ConditionedAttention::Over over;
  bool transition_masked;
  int64_t heads;
  std::vector<Block> blocks;

  DiffusionTransformer(const Scope& scope, const Conventions& conventions,
                       ConditionedAttention::Over what, int64_t num_blocks, int64_t c_a,
                       int64_t c_s, int64_t c_z, int64_t num_heads);

  /// The pair biases of all blocks, which depend on neither a nor s. LN(z) = scale * normalize(z),
  /// so z is normalised once and one matrix product serves every block.
  /// z [N, N, C_z] -> [H, N, N] each; over atoms [W, 32, 128, C_z] -> [W, H, 32, 128] each.
  [[nodiscard]] std::vector<at::Tensor> pair_biases(const at::Tensor& z) const;

  /// a [S, N, C_a], s [S or 1, N, C_s], mask bool [S, N] or undefined. Returns a.
  at::Tensor operator()(at::Tensor a, const at::Tensor& s, const std::vector<at::Tensor>& biases,
                        const at::Tensor& mask) const;
};

}  // namespace megafold
