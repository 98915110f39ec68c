// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The GPU kernels of one element type; each of layernorm_*.cu instantiates one.
#pragma once

#include "kernels/layernorm/layernorm.h"

namespace megafold::kernels::layernorm_portable {

template <class T>
void launch_forward(const LayerNormForward&, Stream);
template <class T>
void launch_backward(const LayerNormBackward&, void* workspace, Stream);

}  // namespace megafold::kernels::layernorm_portable

#if defined(__CUDACC__) || defined(__HIP__)
#include "kernels/common/arch/start.h"
#include "kernels/layernorm/portable/launch.h"

namespace megafold::kernels::layernorm_portable {

template <class T>
void launch_forward(const LayerNormForward& p, Stream stream) {
  start_forward<T>(p, arch::StartOnGpu{stream});
}
template <class T>
void launch_backward(const LayerNormBackward& b, void* workspace, Stream stream) {
  start_backward<T>(b, workspace, arch::StartOnGpu{stream});
}

}  // namespace megafold::kernels::layernorm_portable
#endif
