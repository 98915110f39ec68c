// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Distogram head (Algorithm 1, line 17): logits of z + z^T, a bias counted twice (conventions.h).
#pragma once

#include "model/conventions.h"
#include "model/primitives.h"

namespace megafold {

struct DistogramHead {
  Linear linear;

  DistogramHead(const Scope& scope, const Conventions& conventions, int64_t c_z, int64_t bins)
      : linear(conventions.distogram_bias ? Linear::with_bias(scope / "linear", c_z, bins, kZeros)
                                          : Linear(scope / "linear", c_z, bins, kZeros)) {}
  /// z [N, N, c_z] -> [N, N, bins]
  at::Tensor operator()(const at::Tensor& z) const {
    const at::Tensor logits = linear(z);
    return logits + logits.transpose(0, 1);
  }
};

}  // namespace megafold
