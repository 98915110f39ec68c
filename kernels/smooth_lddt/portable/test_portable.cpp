// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The portable kernels through the emulator, at warp 32 and wave 64, against fp64; both orders of
// threads must give the same bits. src/ops/smooth_lddt_test.cpp runs them on a GPU, where there is
// one.
#include "kernels/common/arch/host/launch.h"
#include "kernels/smooth_lddt/portable/launch.h"
#include "kernels/smooth_lddt/portable/portable.h"
#include "kernels/smooth_lddt/test_case.h"

namespace megafold::kernels::smooth_lddt_test {
namespace {

template <class Arch, bool backwards>
const Implementation<SmoothLddt> kEmulated = {
    "emulated", Place::cpu, smooth_lddt_portable_refuses, smooth_lddt_portable::workspace_bytes,
    [](const SmoothLddt& p, void* workspace, Stream) {
      smooth_lddt_portable::start(p, workspace, arch::host::StartEmulated<Arch>{backwards});
    }};

template <class Arch>
void check() {
  for (const int64_t samples : {1, 3})
    for (const int64_t atoms : {1, 2, 64, 130, 257})
      for (const double epsilon : {0.0, 1e-8}) {
        SCOPED_TRACE(testing::Message()
                     << "S=" << samples << " A=" << atoms << " epsilon=" << epsilon);
        Case ours(DType::f32, samples, atoms, epsilon);
        ours.run(kEmulated<Arch, false>);
        expect_equals_reference(ours, 3e-6);
        Case again(DType::f32, samples, atoms, epsilon);
        again.run(kEmulated<Arch, true>);
        EXPECT_EQ(ours.score, again.score);
        EXPECT_EQ(ours.gradient, again.gradient);
      }
}

TEST(SmoothLddtPortable, Warp32_EqualsReference) {
  check<arch::host::Warp32>();
}
TEST(SmoothLddtPortable, Wave64_EqualsReference) {
  check<arch::host::Wave64>();
}

TEST(SmoothLddtPortable, SaysWhyItRefuses) {
  const Case c(DType::f64, 2, 5);
  EXPECT_EQ(smooth_lddt_portable_refuses(c.params), Reasons{"dtype f64 (has f32)"});
}

}  // namespace
}  // namespace megafold::kernels::smooth_lddt_test
