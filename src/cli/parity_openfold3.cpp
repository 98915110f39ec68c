// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The classes of OpenFold 3 0.5.0 that golden cases are made of. A case is stored without the batch
// axis; per-token facts of a batch stand beside it where a class reads them.
#include "base/errors.h"
#include "cli/parity_cases.h"
#include "loss/bond_loss.h"
#include "loss/confidence_losses.h"
#include "loss/diffusion_mse.h"
#include "loss/smooth_lddt.h"
#include "loss/weighted_rigid_align.h"
#include "model/diffusion_module.h"
#include "model/distogram_head.h"
#include "model/input_embedder.h"
#include "model/msa_module.h"
#include "model/pairformer.h"
#include "model/sampler.h"
#include "model/template_embedder.h"

namespace megafold::cli {
namespace {

constexpr double kEps = 1e-8;  // of its losses

at::Tensor mask_of(ParityCase& c, const char* name) {
  return c.in(name).gt(0);
}

int64_t number(const nlohmann::json& config, const char* key) {
  if (!config.contains(key)) fail<BadInput>("the case's config lacks '{}'", key);
  return config.at(key).get<int64_t>();
}

PairSizes pair_sizes(const nlohmann::json& config) {
  return {number(config, "c_z"),           number(config, "c_hidden_mul"),
          number(config, "no_heads_pair"), number(config, "c_hidden_pair_att"),
          number(config, "transition_n"),  0};
}

AtomSizes atom_sizes(const nlohmann::json& config) {
  return {number(config, "c_atom"), number(config, "c_atom_pair"), number(config, "c_token"),
          number(config, "no_blocks"), number(config, "no_heads")};
}

int64_t tokens_of(ParityCase& c) {
  return c.in("atom_to_token_idx").max().item<int64_t>() + 1;
}

at::Tensor relative_of(ParityCase& c) {
  return relative_positions(c.in("asym_id"), c.in("residue_index"), c.in("entity_id"),
                            c.in("sym_id"), c.in("token_index"), c.dtype());
}

void triangle_multiplication(ParityCase& c, TriangleMultiplication::Direction direction) {
  const TriangleMultiplication module(
      c.scope("triangle_multiplication_out", "pair_stack.tri_mul_out"), direction, c.size("c_z"),
      c.size("c_hidden"));
  c.load();
  c.outputs["z"] = module(c.in("z"), mask_of(c, "mask"));
}

void triangle_attention(ParityCase& c, TriangleAttention::Node node, bool bias_transposed) {
  Conventions conventions = c.conventions;
  conventions.ending_bias_transposed = bias_transposed;
  const TriangleAttention module(c.scope("triangle_attention_end", "pair_stack.tri_att_end"),
                                 conventions, node, c.size("c_in"), c.size("no_heads"),
                                 c.size("c_hidden"));
  c.load();
  c.outputs["x"] = module(c.in("x"), mask_of(c, "mask"));
}

void single_attention(ParityCase& c) {
  const SingleAttention module(c.scope("pairformer.blocks.0.attention_pair_bias",
                                       "pairformer_stack.blocks.0.attn_pair_bias"),
                               c.size("c_q"), c.size("c_z"), c.size("no_heads"));
  c.load();
  c.outputs["a"] = module(c.in("a"), c.in("z"), mask_of(c, "mask"));
}

void conditioned_attention(ParityCase& c, ConditionedAttention::Over over) {
  const bool atoms = over == ConditionedAttention::atoms;
  const char* const name = atoms ? "atom_transformer.blocks.0.attention_pair_bias"
                                 : "transformer.blocks.0.attention_pair_bias";
  const Scope scope =
      c.scope(name, atoms ? name : "diffusion_transformer.blocks.0.attention_pair_bias");
  const int64_t heads = c.size("no_heads");
  const ConditionedAttention module(scope, c.conventions, over, c.size("c_q"), c.size("c_s"),
                                    heads);
  const at::Tensor bias = scope.parameter("bias", {heads, c.size("c_z")}, {kLecun});
  c.load();
  const at::Tensor pairs = at::linear(c.in("z"), bias).movedim(-1, atoms ? 1 : 0);
  c.outputs["a"] =
      module(c.in("a").unsqueeze(0), c.in("s").unsqueeze(0), pairs, mask_of(c, "mask").unsqueeze(0))
          .squeeze(0);
}

void pairformer_block(ParityCase& c) {
  const PairformerBlock module(c.scope("pairformer.blocks.0", "pairformer_stack.blocks.0"),
                               c.conventions, pair_sizes(c.config()), c.size("c_s"),
                               c.size("no_heads_pair_bias"), c.size("transition_n"));
  c.load();
  at::Tensor s = c.in("s"), z = c.in("z");
  Dropout off;
  module(s, z, mask_of(c, "single_mask"), mask_of(c, "pair_mask"), off);
  c.outputs["s"] = s, c.outputs["z"] = z;
}

void pairformer_stack(ParityCase& c) {
  const PairformerStack module(c.scope("pairformer", "pairformer_stack"), c.conventions,
                               pair_sizes(c.config()), c.size("c_s"), c.size("no_heads_pair_bias"),
                               c.size("no_blocks"), c.size("transition_n"));
  c.load();
  at::Tensor s = c.in("s"), z = c.in("z");
  Dropout off;
  module(s, z, mask_of(c, "single_mask"), mask_of(c, "pair_mask"), off);
  c.outputs["s"] = s, c.outputs["z"] = z;
}

void msa_stack(ParityCase& c) {
  ModelConfig config;
  config.c_m = c.size("c_m"), config.c_z = c.size("c_z"), config.msa_blocks = c.size("no_blocks");
  config.msa_heads = c.size("no_heads_msa"), config.msa_head_width = c.size("c_hidden_msa_att");
  config.outer_product_width = c.size("c_hidden_opm");
  config.triangle_multiplication_width = c.size("c_hidden_mul");
  config.triangle_attention_heads = c.size("no_heads_pair");
  config.triangle_attention_width = c.size("c_hidden_pair_att");
  config.transition_factor = c.size("transition_n");
  config.msa_dropout = config.pair_dropout = 0;
  Parameters all;  // the embedding, a class of its own there, stays behind
  const MsaModule module(Scope(all, 0, "msa_module"), c.conventions, config, 1);
  (void)c.scope("msa_module", "msa_module");
  for (const Parameters::Entry& entry : all.entries())
    if (entry.name.starts_with("msa_module.blocks."))
      c.parameters.add(entry.name, entry.tensor, entry.trainable);
  c.load();
  Dropout off;
  c.outputs["z"] =
      module.stack(c.in("m"), c.in("z"), c.in("msa_mask"), {}, mask_of(c, "pair_mask"), off);
}

void msa_embedder(ParityCase& c) {
  const Scope scope = c.scope("msa_module", "msa_module_embedder");
  const Linear embed(scope / "embed", c.size("c_m_feats"), c.size("c_m"));
  const Linear embed_single(scope / "embed_single", c.size("c_s_input"), c.size("c_m"));
  c.load();
  const at::Tensor features =
      at::cat({at::one_hot(c.in("msa"), 32).to(c.dtype()), c.in("has_deletion").unsqueeze(-1),
               c.in("deletion_value").unsqueeze(-1)},
              -1);
  c.outputs["m"] = embed(features) + embed_single(c.in("s_inputs"));
}

void template_embedder(ParityCase& c) {
  const nlohmann::json& stack = c.config().at("template_pair_stack");
  const PairSizes sizes{c.size("c_t"),
                        number(stack, "c_hidden_tri_mul"),
                        number(stack, "no_heads"),
                        number(stack, "c_hidden_tri_att"),
                        number(stack, "pair_transition_n"),
                        0};
  const TemplateEmbedder module(c.scope("template_embedder", "template_embedder"), c.conventions,
                                sizes, c.size("c_z"), number(stack, "no_blocks"));
  c.load();
  const auto pairs = [&](const char* name) {
    const at::Tensor mask = c.in(name);
    return mask.unsqueeze(-1) * mask.unsqueeze(-2);
  };
  Dropout off;
  c.outputs["u"] = module(
      {c.in("template_distogram"), c.in("template_unit_vector"), pairs("template_pseudo_beta_mask"),
       pairs("template_backbone_frame_mask"), c.in("template_aatype")},
      c.in("asym_id"), c.in("z"), mask_of(c, "pair_mask"), off);
}

void atom_encoder(ParityCase& c) {
  const Scope scope = c.scope("atom_encoder", "atom_attn_enc");
  const AtomSizes sizes = atom_sizes(c.config());
  const bool coordinates = c.flag("add_noisy_pos");
  const AtomAttentionEncoder module =
      coordinates ? AtomAttentionEncoder(scope, c.conventions, sizes, c.size("c_s"), c.size("c_z"))
                  : AtomAttentionEncoder(scope, c.conventions, sizes);
  c.load();
  const AtomFeatures atoms = parity_atoms(c, tokens_of(c));
  const at::Tensor none;
  const AtomConditioning condition =
      module.condition(atoms, coordinates ? c.in("s") : none, coordinates ? c.in("z") : none);
  const auto [a, q] = module(atoms, condition, coordinates ? c.in("r_l") : none);
  const at::Tensor p = condition.p.slice(0, 0, 1).slice(1, 0, 8);
  c.outputs["a"] = coordinates ? a : a.squeeze(0);
  c.outputs["q"] = coordinates ? q : q.squeeze(0);
  c.outputs["c"] = coordinates ? condition.c : condition.c.squeeze(0);
  c.outputs["p"] = coordinates ? p.unsqueeze(0) : p;
}

void atom_decoder(ParityCase& c) {
  const AtomAttentionDecoder module(c.scope("atom_decoder", "atom_attn_dec"), c.conventions,
                                    atom_sizes(c.config()));
  c.load();
  AtomFeatures atoms;
  atoms.token = c.in("atom_to_token_idx");
  c.outputs["r"] = module(atoms, c.in("a"), c.in("q_skip"), c.in("c_skip"),
                          module.transformer.pair_biases(c.in("p_skip").squeeze(0)));
}

/// Algorithm 1, lines 1 to 5, in one class there.
void input_embedder(ParityCase& c) {
  // Its atom encoder's depth and heads are not in the config: the tensors have them.
  const auto bias = [](int64_t block) {
    return fmt::format(
        "atom_attn_enc.atom_transformer.blocks.{}.attention_pair_bias.linear_z.weight", block);
  };
  int64_t blocks = 0;
  while (c.has_parameter(bias(blocks))) ++blocks;
  if (blocks == 0) fail<BadInput>("the case lacks '{}'", bias(0));
  const Scope root = c.scope("", "input_embedder");
  const InputEmbedder module(root / "input_embedder", c.conventions,
                             {c.size("c_atom"), c.size("c_atom_pair"), c.size("c_token"), blocks,
                              c.shape_of_parameter(bias(0))[0]});
  const int64_t width = c.size("c_s_input"), c_z = c.size("c_z");
  const Linear single(root / "single_init", width, c.size("c_s"));
  const Linear row(root / "pair_init_row", width, c_z),
      column(root / "pair_init_column", width, c_z);
  const Linear position(root / "relative_position", kRelativePositions, c_z);
  const Linear bond(root / "token_bond", 1, c_z);
  c.load();
  const at::Tensor s_inputs = module(parity_atoms(c, tokens_of(c)), c.in("restype"),
                                     c.in("profile"), c.in("deletion_mean"));
  c.outputs["s_inputs"] = s_inputs;
  c.outputs["s"] = single(s_inputs);
  c.outputs["z"] = row(s_inputs).unsqueeze(1) + column(s_inputs).unsqueeze(0) +
                   position(relative_of(c)) + bond(c.in("token_bonds").unsqueeze(-1));
}

void diffusion_transformer(ParityCase& c) {
  const DiffusionTransformer module(
      c.scope("transformer", "diffusion_transformer"), c.conventions, ConditionedAttention::tokens,
      c.size("no_blocks"), c.size("c_a"), c.size("c_s"), c.size("c_z"), c.size("no_heads"));
  c.load();
  const at::Tensor a = c.in("a");
  c.outputs["a"] = module(a, c.in("s"), module.pair_biases(c.in("z").squeeze(0)),
                          mask_of(c, "mask").unsqueeze(0).expand({a.size(0), a.size(1)}));
}

void diffusion_conditioning(ParityCase& c) {
  const DiffusionConditioning module(c.scope("conditioning", "diffusion_conditioning"),
                                     c.conventions, c.size("c_s"), c.size("c_z"),
                                     c.size("c_s_input"), c.size("c_fourier_emb"));
  c.load();
  c.outputs["z"] = module.pairs(relative_of(c), c.in("z_trunk"));
  c.outputs["s"] =
      module.at_level(module.singles(c.in("s_inputs"), c.in("s_trunk")), c.in("t_hat"));
}

void diffusion_module(ParityCase& c) {
  const nlohmann::json &encoder = c.config().at("atom_attn_enc"),
                       &conditioning = c.config().at("diffusion_conditioning"),
                       &transformer = c.config().at("diffusion_transformer");
  const DiffusionModule module(
      c.scope("diffusion", "diffusion_module"), c.conventions,
      {atom_sizes(encoder), number(conditioning, "c_s"), number(conditioning, "c_z"),
       number(conditioning, "c_s_input"), number(conditioning, "c_fourier_emb"),
       number(transformer, "no_blocks"), number(transformer, "no_heads")});
  c.load();
  const at::Tensor s_trunk = c.in("s_trunk");
  const AtomFeatures atoms = parity_atoms(c, s_trunk.size(0));
  const auto prepared =
      module.prepare(atoms, relative_of(c), c.in("s_inputs"), s_trunk, c.in("z_trunk"), {});
  c.outputs["x_denoised"] = module(atoms, prepared, c.in("x_noisy"), c.in("t_hat"));
}

void error_head(ParityCase& c, const char* name, bool both_ways) {
  const Scope scope = c.scope("confidence", fmt::format("aux_heads.{}", name));
  const LayerNorm norm(scope / fmt::format("norm_{}", name), c.size("c_z"));
  const Linear linear(scope / name, c.size("c_z"), c.size("c_out"));
  c.load();
  const at::Tensor logits = linear(norm(c.in("z")));
  c.outputs["logits"] = both_ways ? logits + logits.transpose(0, 1) : logits;
}

/// A per-token fact on the atoms.
at::Tensor of_atoms(ParityCase& c, const char* name) {
  return c.in(name).to(c.dtype()).index_select(0, c.in("atom_to_token_idx"));
}

at::Tensor mse(ParityCase& c) {
  const at::Tensor resolved = c.in("coord_mask");
  const at::Tensor weight = diffusion_atom_weights(resolved, of_atoms(c, "is_dna"),
                                                   of_atoms(c, "is_rna"), of_atoms(c, "is_ligand"));
  return diffusion_mse(c.in("x_pred"), c.in("x_true"), weight, resolved, kEps);
}

/// Every pair of atoms of a bonded ligand's and polymer's token.
at::Tensor bond(ParityCase& c) {
  const at::Tensor ligand = c.in("is_ligand").gt(0);
  const at::Tensor polymer = (c.in("is_protein") + c.in("is_dna") + c.in("is_rna")).gt(0);
  const at::Tensor tokens =
      c.in("token_bonds").gt(0).logical_and(ligand.unsqueeze(1)).logical_and(polymer.unsqueeze(0));
  const at::Tensor token = c.in("atom_to_token_idx"), known = mask_of(c, "coord_mask");
  const at::Tensor bonds = tokens.index_select(0, token)
                               .index_select(1, token)
                               .logical_and(known.unsqueeze(1))
                               .logical_and(known.unsqueeze(0))
                               .nonzero();
  return bond_loss(c.in("x_pred"), c.in("x_true"), bonds, kEps);
}

at::Tensor smooth_lddt(ParityCase& c) {
  return smooth_lddt_loss(c.in("x_pred"), c.in("x_true"), c.in("coord_mask"),
                          of_atoms(c, "is_dna") + of_atoms(c, "is_rna"), {kEps, kEps});
}

void diffusion_loss(ParityCase& c) {
  const at::Tensor t = c.in("t_hat");
  const at::Tensor weight = (t.square() + kSigmaData * kSigmaData) / (t * kSigmaData).square();
  // The mean over a batch of one is divided by 1 + eps.
  c.outputs["loss"] = (weight * (mse(c) + bond(c)) + smooth_lddt(c)).mean() / (1 + kEps);
}

void resolved_head_loss(ParityCase& c) {
  const at::Tensor logits = c.in("logits"), resolved = c.in("coord_mask");
  const auto atoms = static_cast<double>(resolved.size(0));
  std::vector<at::Tensor> of_samples;
  for (int64_t s = 0; s < logits.size(0); ++s)
    of_samples.push_back(resolved_loss(logits[s].unsqueeze(0), resolved));
  c.outputs["loss"] = at::stack(of_samples) * (atoms / (atoms + kEps));
}

void sampler(ParityCase& c) {
  const at::Tensor quaternion = c.recorded("draw_quat");
  const auto q = (quaternion / quaternion.norm(2, -1, /*keepdim=*/true)).unbind(-1);
  const at::Tensor &w = q[0], &x = q[1], &y = q[2], &z = q[3];
  const at::Tensor rows =
      at::stack({1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
                 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
                 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)},
                -1);
  run_recorded_sampler(c, rows.unflatten(-1, {3, 3}));
}

[[noreturn]] void needs_structure(ParityCase& /*c*/) {
  fail<Unsupported>("the case does not hold which atoms its tokens have");
}

}  // namespace

