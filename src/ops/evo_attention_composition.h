// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention as ATen calls, with a tensor of size [queries, keys]: what runs where no kernel
// takes a call, and what the kernels are tested against.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/evo_attention.h"

namespace megafold::ops {

/// As evo_attention, without its checks. fp32 inside, fp64 for fp64.
at::Tensor evo_attention_composition(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     const at::Tensor& bias, const at::Tensor& mask,
                                     const at::Tensor& gate, double scale);

/// As atom_attention, without its checks; gathers the keys of each window.
at::Tensor atom_attention_composition(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const at::Tensor& bias, const at::Tensor& mask,
                                      const at::Tensor& gate, double scale,
                                      const AtomWindows& windows);

}  // namespace megafold::ops
