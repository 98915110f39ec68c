// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Smooth lDDT on any GPU from sm_80 on. The same source, run by the emulator on the CPU, serves the
// tests.
#pragma once

#include "kernels/smooth_lddt/smooth_lddt.h"

namespace megafold::kernels {

/// What the portable kernels cannot take, wherever they run.
Reasons smooth_lddt_portable_refuses(const SmoothLddt&);

#ifdef MEGAFOLD_CUDA
extern const Implementation<SmoothLddt> kSmoothLddtPortable;
#endif

namespace smooth_lddt_portable {
void launch(const SmoothLddt&, void* workspace, Stream);  // smooth_lddt_f32.cu
}  // namespace smooth_lddt_portable

}  // namespace megafold::kernels
