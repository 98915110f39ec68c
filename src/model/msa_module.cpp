// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/msa_module.h"

#include <numbers>

#include "model/recompute.h"

namespace megafold {

at::Tensor msa_features(const at::Tensor& msa, const at::Tensor& deletion) {
  return at::cat({at::one_hot(msa, 32).to(deletion.scalar_type()),
                  deletion.gt(0).to(deletion.scalar_type()).unsqueeze(-1),
                  (at::atan(deletion / 3) * (2 / std::numbers::pi)).unsqueeze(-1)},
                 -1);
}

MsaModule::MsaModule(const Scope& scope, const Conventions& conventions, const ModelConfig& c,
                     int64_t c_s_inputs)
    : dropout(c.msa_dropout),
      transition_masked(conventions.transitions_masked),
      averaging_reads_pair_mask(conventions.averaging_reads_pair_mask),
      embed(scope / "embed", 34, c.c_m),
      embed_single(scope / "embed_single", c_s_inputs, c.c_m) {
  for (int64_t i = 0; i < c.msa_blocks; ++i) {
    const Scope block = scope / "blocks" / i;
    blocks.push_back(
        {OuterProductMean(block / "outer_product_mean", c.c_m, c.c_z, c.outer_product_width),
         {},
         {},
         PairStack(block / "pair_stack", conventions, PairSizes::of(c))});
    if (i + 1 == c.msa_blocks) continue;
    blocks.back().averaging.emplace(block / "averaging", c.c_m, c.c_z, c.msa_heads,
                                    c.msa_head_width);
    blocks.back().transition.emplace(block / "msa_transition", c.c_m, c.transition_factor);
  }
}

at::Tensor MsaModule::operator()(const at::Tensor& features, const at::Tensor& s_inputs,
                                 at::Tensor z, const at::Tensor& msa_mask,
                                 const at::Tensor& token_mask, const at::Tensor& pair_mask,
                                 Dropout& drop) const {
  if (blocks.empty()) return z;
  return stack(embed(features) + embed_single(s_inputs), std::move(z), msa_mask, token_mask,
               pair_mask, drop);
}

at::Tensor MsaModule::stack(at::Tensor m, at::Tensor z, const at::Tensor& msa_mask,
                            const at::Tensor& token_mask, const at::Tensor& pair_mask,
                            Dropout& drop) const {
  const at::Tensor averaged = averaging_reads_pair_mask ? pair_mask : token_mask;
  for (const Block& block : blocks) {
    auto after = run_block({m, z}, drop, [=, this, &block](const auto& x, Dropout& d) {
      at::Tensor rows = x[0], pairs = x[1] + block.outer_product_mean(x[0], msa_mask);
      if (block.averaging) {
        rows = rows + d.rowwise((*block.averaging)(rows, pairs, averaged), dropout);
        rows = rows + (*block.transition)(rows, transition_masked ? msa_mask : at::Tensor());
      }
      return std::vector<at::Tensor>{rows, block.pair(pairs, pair_mask, d)};
    });
    m = std::move(after[0]);
    z = std::move(after[1]);
  }
  return z;
}

}  // namespace megafold
