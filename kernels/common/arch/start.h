// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What a launch.h of portable kernels starts them with on a GPU: nvcc's or hipcc's. For the
// emulator: host/launch.h, StartEmulated.
#pragma once

#if defined(__HIP__)
#include "kernels/common/arch/cdna/launch.h"
#else
#include "kernels/common/arch/sm80/launch.cuh"
#endif

namespace megafold::kernels::arch {

struct StartOnGpu {
#if defined(__HIP__)
  static constexpr int kWave = 64, kRun = 4;
#else
  static constexpr int kWave = 32, kRun = 2;
#endif
  Stream stream;
  template <class Kernel>
  void operator()(const typename Kernel::Args& args, int64_t blocks) const {
    launch<Kernel>(args, blocks, stream);
  }
};

}  // namespace megafold::kernels::arch
