// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 5, AtomAttentionEncoder, and Algorithm 6, AtomAttentionDecoder.
//
// The encoder's conditioning (c and p, and the pair biases made from p) depends on neither noise
// nor noise level: a sampler makes it once.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "model/atom_features.h"
#include "model/diffusion_transformer.h"

namespace megafold {

struct AtomSizes {
  int64_t c_atom, c_atompair, c_token, blocks, heads;
};

struct AtomConditioning {
  at::Tensor c;                    // [1, A, c_atom]
  at::Tensor p;                    // [W, 32, 128, c_atompair]
  std::vector<at::Tensor> biases;  // of the encoder's blocks
};

struct AtomAttentionEncoder {
  /// The part that reads the trunk and noisy coordinates.
  struct Coordinates {
    LayerNorm norm_s, norm_z;
    Linear single, pair, position;
    Coordinates(const Scope& scope, const AtomSizes& sizes, int64_t c_s, int64_t c_z);
  };
  Linear embed_single;  // of AtomFeatures::single
  Linear embed_pair;    // of AtomFeatures::pair
  std::optional<Coordinates> coordinates;
  Linear pair_from_query, pair_from_key;
  std::array<Linear, 3> pair_mlp;
  DiffusionTransformer transformer;
  Linear to_token;

  /// Without coordinates (the input embedder's).
  AtomAttentionEncoder(const Scope& scope, const Conventions& conventions, const AtomSizes& sizes);
  /// With coordinates (the diffusion module's).
  AtomAttentionEncoder(const Scope& scope, const Conventions& conventions, const AtomSizes& sizes,
                       int64_t c_s, int64_t c_z);

  /// s_trunk [N, c_s] and z [N, N, c_z]: undefined without coordinates.
  [[nodiscard]] AtomConditioning condition(const AtomFeatures& atoms, const at::Tensor& s_trunk,
                                           const at::Tensor& z) const;
  /// r [S, A, 3], scaled positions, undefined without coordinates (then S = 1). Returns a [S, N,
  /// c_token] and q [S, A, c_atom].
  [[nodiscard]] std::pair<at::Tensor, at::Tensor> operator()(const AtomFeatures& atoms,
                                                             const AtomConditioning& condition,
                                                             const at::Tensor& r) const;
};

struct AtomAttentionDecoder {
  Linear from_token;
  DiffusionTransformer transformer;
  LayerNorm norm;
  Linear out;

  AtomAttentionDecoder(const Scope& scope, const Conventions& conventions, const AtomSizes& sizes);
  /// a [S, N, c_token], q [S, A, c_atom], c [S or 1, A, c_atom], biases of its own blocks made from
  /// the encoder's p. Returns the update [S, A, 3], in units of sigma_data.
  at::Tensor operator()(const AtomFeatures& atoms, const at::Tensor& a, const at::Tensor& q,
                        const at::Tensor& c, const std::vector<at::Tensor>& biases) const;
};

}  // namespace megafold
