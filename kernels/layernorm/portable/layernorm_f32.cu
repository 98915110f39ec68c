// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/layernorm/portable/instance.h"

namespace megafold::kernels::layernorm_portable {
template void launch_forward<float>(const LayerNormForward&, Stream);
template void launch_backward<float>(const LayerNormBackward&, void*, Stream);
}  // namespace megafold::kernels::layernorm_portable
