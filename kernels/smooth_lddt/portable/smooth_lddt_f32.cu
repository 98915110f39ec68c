// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/arch/start.h"
#include "kernels/smooth_lddt/portable/launch.h"
#include "kernels/smooth_lddt/portable/portable.h"

namespace megafold::kernels::smooth_lddt_portable {

void launch(const SmoothLddt& p, void* workspace, Stream stream) {
  start(p, workspace, arch::StartOnGpu{stream});
}

}  // namespace megafold::kernels::smooth_lddt_portable
