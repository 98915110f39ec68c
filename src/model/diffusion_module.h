// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 20, DiffusionModule: the denoiser D(x, t) = c_skip x + c_out F(c_in x, t).
#pragma once

#include "model/atom_attention.h"
#include "model/diffusion_conditioning.h"

namespace megafold {

struct DiffusionSizes {
  AtomSizes atoms;
  int64_t c_s, c_z, c_s_inputs, fourier_width, blocks, heads;
};

struct DiffusionModule {
  /// What depends on the trunk alone: made once for all samples and all steps of a sampler.
  struct Prepared {
    at::Tensor singles;  // [N, c_s]
    AtomConditioning atoms;
    std::vector<at::Tensor> token_biases, decoder_biases;
    at::Tensor token_mask;  // bool [1, N], or undefined: every token is real
  };
  DiffusionConditioning conditioning;
  AtomAttentionEncoder encoder;
  LayerNorm norm_s;
  Linear single;
  DiffusionTransformer transformer;
  LayerNorm norm_a;
  AtomAttentionDecoder decoder;

  DiffusionModule(const Scope& scope, const Conventions& conventions, const DiffusionSizes& sizes);

  [[nodiscard]] Prepared prepare(const AtomFeatures& atoms, const at::Tensor& relative,
                                 const at::Tensor& s_inputs, const at::Tensor& s_trunk,
                                 const at::Tensor& z_trunk, const at::Tensor& token_mask) const;
  /// x [S, A, 3] and t_hat [S], Angstrom. Returns the denoised positions [S, A, 3].
  at::Tensor operator()(const AtomFeatures& atoms, const Prepared& prepared, const at::Tensor& x,
                        const at::Tensor& t_hat) const;
};

}  // namespace megafold
