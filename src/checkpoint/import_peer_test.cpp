// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/import_peer.h"

#include <gtest/gtest.h>

#include <map>

#include "base/errors.h"
#include "model/model.h"

namespace megafold {
namespace {

ModelConfig config(Dialect dialect = Dialect::protenix) {
  ModelConfig c = ModelConfig::preset("tiny");
  c.dialect = dialect;
  c.msa_blocks = 2;
  return c;
}

std::map<std::string, at::Tensor> as_peer(const Model& model) {
  std::map<std::string, at::Tensor> state;
  for (const Parameters::Entry& entry : model.parameters().entries())
    for (auto& [name, part] : split_for_peer(model.config().dialect, entry.name, entry.tensor)) {
      EXPECT_FALSE(state.contains(name)) << name << " of " << entry.name;
      state[name] = part.detach().clone();
    }
  return state;
}

/// The message of a refused import, or "".
std::string import_into(Model& model, const std::map<std::string, at::Tensor>& state) {
  std::vector<std::string> known;
  for (const auto& [name, tensor] : state) known.push_back(name);
  try {
    import_peer(
        model.config().dialect, model.parameters(),
        [&](const std::string& name) {
          const auto found = state.find(name);
          return found == state.end() ? at::Tensor() : found->second;
        },
        known);
  } catch (const BadInput& error) {
    return error.what();
  }
  return "";
}

TEST(ImportPeer, ThereAndBackIsBitEqualForTheWholeModelOfProtenix) {
  const Model from(config(), 1);
  Model into(config(), 2);
  const auto state = as_peer(from);
  EXPECT_EQ(import_into(into, state), "");
  for (const Parameters::Entry& entry : from.parameters().entries())
    EXPECT_TRUE(entry.tensor.equal(into.parameters().find(entry.name)->tensor)) << entry.name;
  // Some names as Protenix 2.0.0 has them.
  for (const char* name :
       {"linear_no_bias_sinit.weight", "layernorm_z_cycle.bias",
        "relative_position_encoding.linear_no_bias.weight",
        "input_embedder.atom_attention_encoder.linear_no_bias_f.weight",
        "msa_module.blocks.0.msa_stack.msa_pair_weighted_averaging.linear_no_bias_mg.weight",
        "pairformer_stack.blocks.0.tri_att_end.mha.linear_q.weight",
        "diffusion_module.diffusion_conditioning.fourier_embedding.w",
        "diffusion_module.diffusion_conditioning.transition_z2.linear_no_bias.weight",
        "diffusion_module.atom_attention_decoder.atom_transformer.diffusion_transformer.blocks.0."
        "attention_pair_bias.layernorm_kv.linear_s.bias",
        "distogram_head.linear.bias"})
    EXPECT_TRUE(state.contains(name)) << name;
}

TEST(ImportPeer, ThereAndBackIsBitEqualForTheWholeModelOfOpenFold3) {
  const Model from(config(Dialect::openfold3), 1);
  Model into(config(Dialect::openfold3), 2);
  const auto state = as_peer(from);
  EXPECT_EQ(import_into(into, state), "");
  for (const Parameters::Entry& entry : from.parameters().entries())
    EXPECT_TRUE(entry.tensor.equal(into.parameters().find(entry.name)->tensor)) << entry.name;
  // Some names as OpenFold 3 0.5.0 has them.
  for (const char* name :
       {"input_embedder.linear_z_i.weight", "layer_norm_z.bias",
        "msa_module_embedder.linear_m.weight",
        "input_embedder.atom_attn_enc.ref_atom_feature_embedder.linear_ref_element.weight",
        "msa_module.blocks.0.msa_att_row.linear_v.weight",
        "msa_module.blocks.1.pair_stack.tri_mul_in.linear_a_g.weight",
        "pairformer_stack.blocks.0.pair_stack.tri_att_end.mha.linear_q.weight",
        "pairformer_stack.blocks.0.attn_pair_bias.linear_z.weight",
        "diffusion_module.diffusion_conditioning.fourier_emb.w",
        "diffusion_module.diffusion_conditioning.transition_z.1.linear_out.weight",
        "diffusion_module.diffusion_transformer.layer_norm_z.weight",
        "diffusion_module.atom_attn_dec.atom_transformer.blocks.0.attention_pair_bias."
        "layer_norm_a_k.linear_g.bias",
        "aux_heads.distogram.linear.weight", "aux_heads.plddt.linear.weight",
        "aux_heads.pairformer_embedding.pairformer_stack.blocks.0.single_transition.linear_out."
        "weight"})
    EXPECT_TRUE(state.contains(name)) << name;
  EXPECT_EQ(state.at("aux_heads.plddt.linear.weight").sizes(), at::IntArrayRef({24 * 50, 24}));
}

TEST(ImportPeer, MissingLeftOverAndMisshapenTensorsAreNamed) {
  Model model(config(), 1);
  const auto good = as_peer(model);
  const std::string name = "pairformer_stack.blocks.0.tri_mul_out.linear_b_p.weight";
  auto state = good;
  state.erase(name);
  EXPECT_NE(import_into(model, state).find("lacks '" + name), std::string::npos);
  state = good;
  state[name] = at::zeros({3, 5});
  EXPECT_NE(import_into(model, state).find(name + "' has shape [3, 5], [16, 16] was expected"),
            std::string::npos);
  state = good;
  state["confidence_head.extra_weight"] = at::zeros({1});
  EXPECT_NE(import_into(model, state).find("the first is 'confidence_head.extra_weight'"),
            std::string::npos);
  EXPECT_THROW((void)peer_names(Dialect::protenix, "no.such.tensor"), BadInput);
}

}  // namespace
}  // namespace megafold
