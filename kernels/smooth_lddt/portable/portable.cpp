// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/smooth_lddt/portable/portable.h"

#include "kernels/smooth_lddt/implementations.h"
#ifdef MEGAFOLD_CUDA
#include "kernels/smooth_lddt/portable/launch.h"
#endif

namespace megafold::kernels {

Reasons smooth_lddt_portable_refuses(const SmoothLddt& p) {
  Reasons reasons = smooth_lddt_reasons(p);
  if (p.dtype == DType::f64) reasons.emplace_back("dtype f64 (has f32)");
  return reasons;
}

#ifdef MEGAFOLD_CUDA
const Implementation<SmoothLddt> kSmoothLddtPortable = {
    "portable", Place::gpu, smooth_lddt_portable_refuses, smooth_lddt_portable::workspace_bytes,
    smooth_lddt_portable::launch};
#endif

}  // namespace megafold::kernels
