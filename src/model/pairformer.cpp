// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/pairformer.h"

#include "model/recompute.h"

namespace megafold {

PairSizes PairSizes::of(const ModelConfig& c) {
  return {c.c_z,
          c.triangle_multiplication_width,
          c.triangle_attention_heads,
          c.triangle_attention_width,
          c.transition_factor,
          c.pair_dropout};
}

PairStack::PairStack(const Scope& scope, const Conventions& conventions, const PairSizes& sizes)
    : dropout(sizes.dropout),
      transition_masked(conventions.transitions_masked),
      multiplication_out(scope / "triangle_multiplication_out", TriangleMultiplication::outgoing,
                         sizes.c_z, sizes.multiplication_width),
      multiplication_in(scope / "triangle_multiplication_in", TriangleMultiplication::incoming,
                        sizes.c_z, sizes.multiplication_width),
      attention_start(scope / "triangle_attention_start", conventions, TriangleAttention::starting,
                      sizes.c_z, sizes.attention_heads, sizes.attention_width),
      attention_end(scope / "triangle_attention_end", conventions, TriangleAttention::ending,
                    sizes.c_z, sizes.attention_heads, sizes.attention_width),
      transition(scope / "pair_transition", sizes.c_z, sizes.transition_factor) {}

at::Tensor PairStack::operator()(at::Tensor z, const at::Tensor& mask, Dropout& drop) const {
  z = z + drop.rowwise(multiplication_out(z, mask), dropout);
  z = z + drop.rowwise(multiplication_in(z, mask), dropout);
  z = z + drop.rowwise(attention_start(z, mask), dropout);
  z = z + drop.columnwise(attention_end(z, mask), dropout);
  return z + transition(z, transition_masked ? mask : at::Tensor());
}

PairformerBlock::PairformerBlock(const Scope& scope, const Conventions& conventions,
                                 const PairSizes& sizes, int64_t c_s, int64_t single_heads,
                                 int64_t single_factor)
    : pair(scope, conventions, sizes),
      attention(scope / "attention_pair_bias", c_s, sizes.c_z, single_heads),
      transition(scope / "single_transition", c_s, single_factor) {}

void PairformerBlock::operator()(at::Tensor& s, at::Tensor& z, const at::Tensor& token_mask,
                                 const at::Tensor& pair_mask, Dropout& drop) const {
  z = pair(z, pair_mask, drop);
  s = s + attention(s, z, token_mask);
  s = s + transition(s, pair.transition_masked ? token_mask : at::Tensor());
}

PairformerStack::PairformerStack(const Scope& scope, const Conventions& conventions,
                                 const PairSizes& sizes, int64_t c_s, int64_t single_heads,
                                 int64_t num_blocks, int64_t single_factor) {
  for (int64_t i = 0; i < num_blocks; ++i)
    blocks.emplace_back(scope / "blocks" / i, conventions, sizes, c_s, single_heads, single_factor);
}

void PairformerStack::operator()(at::Tensor& s, at::Tensor& z, const at::Tensor& token_mask,
                                 const at::Tensor& pair_mask, Dropout& drop) const {
  for (const PairformerBlock& block : blocks) {
    auto after =
        run_block({s, z}, drop, [&block, token_mask, pair_mask](const auto& x, Dropout& d) {
          std::vector<at::Tensor> sz = x;
          block(sz[0], sz[1], token_mask, pair_mask, d);
          return sz;
        });
    s = std::move(after[0]);
    z = std::move(after[1]);
  }
}

}  // namespace megafold
