// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention below autograd, into tensors of the caller's: for autograd nodes that hold more than
// the attention itself. Shapes as in evo_attention.h; nothing is checked here.
#pragma once

#include <ATen/ATen.h>

#include "ops/evo_attention_arguments.h"

namespace megafold::ops {

/// Writes out (q's shape, any strides with D contiguous) and lse (fp32, contiguous). Returns
/// whether a kernel ran; where none takes the call, ATen's operators write out, and lse keeps what
/// it held.
bool evo_attention_into(EvoAttentionArguments<at::Tensor> a, const at::Tensor& out,
                        const at::Tensor& lse);

/// Writes the gradients: of q, k, v and gate's shapes, any strides with D contiguous; dbias
/// contiguous. An undefined dbias or dgate is not wanted. `by_kernel`: what the forward returned.
void evo_attention_backward_into(EvoAttentionArguments<at::Tensor> a, bool by_kernel,
                                 const at::Tensor& dout, const at::Tensor& out,
                                 const at::Tensor& lse, const at::Tensor& dq, const at::Tensor& dk,
                                 const at::Tensor& dv, const at::Tensor& dbias,
                                 const at::Tensor& dgate);

}  // namespace megafold::ops
