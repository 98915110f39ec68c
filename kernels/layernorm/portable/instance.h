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
#if defined(__HIP__)
#include "kernels/common/arch/cdna/launch.h"
#else
#include "kernels/common/arch/sm80/launch.cuh"
#endif
#include "kernels/layernorm/portable/launch.h"

namespace megafold::kernels::layernorm_portable {

struct StartOnGpu {
#if defined(__HIP__)
  static constexpr int kWave = 64;
#else
  static constexpr int kWave = 32;
#endif
  Stream stream;
  template <class Kernel>
  void operator()(const typename Kernel::Args& args, int64_t blocks) const {
    arch::launch<Kernel>(args, blocks, stream);
  }
};

template <class T>
void launch_forward(const LayerNormForward& p, Stream stream) {
  start_forward<T>(p, StartOnGpu{stream});
}
template <class T>
void launch_backward(const LayerNormBackward& b, void* workspace, Stream stream) {
  start_backward<T>(b, workspace, StartOnGpu{stream});
}

}  // namespace megafold::kernels::layernorm_portable
#endif
