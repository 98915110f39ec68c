// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/diffusion_conditioning.h"

#include <numbers>

#include "model/input_embedder.h"

namespace megafold {
namespace {

int64_t pair_width(const Conventions& conventions, int64_t c_z) {
  return c_z + (conventions.conditioning_projects_positions ? c_z : kRelativePositions);
}

}  // namespace

at::Tensor FourierEmbedding::operator()(const at::Tensor& t) const {
  return at::cos((t.unsqueeze(-1) * w + b) * (2 * std::numbers::pi));
}

DiffusionConditioning::DiffusionConditioning(const Scope& scope, const Conventions& conventions,
                                             int64_t c_s, int64_t c_z, int64_t c_s_inputs,
                                             int64_t fourier_width)
    : position(conventions.conditioning_projects_positions
                   ? Linear(scope / "relative_position", kRelativePositions, c_z)
                   : Linear()),
      norm_z(scope / "norm_z", pair_width(conventions, c_z), LayerNorm::scale_only),
      norm_s(scope / "norm_s", c_s + c_s_inputs, LayerNorm::scale_only),
      norm_noise(scope / "norm_noise", fourier_width, LayerNorm::scale_only),
      pair(scope / "pair", pair_width(conventions, c_z), c_z),
      single(scope / "single", c_s + c_s_inputs, c_s),
      noise(scope / "noise", fourier_width, c_s),
      pair_transition{Transition(scope / "pair_transition" / 0, c_z, 2),
                      Transition(scope / "pair_transition" / 1, c_z, 2)},
      single_transition{Transition(scope / "single_transition" / 0, c_s, 2),
                        Transition(scope / "single_transition" / 1, c_s, 2)},
      fourier(scope / "fourier", conventions, fourier_width) {}

at::Tensor DiffusionConditioning::pairs(const at::Tensor& relative,
                                        const at::Tensor& z_trunk) const {
  const at::Tensor place = position.weight.defined() ? position(relative) : relative;
  at::Tensor z = pair(norm_z(at::cat({z_trunk, place}, -1)));
  for (const Transition& transition : pair_transition) z = z + transition(z);
  return z;
}

at::Tensor DiffusionConditioning::singles(const at::Tensor& s_inputs,
                                          const at::Tensor& s_trunk) const {
  return single(norm_s(at::cat({s_trunk, s_inputs}, -1)));
}

at::Tensor DiffusionConditioning::at_level(const at::Tensor& singles,
                                           const at::Tensor& t_hat) const {
  const at::Tensor level = at::log(t_hat / kSigmaData) / 4;
  at::Tensor s = singles.unsqueeze(0) + noise(norm_noise(fourier(level))).unsqueeze(1);
  for (const Transition& transition : single_transition) s = s + transition(s);
  return s;
}

}  // namespace megafold
