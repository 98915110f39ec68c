// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "loss/bond_loss.h"

namespace megafold {

at::Tensor bond_loss(const at::Tensor& x, const at::Tensor& x_true, const at::Tensor& bonds) {
  if (bonds.size(0) == 0) return x.sum({1, 2}) * 0;
  const auto lengths = [&](const at::Tensor& positions) {
    return (positions.index_select(-2, bonds.select(1, 0)) -
            positions.index_select(-2, bonds.select(1, 1)))
        .norm(2, -1);
  };
  return (lengths(x) - lengths(x_true)).square().mean(-1);
}

}  // namespace megafold
