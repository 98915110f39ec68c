// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// LayerNorm on any GPU from sm_80 on. The same source, run by the emulator on the CPU, serves the
// tests.
#pragma once

#include "kernels/layernorm/layernorm.h"

namespace megafold::kernels {

/// What the portable kernels cannot take, wherever they run.
Reasons layernorm_portable_refuses(const LayerNormForward&);
Reasons layernorm_portable_refuses(const LayerNormBackward&);

#ifdef MEGAFOLD_CUDA
extern const Implementation<LayerNormForward> kLayerNormForwardPortable;
extern const Implementation<LayerNormBackward> kLayerNormBackwardPortable;
#endif

}  // namespace megafold::kernels
