// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 21, DiffusionConditioning, and Algorithm 22, FourierEmbedding.
#pragma once

#include <array>

#include "model/config.h"
#include "model/transition.h"

namespace megafold {

/// Standard deviation of the data, Angstrom.
inline constexpr double kSigmaData = 16;

/// cos(2 pi (t w + b)) with fixed w and b: t [S] -> [S, C].
struct FourierEmbedding {
  at::Tensor w, b;
  FourierEmbedding(const Scope& scope, const Conventions& conventions, int64_t channels)
      : w(scope.buffer("w", {channels}, kNormal)),
        b(scope.buffer("b", {channels}, conventions.fourier_offset_normal ? kNormal : kUniform)) {}
  at::Tensor operator()(const at::Tensor& t) const;
};

struct DiffusionConditioning {
  Linear position;  // without a weight: relative positions join as they are
  LayerNorm norm_z, norm_s, norm_noise;
  Linear pair, single, noise;
  std::array<Transition, 2> pair_transition, single_transition;
  FourierEmbedding fourier;

  DiffusionConditioning(const Scope& scope, const Conventions& conventions, int64_t c_s,
                        int64_t c_z, int64_t c_s_inputs, int64_t fourier_width);

  /// relative [N, N, 139], z_trunk [N, N, c_z]. Returns z [N, N, c_z], the same at every level.
  [[nodiscard]] at::Tensor pairs(const at::Tensor& relative, const at::Tensor& z_trunk) const;
  /// The part of s that is the same at every level, [N, c_s].
  [[nodiscard]] at::Tensor singles(const at::Tensor& s_inputs, const at::Tensor& s_trunk) const;
  /// s of each level: t_hat [S], Angstrom. Returns [S, N, c_s].
  [[nodiscard]] at::Tensor at_level(const at::Tensor& singles, const at::Tensor& t_hat) const;
};

}  // namespace megafold
