// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 27's sums over pairs of atoms and their gradient; kernels/smooth_lddt/README.md has the
// equations.
#pragma once

#include <ATen/ATen.h>

namespace megafold::ops {

struct SmoothLddtSums {
  at::Tensor score;     // [S]: sum of e_lm over the pairs that count
  at::Tensor gradient;  // [S, A, 3]: of score in x
  at::Tensor pairs;     // how many, a scalar
};

/// A kernel of ours takes x's type and device: f32 everywhere, f64 on the CPU.
bool smooth_lddt_has_kernel(const at::Tensor& x);

/// x [S, A, 3] and x_true [A, 3], Angstrom; radius [A], Angstrom, of the pairs that an atom begins
/// (0: it is not resolved); epsilon joins the squared distances. All of one type and device. Throws
/// BadInput with the shapes, and NoImplementation where there is no kernel.
SmoothLddtSums smooth_lddt_sums(const at::Tensor& x, const at::Tensor& x_true,
                                const at::Tensor& radius, double epsilon);

}  // namespace megafold::ops
