// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/evo_attention/evo_attention.h"

namespace megafold::kernels {

extern const Implementation<EvoAttentionForward> kEvoAttentionForwardReference;
extern const Implementation<EvoAttentionBackward> kEvoAttentionBackwardReference;
extern const Implementation<EvoAttentionForward> kEvoAttentionForwardCpu;
extern const Implementation<EvoAttentionBackward> kEvoAttentionBackwardCpu;

/// What the operation itself asks of a call, whoever runs it: sizes, dtypes, pointers.
Reasons evo_attention_reasons(const EvoAttentionForward& p);
Reasons evo_attention_reasons(const EvoAttentionBackward& p);

/// The token of key j of batch b (of window b), which may lie outside 0 .. key_total - 1.
inline int64_t key_token(const EvoAttentionForward& p, int64_t b, int64_t j) {
  if (p.key_total == 0) return j;
  return (p.key_first != nullptr ? p.key_first[b] : p.key_offset + b * p.key_step) + j;
}

/// How many tokens k, v, dk and dv have along their token dimension.
inline int64_t key_tokens(const EvoAttentionForward& p) {
  return p.key_total == 0 ? p.keys : p.key_total;
}

/// The first element of row r and head h in batch b of a [B, R, N, H, D] tensor. In windows, k and
/// v have no batch dimension: `b` is 0 there.
inline int64_t start_of(const TokenStrides& s, int64_t b, int64_t r, int64_t h) {
  return b * s.batch + r * s.row + h * s.head;
}

}  // namespace megafold::kernels
