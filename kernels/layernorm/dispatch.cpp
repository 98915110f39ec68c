// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/layernorm/implementations.h"
#ifdef MEGAFOLD_CUDA
#include "kernels/layernorm/portable/portable.h"
#endif

namespace megafold::kernels {

const std::vector<Implementation<LayerNormForward>>& layernorm_forward() {
  static const std::vector<Implementation<LayerNormForward>> list = {
#ifdef MEGAFOLD_CUDA
      kLayerNormForwardPortable,
#endif
      kLayerNormForwardCpu,
      kLayerNormForwardReference,
  };
  return list;
}

const std::vector<Implementation<LayerNormBackward>>& layernorm_backward() {
  static const std::vector<Implementation<LayerNormBackward>> list = {
#ifdef MEGAFOLD_CUDA
      kLayerNormBackwardPortable,
#endif
      kLayerNormBackwardCpu,
      kLayerNormBackwardReference,
  };
  return list;
}

Reasons layernorm_reasons(const LayerNormForward& p) {
  Reasons reasons;
  if (p.rows < 0) reasons.push_back("rows = " + std::to_string(p.rows) + ", wanted 0 or more");
  if (p.channels < 1)
    reasons.push_back("channels = " + std::to_string(p.channels) + ", wanted 1 or more");
  if (!(p.eps > 0)) reasons.push_back("eps = " + std::to_string(p.eps) + ", wanted more than 0");
  if (p.rows > 0 && p.x == nullptr) reasons.emplace_back("x is null");
  if (p.rows > 0 && (p.mean == nullptr) != (p.rstd == nullptr))
    reasons.emplace_back("mean and rstd go together");
  return reasons;
}

Reasons layernorm_reasons(const LayerNormBackward& p) {
  Reasons reasons = layernorm_reasons(p.forward);
  if (p.forward.rows == 0) return reasons;
  if (p.forward.mean == nullptr) reasons.emplace_back("the forward kept no mean and rstd");
  if (p.dy == nullptr || p.dx == nullptr) reasons.emplace_back("dy or dx is null");
  return reasons;
}

}  // namespace megafold::kernels
