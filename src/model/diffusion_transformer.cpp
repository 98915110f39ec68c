// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/diffusion_transformer.h"

#include "model/recompute.h"

namespace megafold {

DiffusionTransformer::DiffusionTransformer(const Scope& scope, const Conventions& conventions,
                                           ConditionedAttention::Over what, int64_t num_blocks,
                                           int64_t c_a, int64_t c_s, int64_t c_z, int64_t num_heads)
    : over(what), transition_masked(conventions.transitions_masked), heads(num_heads) {
  at::Tensor of_stack;
  if (!conventions.pair_norm_per_block) of_stack = scope.parameter("norm_z", {c_z}, {kOnes});
  for (int64_t i = 0; i < num_blocks; ++i) {
    const Scope block = scope / "blocks" / i;
    blocks.push_back(
        {ConditionedAttention(block / "attention_pair_bias", conventions, what, c_a, c_s, heads),
         of_stack.defined() ? of_stack
                            : (block / "attention_pair_bias").parameter("norm_z", {c_z}, {kOnes}),
         (block / "attention_pair_bias").parameter("bias", {heads, c_z}, {kLecun}),
         ConditionedTransition(block / "conditioned_transition", c_a, c_s, /*factor=*/2)});
  }
}

std::vector<at::Tensor> DiffusionTransformer::pair_biases(const at::Tensor& z) const {
  std::vector<at::Tensor> weights;
  for (const Block& block : blocks) weights.push_back(block.bias * block.norm_z);
  const at::Tensor weight = at::cat(weights), x = normalize(z).view({-1, z.size(-1)});
  auto shape = z.sizes().vec();
  shape.pop_back();
  shape.insert(shape.begin(), {static_cast<int64_t>(blocks.size()), heads});
  const at::Tensor parts = parts_of_rows(x, weight);  // [P, 256, c_z]
  const at::Tensor all =
      parts.defined()
          ? at::bmm(weight.unsqueeze(0).expand({parts.size(0), weight.size(0), weight.size(1)}),
                    parts.transpose(1, 2))
                .transpose(0, 1)
                .reshape(shape)
          : at::mm(weight, x.t()).view(shape);
  auto biases = all.unbind(0);
  if (over == ConditionedAttention::atoms)
    for (at::Tensor& bias : biases) bias = bias.transpose(0, 1);
  return biases;
}

at::Tensor DiffusionTransformer::operator()(at::Tensor a, const at::Tensor& s,
                                            const std::vector<at::Tensor>& biases,
                                            const at::Tensor& mask) const {
  Dropout none;
  const at::Tensor written = transition_masked ? mask : at::Tensor();
  for (size_t i = 0; i < blocks.size(); ++i)
    a = run_block({a, s, biases[i]}, none,
                  [&block = blocks[i], mask, written](const auto& x, Dropout&) {
                    const at::Tensor after = x[0] + block.attention(x[0], x[1], x[2], mask);
                    return std::vector<at::Tensor>{after + block.transition(after, x[1], written)};
                  })
            .front();
  return a;
}

}  // namespace megafold
