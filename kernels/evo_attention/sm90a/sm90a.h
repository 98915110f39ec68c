// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention on Hopper (TMA, wgmma, warp specialisation). A CUDA build only.
#pragma once

#include "kernels/evo_attention/evo_attention.h"

namespace megafold::kernels {

/// bf16, D = 32, 48 or 64, compute capability 9.0; q, k, v, gate and out 16-byte aligned with
/// strides that are multiples of 8 elements; scale not 0. Windows of atoms: backward of at most 32
/// queries and 128 keys at D = 32, which have kernels of their own.
extern const Implementation<EvoAttentionForward> kSm90aForward;
extern const Implementation<EvoAttentionBackward> kSm90aBackward;

}  // namespace megafold::kernels
