// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/smooth_lddt/portable/portable.h"
#if defined(__HIP__)
#include "kernels/common/arch/cdna/launch.h"
#else
#include "kernels/common/arch/sm80/launch.cuh"
#endif
#include "kernels/smooth_lddt/portable/launch.h"

namespace megafold::kernels::smooth_lddt_portable {
namespace {

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

}  // namespace

void launch(const SmoothLddt& p, void* workspace, Stream stream) {
  start(p, workspace, StartOnGpu{stream});
}

}  // namespace megafold::kernels::smooth_lddt_portable