const std::map<std::string_view, ParityRunner>& openfold3_runners() {
  static const std::map<std::string_view, ParityRunner> runners = {
      {"TriangleMultiplicationOutgoing",
       [](ParityCase& c) { triangle_multiplication(c, TriangleMultiplication::outgoing); }},
      {"TriangleMultiplicationIncoming",
       [](ParityCase& c) { triangle_multiplication(c, TriangleMultiplication::incoming); }},
      {"TriangleAttention",
       [](ParityCase& c) { triangle_attention(c, TriangleAttention::starting, false); }},
      // "TriangleAttention (as PairBlock.tri_att_end calls it)"
      {"tri_att_end calls it)",
       [](ParityCase& c) { triangle_attention(c, TriangleAttention::ending, false); }},
      {"TriangleAttentionEndingNode",
       [](ParityCase& c) { triangle_attention(c, TriangleAttention::ending, true); }},
      {"AttentionPairBias", single_attention},
      {"DiffusionAttentionPairBias",
       [](ParityCase& c) { conditioned_attention(c, ConditionedAttention::tokens); }},
      {"CrossAttentionPairBias",
       [](ParityCase& c) { conditioned_attention(c, ConditionedAttention::atoms); }},
      {"AdaLN",
       [](ParityCase& c) {
         const AdaptiveLayerNorm module(
             c.scope("transformer.blocks.0.attention_pair_bias",
                     "diffusion_transformer.blocks.0.attention_pair_bias.layer_norm_a") /
                 "norm_a",
             c.size("c_a"), c.size("c_s"));
         c.load();
         c.outputs["a"] = module(c.in("a"), c.in("s"));
       }},
      {"SwiGLUTransition",
       [](ParityCase& c) {
         const Transition module(c.scope("transition", "transition"), c.size("c_in"), c.size("n"));
         c.load();
         c.outputs["x"] = module(c.in("x"), c.in("mask"));
       }},
      {"ConditionedTransitionBlock",
       [](ParityCase& c) {
         const ConditionedTransition module(
             c.scope("conditioned_transition", "conditioned_transition"), c.size("c_a"),
             c.size("c_s"), c.size("n"));
         c.load();
         c.outputs["a"] = module(c.in("a"), c.in("s"), c.in("mask"));
       }},
      {"OuterProductMean",
       [](ParityCase& c) {
         const OuterProductMean module(c.scope("outer_product_mean", "outer_product_mean"),
                                       c.size("c_m"), c.size("c_z"), c.size("c_hidden"));
         c.load();
         c.outputs["z"] = module(c.in("m"), c.in("mask"));
       }},
      {"MSAPairWeightedAveraging",
       [](ParityCase& c) {
         const PairWeightedAveraging module(c.scope("averaging", "msa_att_row"), c.size("c_in"),
                                            c.size("c_z"), c.size("no_heads"), c.size("c_hidden"));
         c.load();
         c.outputs["m"] = module(c.in("m"), c.in("z"), mask_of(c, "mask"));
       }},
      {"PairFormerBlock", pairformer_block},
      {"PairFormerStack", pairformer_stack},
      {"MSAModuleStack", msa_stack},
      {"MSAModuleEmbedder", msa_embedder},
      {"TemplateEmbedderAllAtom", template_embedder},
      {"relpos_complex", [](ParityCase& c) { c.outputs["relp"] = relative_of(c); }},
      {"FourierEmbedding",
       [](ParityCase& c) {
         const at::Tensor x = c.in("x");
         const FourierEmbedding module(c.scope("fourier", "fourier_emb"), c.conventions,
                                       c.recorded("y").size(-1));
         c.load();
         c.outputs["y"] = module(x.squeeze(-1));
       }},
      {"AtomAttentionEncoder", atom_encoder},
      {"AtomAttentionDecoder", atom_decoder},
      {"InputEmbedderAllAtom", input_embedder},
      {"DiffusionTransformer", diffusion_transformer},
      {"DiffusionConditioning", diffusion_conditioning},
      {"DiffusionModule", diffusion_module},
      {"smooth_lddt_loss", [](ParityCase& c) { c.outputs["loss"] = smooth_lddt(c); }},
      {"weighted_rigid_align",
       [](ParityCase& c) {
         c.outputs["x_aligned"] =
             weighted_rigid_align(c.in("x"), c.in("x_target"), c.in("weight") * c.in("mask"));
       }},
      {"mse_loss", [](ParityCase& c) { c.outputs["loss"] = mse(c); }},
      {"bond_loss", [](ParityCase& c) { c.outputs["loss"] = bond(c); }},
      {"diffusion_loss", diffusion_loss},
      {"all_atom_experimentally_resolved_loss", resolved_head_loss},
      {"DistogramHead",
       [](ParityCase& c) {
         const DistogramHead module(c.scope("distogram", "aux_heads.distogram"), c.conventions,
                                    c.size("c_z"), c.size("c_out"));
         c.load();
         c.outputs["logits"] = module(c.in("z"));
       }},
      {"PredictedAlignedErrorHead", [](ParityCase& c) { error_head(c, "pae", false); }},
      {"PredictedDistanceErrorHead", [](ParityCase& c) { error_head(c, "pde", true); }},
      {"create_noise_schedule",
       [](ParityCase& c) {
         for (const int64_t steps : {20, 200})
           c.outputs[fmt::format("t{}", steps)] =
               at::tensor(noise_schedule(steps, c.conventions), at::kDouble);
       }},
      {"SampleDiffusion", sampler},
      {"all_atom_distogram_loss", needs_structure},
      {"all_atom_plddt_loss", needs_structure},
      {"pde_loss", needs_structure},
      {"pae_loss", needs_structure},
      {"AuxiliaryHeadsAllAtom", needs_structure},
  };
  return runners;
}

}  // namespace megafold::cli
