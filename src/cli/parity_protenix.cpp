// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The classes of Protenix 2.0.0 that golden cases are made of.
#include <array>

#include "cli/parity_cases.h"
#include "loss/bond_loss.h"
#include "loss/confidence_losses.h"
#include "loss/diffusion_mse.h"
#include "loss/distogram_loss.h"
#include "loss/smooth_lddt.h"
#include "loss/weighted_rigid_align.h"
#include "model/confidence_head.h"
#include "model/diffusion_module.h"
#include "model/distogram_head.h"
#include "model/input_embedder.h"
#include "model/msa_module.h"
#include "model/pairformer.h"
#include "model/sampler.h"
#include "model/template_embedder.h"

namespace megafold::cli {
namespace {

PairSizes pair_sizes(const ParityCase& c, int64_t c_z) {
  const bool scaled = c.flag("hidden_scale_up");
  const int64_t width = c.size("c_hidden_pair_att", 32);
  return {c_z,
          scaled ? c_z : c.size("c_hidden_mul", 128),
          scaled ? c_z / width : c.size("no_heads_pair", 4),
          width,
          c.size("num_intermediate_factor", 4),
          0};
}

at::Tensor indices_of(const at::Tensor& mask) {
  return mask.nonzero().squeeze(-1);
}

void attention_pair_bias(ParityCase& c) {
  const Scope scope = c.scope("attention_pair_bias", "attention_pair_bias");
  if (!c.flag("has_s")) return run_single_attention(c, scope);
  const int64_t c_a = c.size("c_a"), c_z = c.size("c_z"), heads = c.size("n_heads");
  const ConditionedAttention module(scope, c.conventions, ConditionedAttention::tokens, c_a,
                                    c.size("c_s"), heads);
  const at::Tensor norm_z = scope.parameter("norm_z", {c_z}, {kOnes});
  const at::Tensor bias = scope.parameter("bias", {heads, c_z}, {kLecun});
  c.load();
  const at::Tensor pair_bias = at::linear(normalize(c.in("z")), bias * norm_z).permute({2, 0, 1});
  c.outputs["a"] = module(c.in("a").unsqueeze(0), c.in("s").unsqueeze(0), pair_bias, {}).squeeze(0);
}

void msa_module(ParityCase& c) {
  ModelConfig config;
  config.c_m = c.size("c_m"), config.c_z = c.size("c_z"), config.msa_blocks = c.size("n_blocks");
  const PairSizes pair = pair_sizes(c, config.c_z);
  config.triangle_multiplication_width = pair.multiplication_width;
  config.triangle_attention_heads = pair.attention_heads;
  config.msa_dropout = config.pair_dropout = 0;
  const MsaModule module(c.scope("msa_module", "msa_module"), c.conventions, config,
                         c.size("c_s_inputs"));
  c.load();
  const at::Tensor features =
      at::cat({at::one_hot(c.in("msa"), 32).to(c.dtype()), c.in("has_deletion").unsqueeze(-1),
               c.in("deletion_value").unsqueeze(-1)},
              -1);
  Dropout off;
  c.outputs["z"] =
      module(features, c.in("s_inputs"), c.in("z"), {}, {}, mask_of(c, "pair_mask"), off);
}

void template_embedder(ParityCase& c) {
  PairSizes sizes = pair_sizes(c, c.size("c"));
  sizes.transition_factor = c.size("num_intermediate_factor", 2);
  const TemplateEmbedder module(c.scope("template_embedder", "template_embedder"), c.conventions,
                                sizes, c.size("c_z"), c.size("n_blocks"));
  c.load();
  Dropout off;
  c.outputs["u"] = module(
      {c.in("template_distogram"), c.in("template_unit_vector"), c.in("template_pseudo_beta_mask"),
       c.in("template_backbone_frame_mask"), c.in("template_aatype")},
      c.in("asym_id"), c.in("z"), mask_of(c, "pair_mask"), off);
}

void relative_position_encoding(ParityCase& c) {
  const Linear module(c.scope("relative_position", "relative_position_encoding"),
                      kRelativePositions, c.size("c_z"));
  c.load();
  const at::Tensor relative =
      relative_positions(c.in("asym_id"), c.in("residue_index"), c.in("entity_id"), c.in("sym_id"),
                         c.in("token_index"), c.dtype());
  c.outputs["relp"] = relative;
  c.outputs["z"] = module(relative);
}

AtomSizes atom_sizes(const ParityCase& c, int64_t blocks, int64_t heads) {
  return {c.size("c_atom"), c.size("c_atompair"), c.size("c_token"), blocks, heads};
}

void input_feature_embedder(ParityCase& c) {
  const InputEmbedder module(c.scope("input_embedder", "input_embedder"), c.conventions,
                             atom_sizes(c, 3, 4));
  c.load();
  c.outputs["s_inputs"] = module(parity_atoms(c, tokens_of(c)), c.in("restype"), c.in("profile"),
                                 c.in("deletion_mean"));
}

void confidence_head(ParityCase& c) {
  const ConfidenceHead module(
      c.scope("confidence", "confidence_head"), c.conventions,
      {pair_sizes(c, c.size("c_z")), c.size("c_s"), c.size("c_s_inputs"), 16, c.size("n_blocks"),
       c.size("b_pae", 64), c.size("b_pde", 64), c.size("max_atoms_per_token", 20)});
  c.load();
  const at::Tensor x = c.in("x_pred"), rep = indices_of(mask_of(c, "rep_mask"));
  std::array<std::vector<at::Tensor>, 4> all;
  Dropout off;
  for (int64_t s = 0; s < x.size(0); ++s) {
    const ConfidenceLogits logits = module(
        c.in("s_inputs"), c.in("s_trunk"), c.in("z_trunk"), x[s].index_select(0, rep),
        c.in("atom_to_token_idx"), c.in("atom_to_tokatom_idx"), {}, mask_of(c, "pair_mask"), off);
    all[0].push_back(logits.plddt), all[1].push_back(logits.pae);
    all[2].push_back(logits.pde), all[3].push_back(logits.resolved);
  }
  c.outputs["plddt"] = at::stack(all[0]), c.outputs["pae"] = at::stack(all[1]);
  c.outputs["pde"] = at::stack(all[2]), c.outputs["resolved"] = at::stack(all[3]);
}

}  // namespace

const std::map<std::string_view, ParityRunner>& protenix_runners() {
  static const std::map<std::string_view, ParityRunner> runners = {
      {"TriangleMultiplicationOutgoing",
       [](ParityCase& c) {
         run_triangle_multiplication(c, c.scope("triangle_multiplication_out", "tri_mul_out"),
                                     TriangleMultiplication::outgoing);
       }},
      {"TriangleMultiplicationIncoming",
       [](ParityCase& c) {
         run_triangle_multiplication(c, c.scope("triangle_multiplication_out", "tri_mul_out"),
                                     TriangleMultiplication::incoming);
       }},
      {"TriangleAttention",
       [](ParityCase& c) {
         run_triangle_attention(c, c.scope("triangle_attention_end", "tri_att_end"), c.conventions,
                                TriangleAttention::starting);
       }},
      {"TriangleAttentionEndingNode",
       [](ParityCase& c) {
         run_triangle_attention(c, c.scope("triangle_attention_end", "tri_att_end"), c.conventions,
                                TriangleAttention::ending);
       }},
      {"AttentionPairBias", attention_pair_bias},
      {"AdaptiveLayerNorm",
       in_scope("attention_pair_bias", "attention_pair_bias.layernorm_a", run_adaptive_norm)},
      {"Transition", in_scope("transition", "transition", run_transition)},
      {"ConditionedTransitionBlock",
       in_scope("conditioned_transition", "conditioned_transition_block",
                run_conditioned_transition)},
      {"OuterProductMean",
       in_scope("outer_product_mean", "outer_product_mean_msa", run_outer_product_mean)},
      {"MSAPairWeightedAveraging",
       in_scope("averaging", "msa_stack.msa_pair_weighted_averaging", run_pair_weighted_averaging)},
      {"PairformerBlock",
       [](ParityCase& c) {
         run_pairformer_block(c, c.scope("block", "block"), pair_sizes(c, c.size("c_z")));
       }},
      {"PairformerStack",
       [](ParityCase& c) {
         run_pairformer_stack(c, c.scope("pairformer", "pairformer_stack"),
                              pair_sizes(c, c.size("c_z")));
       }},
      {"MSAModule", msa_module},
      {"TemplateEmbedder", template_embedder},
      {"RelativePositionEncoding", relative_position_encoding},
      {"AtomAttentionEncoder",
       [](ParityCase& c) {
         run_atom_encoder(c, c.scope("atom_encoder", "atom_attention_encoder"),
                          atom_sizes(c, c.size("n_blocks"), c.size("n_heads")),
                          c.flag("has_coords"));
       }},
      {"AtomAttentionDecoder",
       [](ParityCase& c) {
         run_atom_decoder(c, c.scope("atom_decoder", "atom_attention_decoder"),
                          atom_sizes(c, c.size("n_blocks"), c.size("n_heads")));
       }},
      {"FourierEmbedding",
       [](ParityCase& c) {
         const FourierEmbedding module(c.scope("fourier", "fourier_embedding"), c.conventions,
                                       c.size("c"));
         c.load();
         c.outputs["y"] = module(c.in("t"));
       }},
      {"InputFeatureEmbedder", input_feature_embedder},
      {"DiffusionTransformer",
       in_scope("transformer", "diffusion_transformer", run_diffusion_transformer)},
      {"DiffusionConditioning",
       [](ParityCase& c) {
         run_diffusion_conditioning(c, c.scope("conditioning", "diffusion_conditioning"),
                                    c.in("relp").to(c.dtype()));
       }},
      {"DiffusionModule",
       [](ParityCase& c) {
         const auto part = [&](const char* name, const char* key) {
           return c.config().at(name).at(key).get<int64_t>();
         };
         run_diffusion_module(
             c, c.scope("diffusion", "diffusion_module"),
             {atom_sizes(c, part("atom_encoder", "n_blocks"), part("atom_encoder", "n_heads")),
              c.size("c_s"), c.size("c_z"), c.size("c_s_inputs"), 256,
              part("transformer", "n_blocks"), part("transformer", "n_heads")},
             c.in("relp").to(c.dtype()));
       }},
      {"DistogramHead", in_scope("distogram", "distogram_head", run_distogram_head)},
      {"ConfidenceHead", confidence_head},
      {"dense_forward",  // SmoothLDDTLoss
       [](ParityCase& c) {
         c.outputs["loss"] = smooth_lddt_loss(c.in("x_pred"), c.in("x_true"), c.in("coord_mask"),
                                              c.in("is_nucleotide"))
                                 .mean();
         c.outputs["lddt_mask"] =
             smooth_lddt_pairs(c.in("x_true"), c.in("coord_mask"), c.in("is_nucleotide"));
       }},
      {"weighted_rigid_align",
       [](ParityCase& c) {
         c.outputs["x_aligned"] = weighted_rigid_align(c.in("x"), c.in("x_target"), c.in("weight"));
       }},
      {"MSELoss",
       [](ParityCase& c) {
         const at::Tensor resolved = c.in("coord_mask");
         const at::Tensor weight =
             diffusion_atom_weights(resolved, c.in("is_dna"), c.in("is_rna"), c.in("is_ligand"));
         c.outputs["loss"] =
             (diffusion_mse(c.in("x_pred"), c.in("x_true"), weight, resolved) * c.in("scale"))
                 .mean();
       }},
      {"sparse_forward",  // BondLoss
       [](ParityCase& c) {
         const at::Tensor known = mask_of(c, "coord_mask");
         const at::Tensor bonds = mask_of(c, "bond_mask")
                                      .logical_and(known.unsqueeze(0))
                                      .logical_and(known.unsqueeze(1))
                                      .nonzero();
         c.outputs["loss"] = bond_loss(c.in("x_pred"), c.in("x_true"), bonds).mean();
       }},
      {"DistogramLoss",
       [](ParityCase& c) {
         const at::Tensor rep = indices_of(mask_of(c, "rep_mask"));
         c.outputs["loss"] = distogram_loss(c.in("logits"), c.in("x_true").index_select(0, rep),
                                            c.in("coord_mask").index_select(0, rep));
       }},
      {"PDELoss",
       [](ParityCase& c) {
         c.outputs["loss"] = pde_loss(c.in("logits"), c.in("x_pred"), c.in("x_true"),
                                      c.in("coord_mask"), indices_of(mask_of(c, "rep_mask")));
       }},
      {"PAELoss",
       [](ParityCase& c) {
         const TokenFrames frames{c.in("frame_atom_index"), mask_of(c, "has_frame")};
         c.outputs["loss"] =
             pae_loss(c.in("logits"), c.in("x_pred"), c.in("x_true"), c.in("coord_mask"), frames,
                      frames, indices_of(mask_of(c, "rep_mask")));
       }},
      {"PLDDTLoss",
       [](ParityCase& c) {
         const at::Tensor partners = indices_of(mask_of(c, "rep_mask")
                                                    .logical_and(mask_of(c, "is_polymer"))
                                                    .logical_and(mask_of(c, "coord_mask")));
         c.outputs["loss"] = plddt_loss(c.in("logits"), c.in("x_pred"), c.in("x_true"),
                                        c.in("coord_mask"), c.in("is_nucleotide"), partners);
       }},
      {"ExperimentallyResolvedLoss",
       [](ParityCase& c) {
         c.outputs["loss"] = resolved_loss(c.in("logits"), c.in("coord_mask"));
       }},
      {"InferenceNoiseScheduler", run_noise_schedule},
      {"sample_diffusion", [](ParityCase& c) { run_recorded_sampler(c, c.recorded("draw_rot")); }},
      {"Protenix", run_whole_model},
  };
  return runners;
}

}  // namespace megafold::cli
