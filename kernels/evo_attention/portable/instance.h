// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The GPU kernels of one element type and head width. Each forward_*.cu and backward_*.cu
// instantiates one of these; nvcc makes sm_80 code of it, hipcc gfx90a's.
#pragma once

#include "kernels/evo_attention/portable/config.h"

namespace megafold::kernels::evo_portable {

template <class T, int head_dim>
void launch_forward(const EvoAttentionForward&, Stream);
template <class T, int head_dim>
void launch_backward(const EvoAttentionBackward&, void* workspace, Stream);

}  // namespace megafold::kernels::evo_portable

#if defined(__CUDACC__) || defined(__HIP__)
#include "kernels/common/arch/start.h"
#include "kernels/evo_attention/portable/launch.h"

namespace megafold::kernels::evo_portable {

template <class T, int head_dim>
void launch_forward(const EvoAttentionForward& p, Stream stream) {
  start_forward<Config<T, head_dim>>(p, arch::StartOnGpu{stream});
}
template <class T, int head_dim>
void launch_backward(const EvoAttentionBackward& p, void* workspace, Stream stream) {
  start_backward<Config<T, head_dim>>(p, workspace, arch::StartOnGpu{stream});
}

}  // namespace megafold::kernels::evo_portable
#endif
