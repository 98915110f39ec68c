// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/layernorm/portable/portable.h"

#include "kernels/common/dispatch.h"
#include "kernels/layernorm/implementations.h"
#include "kernels/layernorm/portable/launch.h"
#ifdef MEGAFOLD_CUDA
#include "kernels/layernorm/portable/instance.h"
#endif

namespace megafold::kernels {

Reasons layernorm_portable_refuses(const LayerNormForward& p) {
  Reasons reasons = layernorm_reasons(p);
  if (p.dtype == DType::f64) reasons.emplace_back("dtype f64 (has f16, bf16, f32)");
  if (p.weight_dtype != p.dtype && p.weight_dtype != DType::f32) {
    reasons.push_back(std::string("weight dtype ") + name_of(p.weight_dtype) + " beside " +
                      name_of(p.dtype) + " (has the same or f32)");
  }
  if (p.channels > layernorm_portable::kMostChannels) {
    reasons.push_back(std::to_string(p.channels) + " channels (has up to " +
                      std::to_string(layernorm_portable::kMostChannels) + ")");
  }
  return reasons;
}

Reasons layernorm_portable_refuses(const LayerNormBackward& b) {
  return with_new(layernorm_portable_refuses(b.forward), layernorm_reasons(b));
}

#ifdef MEGAFOLD_CUDA
const Implementation<LayerNormForward> kLayerNormForwardPortable = {
    .name = "portable",
    .place = Place::gpu,
    .supports = [](const LayerNormForward& p) { return layernorm_portable_refuses(p); },
    .workspace_bytes = [](const LayerNormForward&) { return int64_t{0}; },
    .launch =
        [](const LayerNormForward& p, void*, Stream stream) {
          if (p.rows == 0) return;
          arch::with_element(p.dtype,
                             [&]<class T>() { layernorm_portable::launch_forward<T>(p, stream); });
        },
};
const Implementation<LayerNormBackward> kLayerNormBackwardPortable = {
    .name = "portable",
    .place = Place::gpu,
    .supports = [](const LayerNormBackward& b) { return layernorm_portable_refuses(b); },
    .workspace_bytes =
        [](const LayerNormBackward& b) { return layernorm_portable::backward_workspace(b); },
    .launch =
        [](const LayerNormBackward& b, void* workspace, Stream stream) {
          arch::with_element(b.forward.dtype, [&]<class T>() {
            layernorm_portable::launch_backward<T>(b, workspace, stream);
          });
        },
};
#endif

}  // namespace megafold::kernels
