// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/layernorm/layernorm.h"

namespace megafold::kernels {

extern const Implementation<LayerNormForward> kLayerNormForwardReference;
extern const Implementation<LayerNormBackward> kLayerNormBackwardReference;
extern const Implementation<LayerNormForward> kLayerNormForwardCpu;
extern const Implementation<LayerNormBackward> kLayerNormBackwardCpu;

/// What every implementation asks of a call: sizes, strides, pointers.
Reasons layernorm_reasons(const LayerNormForward& p);
Reasons layernorm_reasons(const LayerNormBackward& p);

}  // namespace megafold::kernels
