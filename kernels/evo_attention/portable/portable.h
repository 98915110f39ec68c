// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention on any GPU from sm_80 on: every head width, type, stride, mask and window that the
// operation allows. The same source, run by the emulator on the CPU, serves the tests.
#pragma once

#include "kernels/evo_attention/evo_attention.h"

namespace megafold::kernels {

/// What the portable kernels cannot take, wherever they run.
Reasons evo_portable_refuses(const EvoAttentionForward&);
Reasons evo_portable_refuses(const EvoAttentionBackward&);

#ifdef MEGAFOLD_CUDA
extern const Implementation<EvoAttentionForward> kPortableForward;
extern const Implementation<EvoAttentionBackward> kPortableBackward;
#endif

/// The portable source on the CPU, at warp 32 with sm80's fragments and at wave 64 with CDNA's; the
/// `Reversed` ones resume threads last to first. For tests only: a thousand times too slow.
/// Linked into the test program alone (portable/test_emulated*.cpp).
extern const Implementation<EvoAttentionForward> kHostEmulatedForward32, kHostEmulatedForward64;
extern const Implementation<EvoAttentionForward> kHostEmulatedForward32Reversed,
    kHostEmulatedForward64Reversed;
extern const Implementation<EvoAttentionBackward> kHostEmulatedBackward32, kHostEmulatedBackward64;
extern const Implementation<EvoAttentionBackward> kHostEmulatedBackward32Reversed,
    kHostEmulatedBackward64Reversed;

}  // namespace megafold::kernels
