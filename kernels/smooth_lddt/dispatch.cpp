// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/smooth_lddt/implementations.h"
#ifdef MEGAFOLD_CUDA
#include "kernels/smooth_lddt/portable/portable.h"
#endif

namespace megafold::kernels {

const std::vector<Implementation<SmoothLddt>>& smooth_lddt() {
  static const std::vector<Implementation<SmoothLddt>> list = {
#ifdef MEGAFOLD_CUDA
      kSmoothLddtPortable,
#endif
      kSmoothLddtCpu,
      kSmoothLddtReference,
  };
  return list;
}

Reasons smooth_lddt_reasons(const SmoothLddt& p) {
  Reasons reasons;
  if (p.samples < 1 || p.atoms < 1)
    reasons.push_back(std::to_string(p.samples) + " samples of " + std::to_string(p.atoms) +
                      " atoms, wanted 1 or more of both");
  if (p.atoms >= int64_t{1} << 31)
    reasons.push_back(std::to_string(p.atoms) + " atoms, wanted less than 2^31");
  if (!(p.epsilon >= 0))
    reasons.push_back("epsilon = " + std::to_string(p.epsilon) + ", wanted 0 or more");
  if (p.dtype != DType::f32 && p.dtype != DType::f64)
    reasons.push_back(std::string("dtype ") + name_of(p.dtype) + " (has f32, f64)");
  if (p.x == nullptr || p.x_true == nullptr || p.radius == nullptr)
    reasons.emplace_back("x, x_true or radius is null");
  if (p.score == nullptr || p.gradient == nullptr || p.pairs == nullptr)
    reasons.emplace_back("score, gradient or pairs is null");
  return reasons;
}

}  // namespace megafold::kernels
