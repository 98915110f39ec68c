// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/evo_attention/portable/test_emulated_instance.h"

namespace megafold::kernels::evo_portable {
template void emulate_forward<arch::host::Warp32, arch::Bf16>(const EvoAttentionForward&, bool);
template void emulate_backward<arch::host::Warp32, arch::Bf16>(const EvoAttentionBackward&, void*,
                                                               bool);
}  // namespace megafold::kernels::evo_portable
