// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/evo_attention/sm90a/backward_dkdv.cuh"
#include "kernels/evo_attention/sm90a/backward_dqdbias.cuh"
#include "kernels/evo_attention/sm90a/backward_prepare.cuh"

namespace megafold::kernels::sm90a {

template void launch_prepare<32>(PrepareArguments, Stream);
template void launch_dkdv<32>(const BackwardArguments&, int, Stream);
template void launch_dqdbias<32>(const BackwardArguments&, int, Stream);

}  // namespace megafold::kernels::sm90a
