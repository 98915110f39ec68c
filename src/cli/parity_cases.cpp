// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/parity_cases.h"

#include <algorithm>

#include "base/errors.h"
#include "checkpoint/import_peer.h"
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

void triangle_multiplication(ParityCase& c, TriangleMultiplication::Direction direction) {
  const TriangleMultiplication module(c.scope("triangle_multiplication_out", "tri_mul_out"),
                                      direction, c.size("c_z"), c.size("c_hidden"));
  c.load();
  c.outputs["z"] = module(c.in("z"), mask_of(c, "mask"));
}

void triangle_attention(ParityCase& c, TriangleAttention::Node node) {
  const TriangleAttention module(c.scope("triangle_attention_end", "tri_att_end"), c.conventions,
                                 node, c.size("c_in"), c.size("no_heads"), c.size("c_hidden"));
  c.load();
  c.outputs["x"] = module(c.in("x"), mask_of(c, "mask"));
}

void attention_pair_bias(ParityCase& c) {
  const Scope scope = c.scope("attention_pair_bias", "attention_pair_bias");
  if (!c.flag("has_s")) {
    const SingleAttention module(scope, c.size("c_a"), c.size("c_z"), c.size("n_heads"));
    c.load();
    c.outputs["a"] = module(c.in("a"), c.in("z"), {});
    return;
  }
  const int64_t c_a = c.size("c_a"), c_z = c.size("c_z"), heads = c.size("n_heads");
  const ConditionedAttention module(scope, c.conventions, ConditionedAttention::tokens, c_a,
                                    c.size("c_s"), heads);
  const at::Tensor norm_z = scope.parameter("norm_z", {c_z}, {kOnes});
  const at::Tensor bias = scope.parameter("bias", {heads, c_z}, {kLecun});
  c.load();
  const at::Tensor pair_bias = at::linear(normalize(c.in("z")), bias * norm_z).permute({2, 0, 1});
  c.outputs["a"] = module(c.in("a").unsqueeze(0), c.in("s").unsqueeze(0), pair_bias, {}).squeeze(0);
}

void pairformer_block(ParityCase& c) {
  const int64_t c_z = c.size("c_z");
  const PairformerBlock module(c.scope("block", "block"), c.conventions, pair_sizes(c, c_z),
                               c.size("c_s"), c.size("n_heads"));
  c.load();
  at::Tensor s = c.in("s"), z = c.in("z");
  Dropout off;
  module(s, z, {}, mask_of(c, "pair_mask"), off);
  c.outputs["s"] = s, c.outputs["z"] = z;
}

