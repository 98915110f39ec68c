// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/import_protenix.h"

#include <algorithm>
#include <set>

#include "base/errors.h"

namespace megafold {
namespace {

/// A tensor `leaf` of a module whose scope's last word contains `module`.
struct LeafRule {
  std::string_view module, leaf;
  std::vector<std::string_view> theirs;
  int64_t dimension = 0;
  std::vector<int64_t> widths = {};
};

const std::vector<LeafRule>& leaf_rules() {
  static const std::vector<LeafRule> rules = {
      {"conditioned_transition", "norm.norm_s.weight", {"adaln.layernorm_s.weight"}},
      {"conditioned_transition", "norm.gate.weight", {"adaln.linear_s.weight"}},
      {"conditioned_transition", "norm.gate.bias", {"adaln.linear_s.bias"}},
      {"conditioned_transition", "norm.shift.weight", {"adaln.linear_nobias_s.weight"}},
      {"conditioned_transition", "expand", {"linear_nobias_a1.weight", "linear_nobias_a2.weight"}},
      {"conditioned_transition", "contract", {"linear_nobias_b.weight"}},
      {"conditioned_transition", "gate.weight", {"linear_s.weight"}},
      {"conditioned_transition", "gate.bias", {"linear_s.bias"}},
      {"transition", "norm.weight", {"layernorm1.weight"}},
      {"transition", "norm.bias", {"layernorm1.bias"}},
      {"transition", "expand", {"linear_no_bias_a.weight", "linear_no_bias_b.weight"}},
      {"transition", "contract", {"linear_no_bias.weight"}},
      {"triangle_multiplication", "norm_in.weight", {"layer_norm_in.weight"}},
      {"triangle_multiplication", "norm_in.bias", {"layer_norm_in.bias"}},
      {"triangle_multiplication", "norm_out.weight", {"layer_norm_out.weight"}},
      {"triangle_multiplication", "norm_out.bias", {"layer_norm_out.bias"}},
      {"triangle_multiplication",
       "project",
       {"linear_a_p.weight", "linear_b_p.weight", "linear_a_g.weight", "linear_b_g.weight"}},
      {"triangle_multiplication", "gate.weight", {"linear_g.weight"}},
      {"triangle_multiplication", "out.weight", {"linear_z.weight"}},
      {"triangle_attention", "norm.weight", {"layer_norm.weight"}},
      {"triangle_attention", "norm.bias", {"layer_norm.bias"}},
      {"triangle_attention", "bias.weight", {"linear.weight"}},
      {"triangle_attention",
       "attention.query_gate",
       {"mha.linear_q.weight", "mha.linear_g.weight"}},
      {"triangle_attention", "attention.key_value", {"mha.linear_k.weight", "mha.linear_v.weight"}},
      {"triangle_attention", "attention.out", {"mha.linear_o.weight"}},
      {"attention_pair_bias", "norm_a.weight", {"layernorm_a.weight"}},
      {"attention_pair_bias", "norm_a.bias", {"layernorm_a.bias"}},
      {"attention_pair_bias", "norm_a.norm_s.weight", {"layernorm_a.layernorm_s.weight"}},
      {"attention_pair_bias", "norm_a.gate.weight", {"layernorm_a.linear_s.weight"}},
      {"attention_pair_bias", "norm_a.gate.bias", {"layernorm_a.linear_s.bias"}},
      {"attention_pair_bias", "norm_a.shift.weight", {"layernorm_a.linear_nobias_s.weight"}},
      {"attention_pair_bias", "norm_kv.norm_s.weight", {"layernorm_kv.layernorm_s.weight"}},
      {"attention_pair_bias", "norm_kv.gate.weight", {"layernorm_kv.linear_s.weight"}},
      {"attention_pair_bias", "norm_kv.gate.bias", {"layernorm_kv.linear_s.bias"}},
      {"attention_pair_bias", "norm_kv.shift.weight", {"layernorm_kv.linear_nobias_s.weight"}},
      {"attention_pair_bias", "norm_z.weight", {"layernorm_z.weight"}},
      {"attention_pair_bias", "norm_z.bias", {"layernorm_z.bias"}},
      {"attention_pair_bias", "norm_z", {"layernorm_z.weight"}},
      {"attention_pair_bias", "bias.weight", {"linear_nobias_z.weight"}},
      {"attention_pair_bias", "bias", {"linear_nobias_z.weight"}},
      {"attention_pair_bias",
       "attention.query_gate",
       {"attention.linear_q.weight", "attention.linear_g.weight"}},
      {"attention_pair_bias",
       "attention.key_value",
       {"attention.linear_k.weight", "attention.linear_v.weight"}},
      {"attention_pair_bias", "attention.query_bias", {"attention.linear_q.bias"}},
      {"attention_pair_bias", "attention.out", {"attention.linear_o.weight"}},
      {"attention_pair_bias", "gate.weight", {"linear_a_last.weight"}},
      {"attention_pair_bias", "gate.bias", {"linear_a_last.bias"}},
      {"outer_product_mean", "norm.weight", {"layer_norm.weight"}},
      {"outer_product_mean", "norm.bias", {"layer_norm.bias"}},
      {"outer_product_mean", "project", {"linear_1.weight", "linear_2.weight"}},
      {"outer_product_mean", "out.weight", {"linear_out.weight"}},
      {"outer_product_mean", "out.bias", {"linear_out.bias"}},
      {"averaging", "norm_m.weight", {"layernorm_m.weight"}},
      {"averaging", "norm_m.bias", {"layernorm_m.bias"}},
      {"averaging", "norm_z.weight", {"layernorm_z.weight"}},
      {"averaging", "norm_z.bias", {"layernorm_z.bias"}},
      {"averaging", "value_gate", {"linear_no_bias_mv.weight", "linear_no_bias_mg.weight"}},
      {"averaging", "bias.weight", {"linear_no_bias_z.weight"}},
      {"averaging", "out.weight", {"linear_no_bias_out.weight"}},
      {"msa_module", "embed.weight", {"linear_no_bias_m.weight"}},
      {"msa_module", "embed_single.weight", {"linear_no_bias_s.weight"}},
      {"atom_encoder",
       "embed_single.weight",
       {"linear_no_bias_ref_pos.weight", "linear_no_bias_ref_charge.weight",
        "linear_no_bias_f.weight"},
       1,
       {3, 1, 385}},
      {"atom_encoder",
       "embed_pair.weight",
       {"linear_no_bias_d.weight", "linear_no_bias_invd.weight", "linear_no_bias_v.weight"},
       1,
       {3, 1, 1}},
      {"atom_encoder", "norm_s.weight", {"layernorm_s.weight"}},
      {"atom_encoder", "norm_z.weight", {"layernorm_z.weight"}},
      {"atom_encoder", "single.weight", {"linear_no_bias_s.weight"}},
      {"atom_encoder", "pair.weight", {"linear_no_bias_z.weight"}},
      {"atom_encoder", "position.weight", {"linear_no_bias_r.weight"}},
      {"atom_encoder", "pair_from_query.weight", {"linear_no_bias_cl.weight"}},
      {"atom_encoder", "pair_from_key.weight", {"linear_no_bias_cm.weight"}},
      {"atom_encoder", "pair_mlp.0.weight", {"small_mlp.1.weight"}},
      {"atom_encoder", "pair_mlp.1.weight", {"small_mlp.3.weight"}},
      {"atom_encoder", "pair_mlp.2.weight", {"small_mlp.5.weight"}},
      {"atom_encoder", "to_token.weight", {"linear_no_bias_q.weight"}},
      {"atom_decoder", "from_token.weight", {"linear_no_bias_a.weight"}},
      {"atom_decoder", "norm.weight", {"layernorm_q.weight"}},
      {"atom_decoder", "out.weight", {"linear_no_bias_out.weight"}},
      {"conditioning", "relative_position.weight", {"relpe.linear_no_bias.weight"}},
      {"conditioning", "norm_z.weight", {"layernorm_z.weight"}},
      {"conditioning", "norm_s.weight", {"layernorm_s.weight"}},
      {"conditioning", "norm_noise.weight", {"layernorm_n.weight"}},
      {"conditioning", "pair.weight", {"linear_no_bias_z.weight"}},
      {"conditioning", "single.weight", {"linear_no_bias_s.weight"}},
      {"conditioning", "noise.weight", {"linear_no_bias_n.weight"}},
      {"fourier", "w", {"w"}},
      {"fourier", "b", {"b"}},
      {"diffusion", "norm_s.weight", {"layernorm_s.weight"}},
      {"diffusion", "single.weight", {"linear_no_bias_s.weight"}},
      {"diffusion", "norm_a.weight", {"layernorm_a.weight"}},
      {"distogram", "linear.weight", {"linear.weight"}},
      {"distogram", "linear.bias", {"linear.bias"}},
      {"template_embedder", "norm_z.weight", {"layernorm_z.weight"}},
      {"template_embedder", "norm_z.bias", {"layernorm_z.bias"}},
      {"template_embedder", "norm_v.weight", {"layernorm_v.weight"}},
      {"template_embedder", "norm_v.bias", {"layernorm_v.bias"}},
      {"template_embedder", "pair.weight", {"linear_no_bias_z.weight"}},
      {"template_embedder", "embed.weight", {"linear_no_bias_a.weight"}},
      {"template_embedder", "out.weight", {"linear_no_bias_u.weight"}},
      {"confidence", "norm_s.weight", {"input_strunk_ln.weight"}},
      {"confidence", "norm_s.bias", {"input_strunk_ln.bias"}},
      {"confidence", "pair_from_column.weight", {"linear_no_bias_s1.weight"}},
      {"confidence", "pair_from_row.weight", {"linear_no_bias_s2.weight"}},
      {"confidence", "distance_bin.weight", {"linear_no_bias_d.weight"}},
      {"confidence", "distance.weight", {"linear_no_bias_d_wo_onehot.weight"}},
      {"confidence", "norm_pae.weight", {"pae_ln.weight"}},
      {"confidence", "norm_pae.bias", {"pae_ln.bias"}},
      {"confidence", "norm_pde.weight", {"pde_ln.weight"}},
      {"confidence", "norm_pde.bias", {"pde_ln.bias"}},
      {"confidence", "norm_plddt.weight", {"plddt_ln.weight"}},
      {"confidence", "norm_plddt.bias", {"plddt_ln.bias"}},
      {"confidence", "norm_resolved.weight", {"resolved_ln.weight"}},
      {"confidence", "norm_resolved.bias", {"resolved_ln.bias"}},
      {"confidence", "pae.weight", {"linear_no_bias_pae.weight"}},
      {"confidence", "pde.weight", {"linear_no_bias_pde.weight"}},
      {"confidence", "plddt", {"plddt_weight"}},
      {"confidence", "resolved", {"resolved_weight"}},
      {"confidence", "lower_bins", {"lower_bins"}},
      {"confidence", "upper_bins", {"upper_bins"}},
      {"relative_position", "weight", {"linear_no_bias.weight"}},
      {"", "single_init.weight", {"linear_no_bias_sinit.weight"}},
      {"", "pair_init_row.weight", {"linear_no_bias_zinit1.weight"}},
      {"", "pair_init_column.weight", {"linear_no_bias_zinit2.weight"}},
      {"", "token_bond.weight", {"linear_no_bias_token_bond.weight"}},
      {"", "recycle_pair.weight", {"linear_no_bias_z_cycle.weight"}},
      {"", "recycle_single.weight", {"linear_no_bias_s.weight"}},
      {"", "recycle_norm_z.weight", {"layernorm_z_cycle.weight"}},
      {"", "recycle_norm_z.bias", {"layernorm_z_cycle.bias"}},
      {"", "recycle_norm_s.weight", {"layernorm_s.weight"}},
      {"", "recycle_norm_s.bias", {"layernorm_s.bias"}},
  };
  return rules;
}

/// Words of a scope, and the peer's; the first that fits from the left is taken.
constexpr std::pair<std::string_view, std::string_view> kScopes[] = {
    {"conditioning.pair_transition.0", "diffusion_conditioning.transition_z1"},
    {"conditioning.pair_transition.1", "diffusion_conditioning.transition_z2"},
    {"conditioning.single_transition.0", "diffusion_conditioning.transition_s1"},
    {"conditioning.single_transition.1", "diffusion_conditioning.transition_s2"},
    {"conditioning", "diffusion_conditioning"},
    {"fourier", "fourier_embedding"},
    {"atom_encoder", "atom_attention_encoder"},
    {"atom_decoder", "atom_attention_decoder"},
    {"atom_transformer", "atom_transformer.diffusion_transformer"},
    {"transformer", "diffusion_transformer"},
    {"conditioned_transition", "conditioned_transition_block"},
    {"triangle_multiplication_out", "tri_mul_out"},
    {"triangle_multiplication_in", "tri_mul_in"},
    {"triangle_attention_start", "tri_att_start"},
    {"triangle_attention_end", "tri_att_end"},
    {"outer_product_mean", "outer_product_mean_msa"},
    {"averaging", "msa_stack.msa_pair_weighted_averaging"},
    {"msa_transition", "msa_stack.transition_m"},
    {"template_embedder.blocks", "template_embedder.pairformer_stack.blocks"},
    {"pairformer", "pairformer_stack"},
    {"diffusion", "diffusion_module"},
    {"distogram", "distogram_head"},
    {"confidence", "confidence_head"},
    {"relative_position", "relative_position_encoding"},
};

bool starts_with_words(std::string_view text, std::string_view words) {
  return text.starts_with(words) && (text.size() == words.size() || text[words.size()] == '.');
}

std::string peer_scope(std::string_view scope) {
  std::string out;
  while (!scope.empty()) {
    const auto* const rule = std::ranges::find_if(
        kScopes, [&](const auto& r) { return starts_with_words(scope, r.first); });
    const std::string_view ours =
        rule != std::end(kScopes) ? rule->first : scope.substr(0, scope.find('.'));
    out += rule != std::end(kScopes) ? rule->second : ours;
    out += '.';
    scope.remove_prefix(std::min(scope.size(), ours.size() + 1));
  }
  return out;
}

/// The last word of a scope that is no number.
std::string_view last_word(std::string_view scope) {
  for (;;) {
    const size_t dot = scope.rfind('.');
    const std::string_view word = dot == std::string_view::npos ? scope : scope.substr(dot + 1);
    if (dot == std::string_view::npos ||
        !std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; }))
      return word;
    scope = scope.substr(0, dot);
  }
}

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace

