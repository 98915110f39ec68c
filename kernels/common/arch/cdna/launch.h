// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Starts a portable kernel on an AMD GPU; what a kernel is: sm80/launch.cuh.
#pragma once

#include <hip/hip_runtime.h>

#include <algorithm>

#include "kernels/common/arch/cdna/fragments.h"
#include "kernels/common/arch/cdna/isa.h"
#include "kernels/common/arch/launch_error.h"
#include "kernels/common/types.h"

namespace megafold::kernels::arch {

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kWaves * 64)
    enter(const typename Kernel::Args args, int64_t first_block) {
  Kernel::template run<cdna::Arch<cdna::Isa>>(args, first_block + blockIdx.x);
}

/// Any number of blocks: HIP counts a grid's threads in 32 bits, so more take several launches.
template <class Kernel>
void launch(const typename Kernel::Args& args, int64_t blocks, Stream stream) {
  static_assert(Kernel::kSharedBytes <= 64 * 1024, "the LDS of a CDNA compute unit");
  constexpr int64_t kGrid = ((int64_t{1} << 32) - 1) / (Kernel::kWaves * 64);
  for (int64_t first = 0; first < blocks; first += kGrid) {
    const auto grid = static_cast<unsigned>(std::min(kGrid, blocks - first));
    enter<Kernel>
        <<<grid, Kernel::kWaves * 64, Kernel::kSharedBytes, static_cast<hipStream_t>(stream)>>>(
            args, first);
    const hipError_t status = hipGetLastError();
    if (status != hipSuccess) {
      fail_launch(Kernel::kName, hipGetErrorString(status));
    }
  }
}

}  // namespace megafold::kernels::arch
