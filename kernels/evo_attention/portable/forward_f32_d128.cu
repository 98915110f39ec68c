// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/evo_attention/portable/instance.h"

namespace megafold::kernels::evo_portable {
template void launch_forward<float, 128>(const EvoAttentionForward&, Stream);
}  // namespace megafold::kernels::evo_portable
