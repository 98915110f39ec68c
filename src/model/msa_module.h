// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 8, MsaModule: m_MIC = Linear(features) + Linear(s_inputs); for each block
//   z += OuterProductMean(m);  m += PairWeightedAveraging(m, z);  m += Transition(m);
//   z = PairStack(z)
// The last block's m is used by nothing and is not made (both peers).
#pragma once

#include <optional>
#include <vector>

#include "model/outer_product_mean.h"
#include "model/pair_weighted_averaging.h"
#include "model/pairformer.h"

namespace megafold {

/// [M, N, 34]: one-hot of msa i64 [M, N], has_deletion, deletion_value = 2/pi arctan(d/3), both
/// from the raw counts.
at::Tensor msa_features(const at::Tensor& msa, const at::Tensor& deletion);

struct MsaModule {
  struct Block {
    OuterProductMean outer_product_mean;
    std::optional<PairWeightedAveraging> averaging;
    std::optional<Transition> transition;
    PairStack pair;
  };
  double dropout;
  bool transition_masked, averaging_reads_pair_mask;
  Linear embed, embed_single;
  std::vector<Block> blocks;

  MsaModule(const Scope& scope, const Conventions& conventions, const ModelConfig& config,
            int64_t c_s_inputs);
  /// features [M, N, 34], s_inputs [N, C], z [N, N, C_z]; msa_mask [M, N] of any type, token_mask
  /// bool [N] and pair_mask bool [N, N], or undefined. Returns the new z.
  at::Tensor operator()(const at::Tensor& features, const at::Tensor& s_inputs, at::Tensor z,
                        const at::Tensor& msa_mask, const at::Tensor& token_mask,
                        const at::Tensor& pair_mask, Dropout& drop) const;
  /// The blocks alone, from m [M, N, C_m].
  at::Tensor stack(at::Tensor m, at::Tensor z, const at::Tensor& msa_mask,
                   const at::Tensor& token_mask, const at::Tensor& pair_mask, Dropout& drop) const;
};

}  // namespace megafold
