// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "loss/diffusion_mse.h"

#include "loss/weighted_rigid_align.h"

namespace megafold {

at::Tensor diffusion_atom_weights(const at::Tensor& resolved, const at::Tensor& is_dna,
                                  const at::Tensor& is_rna, const at::Tensor& is_ligand) {
  return (1 + 5 * is_dna + 5 * is_rna + 10 * is_ligand) * resolved;
}

at::Tensor diffusion_mse(const at::Tensor& x, const at::Tensor& x_true, const at::Tensor& weight,
                         const at::Tensor& resolved, double epsilon) {
  const at::Tensor aligned = weighted_rigid_align(x_true, x.detach(), weight);
  return ((x - aligned).square().sum(-1) * weight).sum(-1) / (3 * (resolved.sum() + epsilon));
}

}  // namespace megafold
