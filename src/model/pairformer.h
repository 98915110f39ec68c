// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 17, PairformerStack. A block's pair updates (PairStack) are also the MSA module's and
// the template embedder's.
//
//   z += triangle multiplications out, in; triangle attentions start, end; transition
//   s += attention with pair bias (on the new z); transition
#pragma once

#include <vector>

#include "model/attention_pair_bias.h"
#include "model/config.h"
#include "model/triangle_attention.h"
#include "model/triangle_multiplication.h"

namespace megafold {

/// Sizes of the pair updates: the trunk's, or those of the template embedder.
struct PairSizes {
  int64_t c_z, multiplication_width, attention_heads, attention_width, transition_factor;
  double dropout;

  static PairSizes of(const ModelConfig& config);
};

struct PairStack {
  double dropout;
  bool transition_masked;
  TriangleMultiplication multiplication_out, multiplication_in;
  TriangleAttention attention_start, attention_end;
  Transition transition;

  PairStack(const Scope& scope, const Conventions& conventions, const PairSizes& sizes);
  /// z [N, N, C]; mask bool [N, N] or undefined. Returns the new z.
  at::Tensor operator()(at::Tensor z, const at::Tensor& mask, Dropout& drop) const;
};

struct PairformerBlock {
  PairStack pair;
  SingleAttention attention;
  Transition transition;

  PairformerBlock(const Scope& scope, const Conventions& conventions, const PairSizes& sizes,
                  int64_t c_s, int64_t single_heads, int64_t single_factor = 4);
  /// s [N, C_s], z [N, N, C_z], in place of the old ones; token_mask bool [N] or undefined (then no
  /// key of the single attention is masked), pair_mask bool [N, N] or undefined.
  void operator()(at::Tensor& s, at::Tensor& z, const at::Tensor& token_mask,
                  const at::Tensor& pair_mask, Dropout& drop) const;
};

struct PairformerStack {
  std::vector<PairformerBlock> blocks;

  PairformerStack(const Scope& scope, const Conventions& conventions, const PairSizes& sizes,
                  int64_t c_s, int64_t single_heads, int64_t num_blocks, int64_t single_factor = 4);
  void operator()(at::Tensor& s, at::Tensor& z, const at::Tensor& token_mask,
                  const at::Tensor& pair_mask, Dropout& drop) const;
};

}  // namespace megafold
