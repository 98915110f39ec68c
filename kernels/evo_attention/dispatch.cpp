// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/evo_attention/implementations.h"
#ifdef MEGAFOLD_CUDA
#include "kernels/evo_attention/portable/portable.h"
#include "kernels/evo_attention/sm90a/sm90a.h"
#endif

namespace megafold::kernels {

const std::vector<Implementation<EvoAttentionForward>>& evo_attention_forward() {
  static const std::vector<Implementation<EvoAttentionForward>> list = {
#ifdef MEGAFOLD_CUDA
      kSm90aForward,
      kPortableForward,
#endif
      kEvoAttentionForwardCpu,
      kEvoAttentionForwardReference,
  };
  return list;
}

const std::vector<Implementation<EvoAttentionBackward>>& evo_attention_backward() {
  static const std::vector<Implementation<EvoAttentionBackward>> list = {
#ifdef MEGAFOLD_CUDA
      kSm90aBackward,
      kPortableBackward,
#endif
      kEvoAttentionBackwardCpu,
      kEvoAttentionBackwardReference,
  };
  return list;
}

Reasons evo_attention_reasons(const EvoAttentionForward& p) {
  Reasons reasons;
  const auto at_least = [&](const char* name, int64_t value, int64_t least) {
    if (value < least) {
      reasons.push_back(std::string(name) + " = " + std::to_string(value) + ", wanted " +
                        std::to_string(least) + " or more");
    }
  };
  at_least("batch", p.batch, 0);
  at_least("rows", p.rows, 0);
  at_least("heads", p.heads, 0);
  at_least("queries", p.queries, 0);
  at_least("keys", p.keys, 0);
  at_least("head_dim", p.head_dim, 1);
  at_least("key_total", p.key_total, 0);
  const bool empty = p.batch * p.rows * p.heads * p.queries == 0;
  if (!empty && (p.q == nullptr || p.out == nullptr)) reasons.emplace_back("q or out is null");
  if (!empty && p.keys > 0 && (p.k == nullptr || p.v == nullptr)) {
    reasons.emplace_back("k or v is null");
  }
  if (p.bias != nullptr && p.bias_dtype != p.dtype &&
      (p.bias_dtype != DType::f32 || p.dtype == DType::f64)) {
    reasons.push_back(std::string("bias is ") + name_of(p.bias_dtype) + " beside " +
                      name_of(p.dtype) + ", wanted the same or f32");
  }
  if (p.key_total == 0 && p.key_first != nullptr) {
    reasons.emplace_back("key_first without key_total");
  }
  return reasons;
}

Reasons evo_attention_reasons(const EvoAttentionBackward& p) {
  Reasons reasons = evo_attention_reasons(p.forward);
  const EvoAttentionForward& f = p.forward;
  if (f.batch * f.rows * f.heads * f.queries == 0) return reasons;
  if (f.lse == nullptr) reasons.emplace_back("the forward kept no lse");
  if (p.dout == nullptr || p.dq == nullptr) reasons.emplace_back("dout or dq is null");
  if (f.keys > 0 && (p.dk == nullptr || p.dv == nullptr)) reasons.emplace_back("dk or dv is null");
  if (p.dgate != nullptr && f.gate == nullptr) reasons.emplace_back("dgate without a gate");
  if (p.dbias != nullptr && f.bias == nullptr) reasons.emplace_back("dbias without a bias");
  return reasons;
}

}  // namespace megafold::kernels
