// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs a portable kernel through the emulator; what a kernel is: sm80/launch.cuh.
#pragma once

#include "kernels/common/arch/host/emulator.h"
#include "kernels/common/arch/host/isa.h"

namespace megafold::kernels::arch::host {

/// Arch: Warp32 or Wave64. `backwards` resumes the threads last to first.
template <class Kernel, class Arch>
void launch(const typename Kernel::Args& args, int64_t blocks, bool backwards = false) {
  run({.kernel = Kernel::kName,
       .blocks = blocks,
       .threads = Kernel::kWaves * Arch::kWave,
       .wave = Arch::kWave,
       .shared_bytes = Kernel::kSharedBytes,
       .backwards = backwards},
      [&args](int64_t block) { Kernel::template run<Arch>(args, block); });
}

/// What a launch.h of portable kernels starts them with; on a GPU: start.h, StartOnGpu.
template <class Arch>
struct StartEmulated {
  static constexpr int kWave = Arch::kWave, kRun = Arch::kRun;
  bool backwards;
  template <class Kernel>
  void operator()(const typename Kernel::Args& args, int64_t blocks) const {
    launch<Kernel, Arch>(args, blocks, backwards);
  }
};

}  // namespace megafold::kernels::arch::host
