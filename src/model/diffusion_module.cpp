// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/diffusion_module.h"

namespace megafold {

DiffusionModule::DiffusionModule(const Scope& scope, const Conventions& conventions,
                                 const DiffusionSizes& s)
    : conditioning(scope / "conditioning", conventions, s.c_s, s.c_z, s.c_s_inputs,
                   s.fourier_width),
      encoder(scope / "atom_encoder", conventions, s.atoms, s.c_s, s.c_z),
      norm_s(scope / "norm_s", s.c_s, LayerNorm::scale_only),
      single(scope / "single", s.c_s, s.atoms.c_token, kZeros),
      transformer(scope / "transformer", conventions, ConditionedAttention::tokens, s.blocks,
                  s.atoms.c_token, s.c_s, s.c_z, s.heads),
      norm_a(scope / "norm_a", s.atoms.c_token, LayerNorm::scale_only),
      decoder(scope / "atom_decoder", conventions, s.atoms) {}

DiffusionModule::Prepared DiffusionModule::prepare(
    const AtomFeatures& atoms, const at::Tensor& relative, const at::Tensor& s_inputs,
    const at::Tensor& s_trunk, const at::Tensor& z_trunk, const at::Tensor& token_mask) const {
  const at::Tensor z = conditioning.pairs(relative, z_trunk);
  Prepared out{conditioning.singles(s_inputs, s_trunk),
               encoder.condition(atoms, s_trunk, z),
               transformer.pair_biases(z),
               {},
               token_mask.defined() ? token_mask.unsqueeze(0) : token_mask};
  out.decoder_biases = decoder.transformer.pair_biases(out.atoms.p);
  return out;
}

at::Tensor DiffusionModule::operator()(const AtomFeatures& atoms, const Prepared& prepared,
                                       const at::Tensor& x, const at::Tensor& t_hat) const {
  const int64_t samples = x.size(0);
  const at::Tensor t = t_hat.view({samples, 1, 1}),
                   scale = at::sqrt(t.square() + kSigmaData * kSigmaData);
  const at::Tensor s = conditioning.at_level(prepared.singles, t_hat);
  auto [a, q] = encoder(atoms, prepared.atoms, x / scale);
  a = a + single(norm_s(s));
  const at::Tensor mask = prepared.token_mask.defined()
                              ? prepared.token_mask.expand({samples, a.size(1)})
                              : prepared.token_mask;
  a = norm_a(transformer(a, s, prepared.token_biases, mask));
  const at::Tensor update = decoder(atoms, a, q, prepared.atoms.c, prepared.decoder_biases);
  return (kSigmaData / scale).square() * x + (kSigmaData * t / scale) * update;
}

}  // namespace megafold
