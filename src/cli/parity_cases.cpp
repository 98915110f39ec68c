// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/parity_cases.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/errors.h"
#include "checkpoint/import_peer.h"
#include "model/atom_attention.h"
#include "model/diffusion_module.h"
#include "model/distogram_head.h"
#include "model/msa_module.h"
#include "model/sampler.h"

namespace megafold::cli {
namespace {

int64_t heads_of(const ParityCase& c) {
  return c.size({"n_heads", "no_heads_pair_bias", "no_heads"});
}
int64_t blocks_of(const ParityCase& c) {
  return c.size({"n_blocks", "no_blocks"});
}

/// A block or a stack of the Pairformer.
template <class Module>
void run_blocks(ParityCase& c, const Module& module) {
  at::Tensor s = c.in("s"), z = c.in("z");
  Dropout off;
  module(s, z, mask_of(c, "single_mask"), mask_of(c, "pair_mask"), off);
  c.outputs["s"] = s, c.outputs["z"] = z;
}

}  // namespace

int64_t ParityCase::size(std::initializer_list<const char*> keys) const {
  for (const char* const key : keys) {
    if (!config_.contains(key)) continue;
    const nlohmann::json& value = config_.at(key);
    if (!value.is_number_integer() || value.get<int64_t>() < 0)
      fail<BadInput>("the case's config has {} for '{}', a number of 0 or more was expected",
                     value.dump(), key);
    return value.get<int64_t>();
  }
  fail<BadInput>("the case's config lacks '{}'", fmt::join(keys, "' or '"));
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

at::Tensor mask_of(ParityCase& c, const char* name) {
  return c.has(name) ? c.in(name).gt(0) : at::Tensor();
}

int64_t tokens_of(ParityCase& c) {
  return c.in("atom_to_token_idx").max().item<int64_t>() + 1;
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

void run_triangle_multiplication(ParityCase& c, const Scope& scope,
                                 TriangleMultiplication::Direction direction) {
  const TriangleMultiplication module(scope, direction, c.size("c_z"), c.size("c_hidden"));
  c.load();
  c.outputs["z"] = module(c.in("z"), mask_of(c, "mask"));
}

void run_triangle_attention(ParityCase& c, const Scope& scope, const Conventions& conventions,
                            TriangleAttention::Node node) {
  const TriangleAttention module(scope, conventions, node, c.size("c_in"), c.size("no_heads"),
                                 c.size("c_hidden"));
  c.load();
  c.outputs["x"] = module(c.in("x"), mask_of(c, "mask"));
}

void run_single_attention(ParityCase& c, const Scope& scope) {
  const SingleAttention module(scope, c.size({"c_a", "c_q"}), c.size("c_z"), heads_of(c));
  c.load();
  c.outputs["a"] = module(c.in("a"), c.in("z"), mask_of(c, "mask"));
}

void run_pairformer_block(ParityCase& c, const Scope& scope, const PairSizes& sizes) {
  const PairformerBlock module(scope, c.conventions, sizes, c.size("c_s"), heads_of(c),
                               c.size("transition_n", 4));
  c.load();
  run_blocks(c, module);
}

void run_pairformer_stack(ParityCase& c, const Scope& scope, const PairSizes& sizes) {
  const PairformerStack module(scope, c.conventions, sizes, c.size("c_s"), heads_of(c),
                               blocks_of(c), c.size("transition_n", 4));
  c.load();
  run_blocks(c, module);
}

void run_adaptive_norm(ParityCase& c, const Scope& scope) {
  const AdaptiveLayerNorm module(scope / "norm_a", c.size("c_a"), c.size("c_s"));
  c.load();
  c.outputs["a"] = module(c.in("a"), c.in("s"));
}

void run_transition(ParityCase& c, const Scope& scope) {
  const Transition module(scope, c.size("c_in"), c.size("n"));
  c.load();
  c.outputs["x"] = module(c.in("x"), c.optional("mask"));
}

void run_conditioned_transition(ParityCase& c, const Scope& scope) {
  const ConditionedTransition module(scope, c.size("c_a"), c.size("c_s"), c.size("n"));
  c.load();
  c.outputs["a"] = module(c.in("a"), c.in("s"), c.optional("mask"));
}

void run_outer_product_mean(ParityCase& c, const Scope& scope) {
  const OuterProductMean module(scope, c.size("c_m"), c.size("c_z"), c.size("c_hidden"));
  c.load();
  c.outputs["z"] = module(c.in("m"), c.in("mask"));
}

void run_pair_weighted_averaging(ParityCase& c, const Scope& scope) {
  const PairWeightedAveraging module(scope, c.size({"c_m", "c_in"}), c.size("c_z"), heads_of(c),
                                     c.size({"c", "c_hidden"}));
  c.load();
  c.outputs["m"] = module(c.in("m"), c.in("z"), mask_of(c, "mask"));
}

void run_diffusion_transformer(ParityCase& c, const Scope& scope) {
  const DiffusionTransformer module(scope, c.conventions, ConditionedAttention::tokens,
                                    blocks_of(c), c.size("c_a"), c.size("c_s"), c.size("c_z"),
                                    heads_of(c));
  c.load();
  const at::Tensor a = c.in("a"), mask = mask_of(c, "mask");
  c.outputs["a"] = module(a, c.in("s"), module.pair_biases(c.in("z").squeeze(0)),
                          mask.defined() ? mask.unsqueeze(0).expand({a.size(0), a.size(1)}) : mask);
}

void run_diffusion_conditioning(ParityCase& c, const Scope& scope, const at::Tensor& relative) {
  const DiffusionConditioning module(scope, c.conventions, c.size("c_s"), c.size("c_z"),
                                     c.size({"c_s_inputs", "c_s_input"}),
                                     c.size({"c_noise_embedding", "c_fourier_emb"}));
  c.load();
  c.outputs["z"] = module.pairs(relative, c.in("z_trunk"));
  c.outputs["s"] =
      module.at_level(module.singles(c.in("s_inputs"), c.in("s_trunk")), c.in("t_hat"));
}

void run_diffusion_module(ParityCase& c, const Scope& scope, const DiffusionSizes& sizes,
                          const at::Tensor& relative) {
  const DiffusionModule module(scope, c.conventions, sizes);
  c.load();
  const at::Tensor s_trunk = c.in("s_trunk");
  const AtomFeatures atoms = parity_atoms(c, s_trunk.size(0));
  const auto prepared =
      module.prepare(atoms, relative, c.in("s_inputs"), s_trunk, c.in("z_trunk"), {});
  c.outputs["x_denoised"] = module(atoms, prepared, c.in("x_noisy"), c.in("t_hat"));
}

void run_distogram_head(ParityCase& c, const Scope& scope) {
  const DistogramHead module(scope, c.conventions, c.size("c_z"), c.size({"no_bins", "c_out"}));
  c.load();
  c.outputs["logits"] = module(c.in("z"));
}

void run_noise_schedule(ParityCase& c) {
  for (const int64_t steps : {20, 200})
    c.outputs[fmt::format("t{}", steps)] =
        at::tensor(noise_schedule(steps, c.conventions), at::kDouble);
}

void run_atom_encoder(ParityCase& c, const Scope& scope, const AtomSizes& sizes, bool coordinates) {
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

void run_atom_decoder(ParityCase& c, const Scope& scope, const AtomSizes& sizes) {
  const AtomAttentionDecoder module(scope, c.conventions, sizes);
  c.load();
  AtomFeatures atoms;
  atoms.token = c.in("atom_to_token_idx");
  c.outputs["r"] = module(atoms, c.in("a"), c.in("q_skip"), c.in("c_skip"),
                          module.transformer.pair_biases(c.in("p_skip").squeeze(0)));
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

}  // namespace megafold::cli
