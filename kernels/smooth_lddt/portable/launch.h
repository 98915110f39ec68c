// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The two launches of a call, on a GPU or in the emulator.
#pragma once

#include "kernels/smooth_lddt/portable/kernels.h"

namespace megafold::kernels::smooth_lddt_portable {

inline int64_t workspace_bytes(const SmoothLddt& p) {
  return (p.samples + 1) * p.atoms * 4;
}

/// Start: kWave, and a call operator that runs a kernel on so many blocks.
template <class Start>
void start(const SmoothLddt& p, void* workspace, const Start& start) {
  const Args args{p, static_cast<float*>(workspace)};
  start.template operator()<PairsKernel>(
      args, p.samples * PairsKernel::blocks_of_sample(p.atoms, Start::kWave));
  start.template operator()<SumKernel>(args, p.samples + 1);
}

}  // namespace megafold::kernels::smooth_lddt_portable
