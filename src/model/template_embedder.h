// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 16, TemplateEmbedder: for each template v = PairStack(Linear(LN(z)) +
// Linear(features));
//   u_IJC = Linear(relu(mean of LN(v)))
#pragma once

#include <vector>

#include "model/pairformer.h"

namespace megafold {

/// T templates: distogram [T, N, N, 39], unit_vector [T, N, N, 3], pseudo_beta_mask and
/// backbone_frame_mask [T, N, N], restype i64 [T, N].
struct TemplateInputs {
  at::Tensor distogram, unit_vector, pseudo_beta_mask, backbone_frame_mask, restype;
};

struct TemplateEmbedder {
  bool masked;
  LayerNorm norm_z, norm_v;
  Linear pair, embed, out;
  std::vector<PairStack> blocks;

  TemplateEmbedder(const Scope& scope, const Conventions& conventions, const PairSizes& sizes,
                   int64_t c_z, int64_t num_blocks);
  /// asym_id i64 [N]: only pairs within a chain count. pair_mask bool [N, N] or undefined. Returns
  /// the update of z, [N, N, c_z].
  at::Tensor operator()(const TemplateInputs& templates, const at::Tensor& asym_id,
                        const at::Tensor& z, const at::Tensor& pair_mask, Dropout& drop) const;
};

}  // namespace megafold
