// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Starts a portable kernel on an NVIDIA GPU. A kernel is a type:
//
//   struct MyKernel {
//     struct Args {...};
//     static constexpr const char* kName; static constexpr int kWaves, kSharedBytes;
//     template <class Arch> MEGAFOLD_DEVICE static void run(const Args&, int64_t block);
//   };
#pragma once

#include <algorithm>

#include "kernels/common/arch/launch_error.h"
#include "kernels/common/arch/sm80/fragments.h"
#include "kernels/common/arch/sm80/isa.cuh"
#include "kernels/common/types.h"

namespace megafold::kernels::arch {

/// Blocks of a multiprocessor that a kernel's registers must leave room for; `kBlocks` of the
/// kernel, where ptxas would rather spill a few bytes than give up one more block.
template <class Kernel>
constexpr int blocks_of() {
  if constexpr (requires { Kernel::kBlocks; }) {
    return Kernel::kBlocks;
  } else {
    return 0;
  }
}

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kWaves * 32, blocks_of<Kernel>())
    enter(const __grid_constant__ typename Kernel::Args args, int64_t first_block) {
  Kernel::template run<sm80::Arch<sm80::Isa>>(args, first_block + blockIdx.x);
}

/// Any number of blocks: a grid holds 2^31 - 1, so more take several launches.
template <class Kernel>
void launch(const typename Kernel::Args& args, int64_t blocks, Stream stream) {
  constexpr int64_t kGrid = (int64_t{1} << 31) - 1;
  if constexpr (Kernel::kSharedBytes > 48 * 1024) {  // beyond what every kernel is granted
    const cudaError_t status = cudaFuncSetAttribute(
        enter<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, Kernel::kSharedBytes);
    if (status != cudaSuccess) {
      fail_launch(Kernel::kName, cudaGetErrorString(status));
    }
  }
  for (int64_t first = 0; first < blocks; first += kGrid) {
    const auto grid = static_cast<unsigned>(std::min(kGrid, blocks - first));
    enter<Kernel>
        <<<grid, Kernel::kWaves * 32, Kernel::kSharedBytes, static_cast<cudaStream_t>(stream)>>>(
            args, first);
    const cudaError_t status = cudaGetLastError();
    if (status != cudaSuccess) {
      fail_launch(Kernel::kName, cudaGetErrorString(status));
    }
  }
}

}  // namespace megafold::kernels::arch
