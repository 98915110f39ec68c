// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/evo_attention/portable/portable.h"

#include <algorithm>

#include "kernels/common/dispatch.h"
#include "kernels/evo_attention/implementations.h"
#include "kernels/evo_attention/portable/launch.h"
#ifdef MEGAFOLD_CUDA
#include "kernels/evo_attention/portable/instance.h"
#endif

namespace megafold::kernels {
namespace {

using evo_portable::with_head_dim;

constexpr int64_t kInt = (int64_t{1} << 31) - 1;

bool is_element(DType dtype) {
  return dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f32;
}

}  // namespace

Reasons evo_portable_refuses(const EvoAttentionForward& p) {
  Reasons reasons = evo_attention_reasons(p);
  const auto refuse = [&](bool when, const std::string& why) {
    if (when) {
      reasons.push_back(why);
    }
  };
  refuse(!is_element(p.dtype), std::string("dtype ") + name_of(p.dtype) + " (has f16, bf16, f32)");
  refuse(p.bias != nullptr && !is_element(p.bias_dtype),
         std::string("bias dtype ") + name_of(p.bias_dtype) + " (has f16, bf16, f32)");
  refuse(!with_head_dim(p.head_dim, []<int>() {}),
         "head_dim " + std::to_string(p.head_dim) + " (has 16, 24, 32, 48, 64, 128)");
  // Loops over tiles count in 32 bits.
  refuse(std::max({p.rows, p.queries, p.keys, p.key_total}) > kInt - 1024,
         "rows, queries or keys of 2^31 - 1024 or more");
  refuse(p.key_total != 0 && p.batch * ((p.queries + 15) / 16) > kInt,
         "windows with 2^35 queries or more");
  refuse(p.key_total != 0 && p.key_first == nullptr && p.key_step < 0,
         "key_step " + std::to_string(p.key_step) + ": windows that step backwards");
  return reasons;
}

Reasons evo_portable_refuses(const EvoAttentionBackward& b) {
  return with_new(evo_portable_refuses(b.forward), evo_attention_reasons(b));
}

#ifdef MEGAFOLD_CUDA
namespace {

/// Calls f.operator()<T, D>() for the call's types.
template <class F>
void with_config(const EvoAttentionForward& p, const F& f) {
  with_head_dim(p.head_dim, [&]<int head_dim>() {
    arch::with_element(p.dtype, [&]<class T>() { f.template operator()<T, head_dim>(); });
  });
}

template <class Params>
Reasons supports(const Params& p) {
  return evo_portable_refuses(p);
}

}  // namespace

const Implementation<EvoAttentionForward> kPortableForward = {
    .name = "portable",
    .place = Place::gpu,
    .supports = supports<EvoAttentionForward>,
    .workspace_bytes = [](const EvoAttentionForward&) { return int64_t{0}; },
    .launch =
        [](const EvoAttentionForward& p, void*, Stream stream) {
          with_config(p, [&]<class T, int head_dim>() {
            evo_portable::launch_forward<T, head_dim>(p, stream);
          });
        },
};
const Implementation<EvoAttentionBackward> kPortableBackward = {
    .name = "portable",
    .place = Place::gpu,
    .supports = supports<EvoAttentionBackward>,
    .workspace_bytes =
        [](const EvoAttentionBackward& b) { return evo_portable::backward_workspace(b.forward); },
    .launch =
        [](const EvoAttentionBackward& b, void* workspace, Stream stream) {
          with_config(b.forward, [&]<class T, int head_dim>() {
            evo_portable::launch_backward<T, head_dim>(b, workspace, stream);
          });
        },
};
#endif

}  // namespace megafold::kernels
