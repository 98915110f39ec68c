// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/evo_attention/portable/instance.h"

namespace megafold::kernels::evo_portable {
template void launch_backward<float, 16>(const EvoAttentionBackward&, void*, Stream);
}  // namespace megafold::kernels::evo_portable
