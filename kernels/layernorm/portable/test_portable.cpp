// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The portable kernels through the emulator, at warp 32 and wave 64, against fp64; both orders of
// threads must give the same bits. src/ops/layernorm_test.cpp runs them on a GPU, where there is
// one.
#include "kernels/common/arch/host/launch.h"
#include "kernels/layernorm/portable/launch.h"
#include "kernels/layernorm/portable/portable.h"
#include "kernels/layernorm/test_case.h"

namespace megafold::kernels::layernorm_test {
namespace {

template <class F>
void with_element(DType dtype, const F& f) {
  if (dtype == DType::bf16) {
    f.template operator()<arch::Bf16>();
  } else if (dtype == DType::f16) {
    f.template operator()<arch::F16>();
  } else {
    f.template operator()<float>();
  }
}

template <class Arch, bool backwards>
const Implementation<LayerNormForward> kForward = {
    .name = "emulated",
    .place = Place::cpu,
    .supports = [](const LayerNormForward& p) { return layernorm_portable_refuses(p); },
    .workspace_bytes = [](const LayerNormForward&) { return int64_t{0}; },
    .launch =
        [](const LayerNormForward& p, void*, Stream) {
          with_element(p.dtype, [&]<class T>() {
            layernorm_portable::start_forward<T>(p, arch::host::StartEmulated<Arch>{backwards});
          });
        },
};
template <class Arch, bool backwards>
const Implementation<LayerNormBackward> kBackward = {
    .name = "emulated",
    .place = Place::cpu,
    .supports = [](const LayerNormBackward& b) { return layernorm_portable_refuses(b); },
    .workspace_bytes =
        [](const LayerNormBackward& b) { return layernorm_portable::backward_workspace(b); },
    .launch =
        [](const LayerNormBackward& b, void* workspace, Stream) {
          with_element(b.forward.dtype, [&]<class T>() {
            layernorm_portable::start_backward<T>(b, workspace,
                                                  arch::host::StartEmulated<Arch>{backwards});
          });
        },
};

struct Parameter {
  DType dtype, weight;
};
class LayerNormPortable : public testing::TestWithParam<Parameter> {
 protected:
  template <class Arch>
  void check() {
    const auto [dtype, weight] = GetParam();
    for (const int64_t m : {1, 15, 133})
      for (const int64_t c : {1, 7, 16, 64, 129, 384, 1000})
        for (const bool scale : {true, false}) {
          if (m > 15 && c > 384) continue;    // seconds, and nothing new
          const int64_t gap = scale ? 0 : 3;  // 3: no access wider than an element is aligned
          SCOPED_TRACE(testing::Message() << "M=" << m << " C=" << c << " scale=" << scale);
          const bool offset = scale || c % 2 == 0;
          Case ours(dtype, weight, m, c, gap, scale, offset);
          ours.run(kForward<Arch, false>, kBackward<Arch, false>);
          // Sums of fp32 in another order than the CPU's; of one channel they cancel.
          expect_equals_reference(ours, scale, offset, 3e-6);
          Case again(dtype, weight, m, c, gap, scale, offset);
          again.run(kForward<Arch, true>, kBackward<Arch, true>);
          EXPECT_EQ(ours.y.bytes, again.y.bytes);
          EXPECT_EQ(ours.dx.bytes, again.dx.bytes);
          EXPECT_EQ(ours.dgamma.bytes, again.dgamma.bytes);
          EXPECT_EQ(ours.dbeta.bytes, again.dbeta.bytes);
        }
  }
};

TEST_P(LayerNormPortable, Warp32_EqualsReference) {
  check<arch::host::Warp32>();
}
TEST_P(LayerNormPortable, Wave64_EqualsReference) {
  check<arch::host::Wave64>();
}
INSTANTIATE_TEST_SUITE_P(
    Types, LayerNormPortable,
    testing::Values(Parameter{DType::f32, DType::f32}, Parameter{DType::bf16, DType::f32},
                    Parameter{DType::bf16, DType::bf16}, Parameter{DType::f16, DType::f16}),
    [](const auto& test) {
      return std::string(name_of(test.param.dtype)) + "_" + name_of(test.param.weight);
    });

TEST(LayerNormPortable, SaysWhyItRefuses) {
  Case c(DType::f32, DType::f32, 2, 1025, 0, true, true);
  EXPECT_EQ(layernorm_portable_refuses(c.forward), Reasons{"1025 channels (has up to 1024)"});
  c.forward.dtype = DType::f64;
  c.forward.channels = 8;
  EXPECT_EQ(layernorm_portable_refuses(c.forward), Reasons{"dtype f64 (has f16, bf16, f32)"});
  c.forward.dtype = DType::bf16;
  c.forward.weight_dtype = DType::f16;
  EXPECT_EQ(layernorm_portable_refuses(c.forward),
            Reasons{"weight dtype f16 beside bf16 (has the same or f32)"});
}

}  // namespace
}  // namespace megafold::kernels::layernorm_test
