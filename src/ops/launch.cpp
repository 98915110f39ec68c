// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/launch.h"

#ifdef MEGAFOLD_CUDA
#include <c10/cuda/CUDAStream.h>
#endif

namespace megafold::ops {

kernels::Stream current_stream([[maybe_unused]] const at::Device& device) {
#ifdef MEGAFOLD_CUDA
  if (device.is_cuda()) return c10::cuda::getCurrentCUDAStream(device.index()).stream();
#endif
  return nullptr;
}

}  // namespace megafold::ops
