// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels of one element type on one emulated back end. Each test_emulated_*.cpp instantiates
// one, so that they compile side by side.
#pragma once

#include "kernels/evo_attention/evo_attention.h"

namespace megafold::kernels::evo_portable {

/// Arch: arch::host::Warp32 or Wave64; T: arch::Bf16, arch::F16, float. Any supported head width.
template <class Arch, class T>
void emulate_forward(const EvoAttentionForward&, bool backwards);
template <class Arch, class T>
void emulate_backward(const EvoAttentionBackward&, void* workspace, bool backwards);

}  // namespace megafold::kernels::evo_portable
