// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 27's sums over pairs of atoms, and their gradient in the same pass.
//
//   a pair (l, m) counts where l != m, radius[l] > 0, radius[m] > 0 and d_gt_lm < radius[l]
//   d_lm = sqrt(|x_l - x_m|^2 + epsilon), d_gt_lm likewise of x_true
//   e_lm = 1/4 sum_c sigmoid(c - |d_lm - d_gt_lm|), c = 0.5, 1, 2, 4 A
//   score[s] = sum over the pairs of e_lm;  gradient[s,l] = d score[s] / d x[s,l]
#pragma once

#include "kernels/common/types.h"

namespace megafold::kernels {

struct SmoothLddt {
  int64_t samples = 0, atoms = 0;  // S structures of A atoms
  double epsilon = 0;              // joins the squared distances (OpenFold 3 1e-8)
  DType dtype = DType::f32;        // of every array; f32 or f64
  Place place = Place::cpu;

  const void* x = nullptr;       // [S, A, 3], Angstrom
  const void* x_true = nullptr;  // [A, 3]; not read where not resolved
  const void* radius = nullptr;  // [A], Angstrom: pairs from this atom; 0: it is not resolved
  void* score = nullptr;         // [S]
  void* gradient = nullptr;      // [S, A, 3]
  void* pairs = nullptr;         // [1], how many pairs (l, m) count
};

/// In order of preference; see dispatch.cpp.
const std::vector<Implementation<SmoothLddt>>& smooth_lddt();

}  // namespace megafold::kernels