void pairformer_stack(ParityCase& c) {
  const PairformerStack module(c.scope("pairformer", "pairformer_stack"), c.conventions,
                               pair_sizes(c, c.size("c_z")), c.size("c_s"), c.size("n_heads", 16),
                               c.size("n_blocks"));
  c.load();
  at::Tensor s = c.in("s"), z = c.in("z");
  Dropout off;
  module(s, z, {}, mask_of(c, "pair_mask"), off);
  c.outputs["s"] = s, c.outputs["z"] = z;
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

void diffusion_transformer(ParityCase& c) {
  const DiffusionTransformer module(c.scope("transformer", "diffusion_transformer"), c.conventions,
                                    ConditionedAttention::tokens, c.size("n_blocks"), c.size("c_a"),
                                    c.size("c_s"), c.size("c_z"), c.size("n_heads"));
  c.load();
  c.outputs["a"] = module(c.in("a"), c.in("s"), module.pair_biases(c.in("z").squeeze(0)), {});
}

void diffusion_conditioning(ParityCase& c) {
  const DiffusionConditioning module(c.scope("conditioning", "diffusion_conditioning"),
                                     c.conventions, c.size("c_s"), c.size("c_z"),
                                     c.size("c_s_inputs"), c.size("c_noise_embedding", 256));
  c.load();
  c.outputs["z"] = module.pairs(c.in("relp").to(c.dtype()), c.in("z_trunk"));
  c.outputs["s"] =
      module.at_level(module.singles(c.in("s_inputs"), c.in("s_trunk")), c.in("t_hat"));
}

void diffusion_module(ParityCase& c) {
  const auto part = [&](const char* name, const char* key) {
    return c.config().at(name).at(key).get<int64_t>();
  };
  const DiffusionModule module(
      c.scope("diffusion", "diffusion_module"), c.conventions,
      {atom_sizes(c, part("atom_encoder", "n_blocks"), part("atom_encoder", "n_heads")),
       c.size("c_s"), c.size("c_z"), c.size("c_s_inputs"), 256, part("transformer", "n_blocks"),
       part("transformer", "n_heads")});
  c.load();
  const at::Tensor s_trunk = c.in("s_trunk");
  const AtomFeatures atoms = parity_atoms(c, s_trunk.size(0));
  const auto prepared = module.prepare(atoms, c.in("relp").to(c.dtype()), c.in("s_inputs"), s_trunk,
                                       c.in("z_trunk"), {});
  c.outputs["x_denoised"] = module(atoms, prepared, c.in("x_noisy"), c.in("t_hat"));
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

at::Tensor mask_of(ParityCase& c, const char* name) {
  return c.in(name).gt(0);
}

int64_t tokens_of(ParityCase& c) {
  return c.in("atom_to_token_idx").max().item<int64_t>() + 1;
}

void run_atom_encoder(ParityCase& c, const char* theirs, const AtomSizes& sizes, bool coordinates) {
  const Scope scope = c.scope("atom_encoder", theirs);
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

void run_atom_decoder(ParityCase& c, const char* theirs, const AtomSizes& sizes) {
  const AtomAttentionDecoder module(c.scope("atom_decoder", theirs), c.conventions, sizes);
  c.load();
  AtomFeatures atoms;
  atoms.token = c.in("atom_to_token_idx");
  c.outputs["r"] = module(atoms, c.in("a"), c.in("q_skip"), c.in("c_skip"),
                          module.transformer.pair_biases(c.in("p_skip").squeeze(0)));
}

AtomFeatures parity_atoms(ParityCase& c, int64_t tokens) {
  return atom_features({c.in("ref_pos"),
                        c.in("ref_charge"),
                        c.in("ref_mask"),
                        c.in("ref_element").argmax(-1),
                        c.in("ref_atom_name_chars").argmax(-1),
                        c.in("ref_space_uid"),
                        c.in("atom_to_token_idx"),
                        {},
                        tokens},
                       c.conventions, c.dtype());
}

void run_recorded_sampler(ParityCase& c, const at::Tensor& rotation) {
  const at::Tensor recorded = c.recorded("schedule"), calls = c.recorded("net_in_out");
  const int64_t steps = recorded.size(0) - 1;
  const std::vector<double> schedule = noise_schedule(steps, c.conventions);
  std::vector<at::Tensor> seen;
  const auto denoise = [&](const at::Tensor& x, const at::Tensor& t) {
    const at::Tensor out = x * (256 / (256 + t.square())).view({-1, 1, 1}) + 0.5 * at::sin(x);
    seen.push_back(at::stack({x, out}));
    return out;
  };
  const at::Tensor shift = c.recorded("draw_trans"), noise = c.recorded("draw_noise");
  c.outputs["x"] = sample_diffusion(
      schedule, c.recorded("draw_init"), {},
      [&](int64_t k) { return SamplerStep{rotation[k], shift[k], noise[k]}; }, denoise);
  c.outputs["schedule"] = at::tensor(schedule, at::kDouble);
  c.outputs["net_in_out"] = at::stack(seen);
}

int64_t ParityCase::size(const char* key) const {
  if (!config_.contains(key)) fail<BadInput>("the case's config lacks '{}'", key);
  return config_.at(key).get<int64_t>();
}

at::Tensor ParityCase::in(const std::string& name) {
  if (const auto known = inputs.find(name); known != inputs.end())
    return item < 0 ? known->second : known->second[item];
  at::Tensor tensor = file_["in." + name];
  tensor = tensor.is_floating_point() ? tensor.to(device_, dtype_, false, /*copy=*/true)
                                      : tensor.to(device_, false, /*copy=*/true);
  if (file_.contains(fmt::format("grad_in.{}", name))) tensor.set_requires_grad(true);
  inputs[name] = tensor;
  return item < 0 ? tensor : tensor[item];
}

at::Tensor ParityCase::recorded(const std::string& name) const {
  return file_["out." + name].to(device_, dtype_, false, /*copy=*/true);
}

Scope ParityCase::scope(const std::string& ours, const std::string& theirs) {
  skip_prefix = theirs + ".";
  return {parameters, /*seed=*/0, ours};
}

Dropout ParityCase::dropout() {
  std::vector<at::Tensor> masks;
  for (;;) {
    const std::string name = fmt::format("dropout_{:03}", masks.size());
    if (!has(name)) return masks.empty() ? Dropout() : Dropout(std::move(masks));
    masks.push_back(in(name));
  }
}

at::Tensor ParityCase::from_sibling(const std::string& name) {
  if (!has("x_true")) return {};
  const at::Tensor ours = file_["in.x_true"];
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder_))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  std::ranges::sort(files);
  for (const std::filesystem::path& path : files) {
    const Safetensors other(path);
    if (!other.contains("in." + name) || !other.contains("in.x_true")) continue;
    const at::Tensor theirs = other["in.x_true"];
    if (theirs.sizes() == ours.sizes() && theirs.equal(ours))
      return other["in." + name].to(device_, false, /*copy=*/true);
  }
  return {};
}

void ParityCase::load() {
  std::vector<std::string> known;
  for (const Safetensors::Info& info : file_.tensors())
    for (const std::string_view kind : {"param.", "buffer."})
      if (info.name.starts_with(kind)) known.push_back(info.name.substr(kind.size()));
  import_peer(
      conventions.dialect, parameters,
      [&](const std::string& name) {
        for (const char* kind : {"param.", "buffer."})
          if (const auto full = fmt::format("{}{}", kind, name); file_.contains(full))
            return file_[full];
        return at::Tensor();
      },
      known, skip_prefix);
  place_parameters();
}

const std::map<std::string_view, ParityRunner>& protenix_runners() {
  static const std::map<std::string_view, ParityRunner> runners = {
      {"TriangleMultiplicationOutgoing",
       [](ParityCase& c) { triangle_multiplication(c, TriangleMultiplication::outgoing); }},
      {"TriangleMultiplicationIncoming",
       [](ParityCase& c) { triangle_multiplication(c, TriangleMultiplication::incoming); }},
      {"TriangleAttention",
       [](ParityCase& c) { triangle_attention(c, TriangleAttention::starting); }},
      {"TriangleAttentionEndingNode",
       [](ParityCase& c) { triangle_attention(c, TriangleAttention::ending); }},
      {"AttentionPairBias", attention_pair_bias},
      {"AdaptiveLayerNorm",
       [](ParityCase& c) {
         const AdaptiveLayerNorm module(
             c.scope("attention_pair_bias", "attention_pair_bias.layernorm_a") / "norm_a",
             c.size("c_a"), c.size("c_s"));
         c.load();
         c.outputs["a"] = module(c.in("a"), c.in("s"));
       }},
      {"Transition",
       [](ParityCase& c) {
         const Transition module(c.scope("transition", "transition"), c.size("c_in"), c.size("n"));
         c.load();
         c.outputs["x"] = module(c.in("x"));
       }},
      {"ConditionedTransitionBlock",
       [](ParityCase& c) {
         const ConditionedTransition module(
             c.scope("conditioned_transition", "conditioned_transition_block"), c.size("c_a"),
             c.size("c_s"), c.size("n"));
         c.load();
         c.outputs["a"] = module(c.in("a"), c.in("s"));
       }},
      {"OuterProductMean",
       [](ParityCase& c) {
         const OuterProductMean module(c.scope("outer_product_mean", "outer_product_mean_msa"),
                                       c.size("c_m"), c.size("c_z"), c.size("c_hidden"));
         c.load();
         c.outputs["z"] = module(c.in("m"), c.in("mask"));
       }},
      {"MSAPairWeightedAveraging",
       [](ParityCase& c) {
         const PairWeightedAveraging module(
             c.scope("averaging", "msa_stack.msa_pair_weighted_averaging"), c.size("c_m"),
             c.size("c_z"), c.size("n_heads"), c.size("c"));
         c.load();
         c.outputs["m"] = module(c.in("m"), c.in("z"), {});
       }},
      {"PairformerBlock", pairformer_block},
      {"PairformerStack", pairformer_stack},
      {"MSAModule", msa_module},
      {"TemplateEmbedder", template_embedder},
      {"RelativePositionEncoding", relative_position_encoding},
      {"AtomAttentionEncoder",
       [](ParityCase& c) {
         run_atom_encoder(c, "atom_attention_encoder",
                          atom_sizes(c, c.size("n_blocks"), c.size("n_heads")),
                          c.flag("has_coords"));
       }},
      {"AtomAttentionDecoder",
       [](ParityCase& c) {
         run_atom_decoder(c, "atom_attention_decoder",
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
      {"DiffusionTransformer", diffusion_transformer},
      {"DiffusionConditioning", diffusion_conditioning},
      {"DiffusionModule", diffusion_module},
      {"DistogramHead",
       [](ParityCase& c) {
         const DistogramHead module(c.scope("distogram", "distogram_head"), c.conventions,
                                    c.size("c_z"), c.size("no_bins"));
         c.load();
         c.outputs["logits"] = module(c.in("z"));
       }},
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
      {"InferenceNoiseScheduler",
       [](ParityCase& c) {
         for (const int64_t steps : {20, 200})
           c.outputs[fmt::format("t{}", steps)] =
               at::tensor(noise_schedule(steps, c.conventions), at::kDouble);
       }},
      {"sample_diffusion", [](ParityCase& c) { run_recorded_sampler(c, c.recorded("draw_rot")); }},
      {"Protenix", run_whole_model},
  };
  return runners;
}

}  // namespace megafold::cli
