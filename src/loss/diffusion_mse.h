// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Weighted squared error of denoised positions (SI 3.7.1, eqs. 2 to 4; af3-facts 10.1):
//   L = 1/3 sum_l w_l |x_l - align(x_gt)_l|^2 / number of resolved atoms
//   w_l = (1 + 5 is_dna + 5 is_rna + 10 is_ligand) * resolved
#pragma once

#include <ATen/ATen.h>

namespace megafold {

/// w_l, [A]; every argument [A], 0 or 1.
at::Tensor diffusion_atom_weights(const at::Tensor& resolved, const at::Tensor& is_dna,
                                  const at::Tensor& is_rna, const at::Tensor& is_ligand);

/// x [S, A, 3], x_true [S, A, 3] or [A, 3], Angstrom; weight [A] from diffusion_atom_weights,
/// resolved [A]; `epsilon` joins their number (Protenix 1e-6, OpenFold 3 1e-8). Returns the loss of
/// each sample, [S], Angstrom^2, before any weight of the noise level.
at::Tensor diffusion_mse(const at::Tensor& x, const at::Tensor& x_true, const at::Tensor& weight,
                         const at::Tensor& resolved, double epsilon = 1e-6);

}  // namespace megafold
