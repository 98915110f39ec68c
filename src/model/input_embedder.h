// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 2, InputFeatureEmbedder, and Algorithm 3, RelativePositionEncoding (with Algorithm 4,
// one_hot).
#pragma once

#include "model/atom_attention.h"

namespace megafold {

struct InputEmbedder {
  AtomAttentionEncoder encoder;

  InputEmbedder(const Scope& scope, const Conventions& conventions, const AtomSizes& sizes)
      : encoder(scope / "atom_encoder", conventions, sizes) {}
  /// restype one-hot [N, 32], profile [N, 32], deletion_mean [N]. Returns s_inputs [N, c_token +
  /// 65].
  at::Tensor operator()(const AtomFeatures& atoms, const at::Tensor& restype,
                        const at::Tensor& profile, const at::Tensor& deletion_mean) const;
};

inline constexpr int64_t kRelativePositions = 139;

/// [N, N, 139]: one-hots of the clipped differences of residue 66, token 66, same entity 1, chain
/// 6; all inputs i64 [N]. The difference of sym_id is clipped where the entity is the SAME (both
/// peers and the released code; the supplement's text reads the other way).
at::Tensor relative_positions(const at::Tensor& asym_id, const at::Tensor& residue_index,
                              const at::Tensor& entity_id, const at::Tensor& sym_id,
                              const at::Tensor& token_index, at::ScalarType dtype);

}  // namespace megafold