PeerTensors protenix_names(std::string_view ours) {
  for (const LeafRule& rule : leaf_rules()) {
    if (!ours.ends_with(rule.leaf)) continue;
    std::string_view scope = ours.substr(0, ours.size() - rule.leaf.size());
    if (!scope.empty() && !scope.ends_with('.')) continue;
    if (!scope.empty()) scope.remove_suffix(1);
    const bool fits = rule.module.empty()
                          ? scope.empty()
                          : last_word(scope).find(rule.module) != std::string_view::npos;
    if (!fits) continue;
    PeerTensors out{{}, rule.dimension, rule.widths};
    for (const std::string_view theirs : rule.theirs)
      out.names.push_back(peer_scope(scope) + std::string(theirs));
    return out;
  }
  fail<BadInput>("tensor '{}' has no counterpart in Protenix", ours);
}

std::vector<std::pair<std::string, at::Tensor>> split_for_protenix(std::string_view ours,
                                                                   const at::Tensor& tensor) {
  const PeerTensors peers = protenix_names(ours);
  const auto count = static_cast<int64_t>(peers.names.size());
  const auto parts = peers.widths.empty() ? tensor.tensor_split(count, peers.dimension)
                                          : tensor.split_with_sizes(peers.widths, peers.dimension);
  std::vector<std::pair<std::string, at::Tensor>> out;
  for (size_t i = 0; i < peers.names.size(); ++i) out.emplace_back(peers.names[i], parts[i]);
  return out;
}

