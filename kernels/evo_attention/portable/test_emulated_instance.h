// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/common/arch/host/launch.h"
#include "kernels/evo_attention/portable/launch.h"
#include "kernels/evo_attention/portable/test_emulated.h"

namespace megafold::kernels::evo_portable {

template <class Arch, class T>
void emulate_forward(const EvoAttentionForward& p, bool backwards) {
  with_head_dim(p.head_dim, [&]<int head_dim>() {
    start_forward<Config<T, head_dim>>(p, arch::host::StartEmulated<Arch>{backwards});
  });
}
template <class Arch, class T>
void emulate_backward(const EvoAttentionBackward& p, void* workspace, bool backwards) {
  with_head_dim(p.forward.head_dim, [&]<int head_dim>() {
    start_backward<Config<T, head_dim>>(p, workspace, arch::host::StartEmulated<Arch>{backwards});
  });
}

}  // namespace megafold::kernels::evo_portable
