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
#if defined(__HIP__)
#include "kernels/common/arch/cdna/launch.h"
#else
#include "kernels/common/arch/sm80/launch.cuh"
#endif
#include "kernels/evo_attention/portable/launch.h"

namespace megafold::kernels::evo_portable {

struct StartOnGpu {
#if defined(__HIP__)
  static constexpr int kWave = 64, kRun = 4;
#else
  static constexpr int kWave = 32, kRun = 2;
#endif
  Stream stream;
  template <class Kernel>
  void operator()(const typename Kernel::Args& args, int64_t blocks) const {
    arch::launch<Kernel>(args, blocks, stream);
  }
};

template <class T, int head_dim>
void launch_forward(const EvoAttentionForward& p, Stream stream) {
  start_forward<Config<T, head_dim>>(p, StartOnGpu{stream});
}
template <class T, int head_dim>
void launch_backward(const EvoAttentionBackward& p, void* workspace, Stream stream) {
  start_backward<Config<T, head_dim>>(p, workspace, StartOnGpu{stream});
}

}  // namespace megafold::kernels::evo_portable
#endif