void import_protenix(Parameters& parameters,
                     const std::function<at::Tensor(const std::string&)>& find,
                     const std::vector<std::string>& known, std::string_view skip_prefix) {
  std::set<std::string> left(known.begin(), known.end());
  for (const Parameters::Entry& entry : parameters.entries()) {
    const PeerTensors peers = protenix_names(entry.name);
    std::vector<at::Tensor> parts;
    for (std::string name : peers.names) {
      if (name.starts_with(skip_prefix)) name.erase(0, skip_prefix.size());
      parts.push_back(find(name));
      if (!parts.back().defined())
        fail<BadInput>("the checkpoint lacks '{}', which '{}' needs", name, entry.name);
      left.erase(name);
    }
    for (size_t i = 0; i < parts.size(); ++i) {
      auto expected = entry.tensor.sizes().vec();
      const auto d = static_cast<size_t>(peers.dimension);
      if (parts.size() > 1)
        expected[d] = peers.widths.empty() ? expected[d] / static_cast<int64_t>(parts.size())
                                           : peers.widths[i];
      if (parts[i].sizes() != at::IntArrayRef(expected))
        fail<BadInput>("the checkpoint's '{}' has shape {}, {} was expected for '{}'",
                       peers.names[i], shape_text(parts[i].sizes()), shape_text(expected),
                       entry.name);
    }
    parameters.load(entry.name, parts.size() == 1 ? parts[0] : at::cat(parts, peers.dimension));
  }
  if (!left.empty())
    fail<BadInput>(
        "the checkpoint holds {} tensors that the model has no place for; the first is '{}'",
        left.size(), *left.begin());
}

}  // namespace megafold
