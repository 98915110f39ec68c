// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The emulated kernels behind the operation's own interface.
#include "kernels/evo_attention/portable/test_emulated.h"

#include "kernels/common/arch/host/isa.h"
#include "kernels/evo_attention/portable/launch.h"
#include "kernels/evo_attention/portable/portable.h"

namespace megafold::kernels {
namespace {

template <class Arch, bool backwards>
void forward(const EvoAttentionForward& p, void*, Stream) {
  if (p.dtype == DType::bf16) {
    evo_portable::emulate_forward<Arch, arch::Bf16>(p, backwards);
  } else if (p.dtype == DType::f16) {
    evo_portable::emulate_forward<Arch, arch::F16>(p, backwards);
  } else {
    evo_portable::emulate_forward<Arch, float>(p, backwards);
  }
}
template <class Arch, bool backwards>
void backward(const EvoAttentionBackward& b, void* workspace, Stream) {
  if (b.forward.dtype == DType::bf16) {
    evo_portable::emulate_backward<Arch, arch::Bf16>(b, workspace, backwards);
  } else if (b.forward.dtype == DType::f16) {
    evo_portable::emulate_backward<Arch, arch::F16>(b, workspace, backwards);
  } else {
    evo_portable::emulate_backward<Arch, float>(b, workspace, backwards);
  }
}

template <class Arch, bool backwards>
constexpr Implementation<EvoAttentionForward> forward_on(const char* name) {
  return {.name = name,
          .place = Place::cpu,
          .supports = evo_portable_refuses,
          .workspace_bytes = [](const EvoAttentionForward&) { return int64_t{0}; },
          .launch = forward<Arch, backwards>};
}
template <class Arch, bool backwards>
constexpr Implementation<EvoAttentionBackward> backward_on(const char* name) {
  return {
      .name = name,
      .place = Place::cpu,
      .supports = evo_portable_refuses,
      .workspace_bytes =
          [](const EvoAttentionBackward& b) { return evo_portable::backward_workspace(b.forward); },
      .launch = backward<Arch, backwards>};
}

}  // namespace

using arch::host::Warp32;
using arch::host::Wave64;
const Implementation<EvoAttentionForward> kHostEmulatedForward32 =
    forward_on<Warp32, false>("emulated32");
const Implementation<EvoAttentionForward> kHostEmulatedForward64 =
    forward_on<Wave64, false>("emulated64");
const Implementation<EvoAttentionForward> kHostEmulatedForward32Reversed =
    forward_on<Warp32, true>("emulated32 reversed");
const Implementation<EvoAttentionForward> kHostEmulatedForward64Reversed =
    forward_on<Wave64, true>("emulated64 reversed");
const Implementation<EvoAttentionBackward> kHostEmulatedBackward32 =
    backward_on<Warp32, false>("emulated32");
const Implementation<EvoAttentionBackward> kHostEmulatedBackward64 =
    backward_on<Wave64, false>("emulated64");
const Implementation<EvoAttentionBackward> kHostEmulatedBackward32Reversed =
    backward_on<Warp32, true>("emulated32 reversed");
const Implementation<EvoAttentionBackward> kHostEmulatedBackward64Reversed =
    backward_on<Wave64, true>("emulated64 reversed");

}  // namespace megafold::kernels
