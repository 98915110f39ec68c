// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 31, ConfidenceHead: a small Pairformer on the trunk's output and the distances of a
// predicted structure, then logits of pLDDT, PAE, PDE and "resolved". Its inputs are detached.
#pragma once

#include "model/pairformer.h"

namespace megafold {

struct ConfidenceSizes {
  PairSizes pair;
  int64_t c_s, c_s_inputs, single_heads, blocks, pae_bins, pde_bins, max_atoms_per_token;
  int64_t single_factor = 4;  // of the blocks' single transition
};

struct ConfidenceLogits {
  at::Tensor plddt;     // [A, 50]
  at::Tensor pae, pde;  // [N, N, bins]
  at::Tensor resolved;  // [A, 2]
};

struct ConfidenceHead {
  bool norms_single, sums_pairs;  // conventions.h
  LayerNorm norm_s;               // without a weight: s and the raw distance are not read so
  Linear pair_from_column, pair_from_row;  // of s_inputs
  Linear distance_bin, distance;
  PairformerStack pairformer;
  LayerNorm norm_pae, norm_pde, norm_plddt, norm_resolved;
  Linear pae, pde;
  at::Tensor plddt, resolved;  // [atoms per token, c_s, bins]
  at::Tensor lower, upper;     // [39] edges of the distance bins, Angstrom

  ConfidenceHead(const Scope& scope, const Conventions& conventions, const ConfidenceSizes& sizes);
  /// x_rep [N, 3]: representative atoms of one predicted structure; atom_to_token and
  /// atom_in_token i64 [A]; masks as in PairformerStack.
  [[nodiscard]] ConfidenceLogits operator()(const at::Tensor& s_inputs, const at::Tensor& s_trunk,
                                            const at::Tensor& z_trunk, const at::Tensor& x_rep,
                                            const at::Tensor& atom_to_token,
                                            const at::Tensor& atom_in_token,
                                            const at::Tensor& token_mask,
                                            const at::Tensor& pair_mask, Dropout& drop) const;
};

}  // namespace megafold
