// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The classes of OpenFold 3 0.5.0 that golden cases are made of. A case is stored without the batch
// axis; per-token facts of a batch stand beside it where a class reads them.
#include <array>

#include "base/errors.h"
#include "cli/parity_cases.h"
#include "loss/bond_loss.h"
#include "loss/confidence_losses.h"
#include "loss/diffusion_mse.h"
#include "loss/distogram_loss.h"
#include "loss/permutation.h"
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

constexpr double kEps = 1e-8;  // of its losses

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

at::Tensor relative_of(ParityCase& c) {
  return relative_positions(c.in("asym_id"), c.in("residue_index"), c.in("entity_id"),
                            c.in("sym_id"), c.in("token_index"), c.dtype());
}

void triangle_attention(ParityCase& c, TriangleAttention::Node node, bool bias_transposed) {
  Conventions conventions = c.conventions;
  conventions.ending_bias_transposed = bias_transposed;
  run_triangle_attention(c, c.scope("triangle_attention_end", "pair_stack.tri_att_end"),
                         conventions, node);
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

void template_embedder_all_atom(ParityCase& c) {
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

void diffusion_module(ParityCase& c) {
  const nlohmann::json &encoder = c.config().at("atom_attn_enc"),
                       &conditioning = c.config().at("diffusion_conditioning"),
                       &transformer = c.config().at("diffusion_transformer");
  run_diffusion_module(
      c, c.scope("diffusion", "diffusion_module"),
      {atom_sizes(encoder), number(conditioning, "c_s"), number(conditioning, "c_z"),
       number(conditioning, "c_s_input"), number(conditioning, "c_fourier_emb"),
       number(transformer, "no_blocks"), number(transformer, "no_heads")},
      relative_of(c));
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

/// Which atoms a case's tokens have. A case without these facts takes them from a case of the
/// folder with the same truth. Standard residues hold their atoms in the peer's own order
/// (core/data/resources/token_atom_constants.py), so what they are is told by kind and number.
struct Structure {
  at::Tensor token;                // i64 [A]: of each atom
  at::Tensor center;               // i64 [N]: CA, C1'; -1 for atomized tokens
  at::Tensor representative;       // i64 [N]: CB (GLY: CA), C4, C2, the atom itself; -1: none
  at::Tensor atomized, asym;       // bool, i64 [N]
  at::Tensor nucleotide_of_atoms;  // [A]
  TokenFrames frames;              // of residues
};

Structure structure_of(ParityCase& c) {
  const auto fact = [&](const char* name) {
    const at::Tensor found = c.has(name) ? c.in(name) : c.from_sibling(name);
    if (!found.defined())
      fail<Unsupported>(
          "the case does not hold which atoms its tokens have ({}), nor does another "
          "of the folder with its truth",
          name);
    return found.to(at::kCPU, at::kLong).contiguous();
  };
  Structure out;
  out.token = fact("atom_to_token_idx");
  const at::Tensor protein = fact("is_protein"), rna = fact("is_rna"), dna = fact("is_dna");
  const int64_t tokens = protein.size(0);
  const at::Tensor count = at::bincount(out.token, {}, tokens);
  out.atomized = c.has("is_atomized") ? c.in("is_atomized").cpu().gt(0) : fact("is_ligand").gt(0);
  if (c.has("asym_id")) {
    out.asym = c.in("asym_id").cpu();
  } else {  // chains are consecutive, and their kinds change between them
    const at::Tensor kind = protein + 2 * rna + 3 * dna;
    out.asym = at::cat({at::zeros({1}, at::kLong), kind.diff().ne(0).to(at::kLong).cumsum(0)});
  }
  std::vector<int64_t> center, representative, frames;
  std::vector<uint8_t> has_frame;
  int64_t first = 0;
  for (int64_t i = 0; i < tokens; ++i) {
    const auto is = [&](const at::Tensor& kind) { return kind[i].item<int64_t>() > 0; };
    const auto atoms = count[i].item<int64_t>();
    std::array<int64_t, 3> frame = {0, 0, 0};
    int64_t at_center = -1, at_representative = -1;
    if (out.atomized[i].item<bool>()) {
      at_representative = 0;
    } else if (is(protein)) {
      at_center = 1, at_representative = atoms == 4 ? 1 : 4, frame = {0, 1, 2};
    } else if (is(rna) || is(dna)) {
      // P OP1 OP2 O5' C5' C4' O4' C3' O3' C2' (O2') C1' and the base: N9 C8 N7 C5 C6 (N6|O6) N1 C2
      // (N2) N3 C4 of a purine, N1 C2 .. of a pyrimidine.
      at_center = is(rna) ? 11 : 10;
      const int64_t base = atoms - at_center - 1;
      at_representative = base >= 10 ? atoms - 1 : at_center + 2;
      frame = {7, at_center, 5};
    }
    const bool residue = at_center >= 0;
    center.push_back(residue ? first + at_center : -1);
    representative.push_back(at_representative < 0 ? -1 : first + at_representative);
    for (const int64_t place : frame) frames.push_back(residue ? first + place : 0);
    has_frame.push_back(residue ? 1 : 0);
    first += atoms;
  }
  out.center = at::tensor(center, at::kLong);
  out.representative = at::tensor(representative, at::kLong);
  out.frames = {at::tensor(frames, at::kLong).view({tokens, 3}),
                at::tensor(has_frame, at::kByte).to(at::kBool)};
  out.nucleotide_of_atoms = (rna + dna).gt(0).to(c.dtype()).index_select(0, out.token);
  return out;
}

/// One loss for each sample.
template <class F>
void of_samples(ParityCase& c, const F& f) {
  const at::Tensor logits = c.in("logits"), x = c.in("x_pred");
  std::vector<at::Tensor> losses;
  for (int64_t s = 0; s < x.size(0); ++s)
    losses.push_back(f(logits[s].unsqueeze(0), x[s].unsqueeze(0)));
  c.outputs["loss"] = at::stack(losses);
}

void plddt(ParityCase& c) {
  const Structure s = structure_of(c);
  const at::Tensor resolved = c.in("coord_mask"), partners = s.center.masked_select(s.center.ge(0));
  of_samples(c, [&](const at::Tensor& logits, const at::Tensor& x) {
    return plddt_loss(logits, x, c.in("x_true"), resolved, s.nucleotide_of_atoms, partners,
                      resolved.index_select(0, partners), c.conventions);
  });
}

void pde(ParityCase& c) {
  const Structure s = structure_of(c);
  of_samples(c, [&](const at::Tensor& logits, const at::Tensor& x) {
    return pde_loss(logits, x, c.in("x_true"), c.in("coord_mask"), s.representative.clamp_min(0),
                    s.representative.ge(0), c.conventions);
  });
}

void pae(ParityCase& c) {
  const Structure s = structure_of(c);
  const at::Tensor truth = c.in("x_true"), resolved = c.in("coord_mask");
  const auto frames = [&](const at::Tensor& x, const at::Tensor& known) {
    return structure_frames(s.frames, s.atomized, s.asym, s.token, x, known);
  };
  of_samples(c, [&](const at::Tensor& logits, const at::Tensor& x) {
    return pae_loss(logits, x, truth, resolved, frames(x[0].detach(), at::ones_like(resolved)),
                    frames(truth, resolved), s.representative.clamp_min(0), s.representative.ge(0),
                    c.conventions);
  });
}

void distogram(ParityCase& c) {
  const at::Tensor rep = structure_of(c).representative;
  const at::Tensor known = c.in("coord_mask").index_select(0, rep.clamp_min(0)) * rep.ge(0);
  const at::Tensor loss =
      distogram_loss(c.in("logits"), c.in("x_true").index_select(0, rep.clamp_min(0)), known, kEps);
  c.outputs["loss"] = loss / (1 + kEps);  // the mean over a batch of one
}

/// Which atom of the truth each predicted atom stands for. The crop is the whole truth.
void permutation(ParityCase& c) {
  Symmetry truth;
  const auto list = [&](const char* name) {
    const at::Tensor flat = c.in(name).cpu().to(at::kInt).flatten().contiguous();
    return std::vector<int32_t>(flat.const_data_ptr<int32_t>(),
                                flat.const_data_ptr<int32_t>() + flat.numel());
  };
  truth.atom_count = list("num_atoms_per_token"), truth.center_atom = list("center_atom");
  const std::vector<int32_t> entity = list("mol_entity_id"), copy = list("mol_sym_id"),
                             place = list("mol_sym_token_index"), ligand = list("is_ligand"),
                             first = list("component_first_atom"), shape = list("component_shape"),
                             permutations = list("component_permutations");
  std::map<std::pair<int32_t, int32_t>, std::map<int32_t, int32_t>> molecules;
  int32_t atoms = 0;
  for (size_t t = 0; t < entity.size(); ++t) {
    truth.atom_start.push_back(atoms);
    atoms += truth.atom_count[t];
    truth.tokens.push_back(static_cast<int32_t>(t));
    molecules[{entity[t], copy[t]}][place[t]] = static_cast<int32_t>(t);
  }
  for (const auto& [names, tokens] : molecules) {
    Symmetry::Molecule molecule{names.first, false, {}};
    for (const auto& [ignored, token] : tokens) {
      molecule.tokens.push_back(token);
      molecule.polymer = molecule.polymer || ligand[static_cast<size_t>(token)] == 0;
    }
    truth.molecules.push_back(std::move(molecule));
  }
  const at::Tensor position = c.in("x_true").cpu().to(at::kFloat).contiguous(),
                   known = c.in("coord_mask").cpu().to(at::kByte).contiguous();
  truth.position.assign(position.const_data_ptr<float>(),
                        position.const_data_ptr<float>() + position.numel());
  truth.resolved.assign(known.const_data_ptr<uint8_t>(),
                        known.const_data_ptr<uint8_t>() + known.numel());
  auto next = permutations.begin();
  for (size_t i = 0; i < first.size(); ++i) {
    const int32_t count = shape[2 * i], size = shape[2 * i + 1];
    const auto last = next + int64_t{count} * size;
    if (count > 1) truth.components.push_back({first[i], size, {next, last}});
    next = last;
  }
  c.outputs["atom"] = align_permutation(truth, c.in("x_pred")).to(at::kDouble);
}

/// Algorithm 31 and the distogram, in one class there.
void auxiliary_heads(ParityCase& c) {
  const nlohmann::json &embedding = c.config().at("pairformer_embedding"),
                       &blocks = embedding.at("pairformer");
  const ConfidenceHead module(
      c.scope("confidence", "aux_heads"), c.conventions,
      {pair_sizes(blocks), number(blocks, "c_s"), number(embedding, "c_s_input"),
       number(blocks, "no_heads_pair_bias"), number(blocks, "no_blocks"),
       number(c.config().at("pae"), "c_out"), number(c.config().at("pde"), "c_out"),
       c.size("max_atoms_per_token"), number(blocks, "transition_n")});
  const DistogramHead heads(c.scope("distogram", "aux_heads"), c.conventions,
                            number(c.config().at("distogram"), "c_z"),
                            number(c.config().at("distogram"), "c_out"));
  c.load();
  const Structure s = structure_of(c);
  const at::Tensor x = c.in("x_pred"), z = c.in("z_trunk");
  const at::Tensor place = atom_in_token(s.token, z.size(0));
  std::array<std::vector<at::Tensor>, 5> all;
  Dropout off;
  for (int64_t i = 0; i < x.size(0); ++i) {
    const ConfidenceLogits logits =
        module(c.in("s_inputs"), c.in("s_trunk"), z,
               x[i].index_select(0, s.representative.clamp_min(0)), s.token, place, {}, {}, off);
    all[0].push_back(logits.plddt), all[1].push_back(logits.pae), all[2].push_back(logits.pde);
    all[3].push_back(logits.resolved), all[4].push_back(heads(z));
  }
  c.outputs["plddt"] = at::stack(all[0]), c.outputs["pae"] = at::stack(all[1]);
  c.outputs["pde"] = at::stack(all[2]);
  c.outputs["experimentally_resolved"] = at::stack(all[3]);
  c.outputs["distogram"] = at::stack(all[4]);
}

}  // namespace

const std::map<std::string_view, ParityRunner>& openfold3_runners() {
  static const std::map<std::string_view, ParityRunner> runners = {
      {"TriangleMultiplicationOutgoing",
       [](ParityCase& c) {
         run_triangle_multiplication(
             c, c.scope("triangle_multiplication_out", "pair_stack.tri_mul_out"),
             TriangleMultiplication::outgoing);
       }},
      {"TriangleMultiplicationIncoming",
       [](ParityCase& c) {
         run_triangle_multiplication(
             c, c.scope("triangle_multiplication_out", "pair_stack.tri_mul_out"),
             TriangleMultiplication::incoming);
       }},
      {"TriangleAttention",
       [](ParityCase& c) { triangle_attention(c, TriangleAttention::starting, false); }},
      // "TriangleAttention (as PairBlock.tri_att_end calls it)"
      {"tri_att_end calls it)",
       [](ParityCase& c) { triangle_attention(c, TriangleAttention::ending, false); }},
      {"TriangleAttentionEndingNode",
       [](ParityCase& c) { triangle_attention(c, TriangleAttention::ending, true); }},
      {"AttentionPairBias",
       in_scope("pairformer.blocks.0.attention_pair_bias",
                "pairformer_stack.blocks.0.attn_pair_bias", run_single_attention)},
      {"DiffusionAttentionPairBias",
       [](ParityCase& c) { conditioned_attention(c, ConditionedAttention::tokens); }},
      {"CrossAttentionPairBias",
       [](ParityCase& c) { conditioned_attention(c, ConditionedAttention::atoms); }},
      {"AdaLN", in_scope("transformer.blocks.0.attention_pair_bias",
                         "diffusion_transformer.blocks.0.attention_pair_bias.layer_norm_a",
                         run_adaptive_norm)},
      {"SwiGLUTransition", in_scope("transition", "transition", run_transition)},
      {"ConditionedTransitionBlock",
       in_scope("conditioned_transition", "conditioned_transition", run_conditioned_transition)},
      {"OuterProductMean",
       in_scope("outer_product_mean", "outer_product_mean", run_outer_product_mean)},
      {"MSAPairWeightedAveraging",
       in_scope("averaging", "msa_att_row", run_pair_weighted_averaging)},
      {"PairFormerBlock",
       [](ParityCase& c) {
         run_pairformer_block(c, c.scope("pairformer.blocks.0", "pairformer_stack.blocks.0"),
                              pair_sizes(c.config()));
       }},
      {"PairFormerStack",
       [](ParityCase& c) {
         run_pairformer_stack(c, c.scope("pairformer", "pairformer_stack"), pair_sizes(c.config()));
       }},
      {"MSAModuleStack", msa_stack},
      {"MSAModuleEmbedder", msa_embedder},
      {"TemplateEmbedderAllAtom", template_embedder_all_atom},
      {"relpos_complex", [](ParityCase& c) { c.outputs["relp"] = relative_of(c); }},
      {"FourierEmbedding",
       [](ParityCase& c) {
         const at::Tensor x = c.in("x");
         const FourierEmbedding module(c.scope("fourier", "fourier_emb"), c.conventions,
                                       c.recorded("y").size(-1));
         c.load();
         c.outputs["y"] = module(x.squeeze(-1));
       }},
      {"AtomAttentionEncoder",
       [](ParityCase& c) {
         run_atom_encoder(c, c.scope("atom_encoder", "atom_attn_enc"), atom_sizes(c.config()),
                          c.flag("add_noisy_pos"));
       }},
      {"AtomAttentionDecoder",
       [](ParityCase& c) {
         run_atom_decoder(c, c.scope("atom_decoder", "atom_attn_dec"), atom_sizes(c.config()));
       }},
      {"InputEmbedderAllAtom", input_embedder},
      {"DiffusionTransformer",
       in_scope("transformer", "diffusion_transformer", run_diffusion_transformer)},
      {"DiffusionConditioning",
       [](ParityCase& c) {
         run_diffusion_conditioning(c, c.scope("conditioning", "diffusion_conditioning"),
                                    relative_of(c));
       }},
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
      {"DistogramHead", in_scope("distogram", "aux_heads.distogram", run_distogram_head)},
      {"PredictedAlignedErrorHead", [](ParityCase& c) { error_head(c, "pae", false); }},
      {"PredictedDistanceErrorHead", [](ParityCase& c) { error_head(c, "pde", true); }},
      {"create_noise_schedule", run_noise_schedule},
      {"SampleDiffusion", sampler},
      {"all_atom_distogram_loss", distogram},
      {"all_atom_plddt_loss", plddt},
      {"pde_loss", pde},
      {"pae_loss", pae},
      {"AuxiliaryHeadsAllAtom", auxiliary_heads},
      {"OpenFold3", run_whole_model},
      {"single_batch_multi_chain_permutation_alignment", permutation},
  };
  return runners;
}

}  // namespace megafold::cli
