// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The runner of whole models (tests/parity/*_model.py): Algorithm 1 with recycling, the denoiser on
// given noise or on a truth with a training step's given draws, and the confidence head on a given
// structure.
#include <array>

#include "base/errors.h"
#include "checkpoint/checkpoint.h"
#include "cli/parity_cases.h"
#include "model/model.h"

namespace megafold::cli {
namespace {

ModelConfig config_of(const ParityCase& c) {
  ModelConfig config;
  if (c.config().contains("preset")) {
    config = ModelConfig::preset(c.config().at("preset").get<std::string>(), c.conventions.dialect);
  } else {
    config.confidence_blocks = config.template_blocks = 0;  // where the case does not name them
  }
  visit_model_config(config, [&](const char* key, auto& value, double, double, const char*) {
    value = c.size(key, static_cast<int64_t>(value));
  });
  config.dialect = c.conventions.dialect;
  // Masks that are given stand for any rate but 0; a template's blocks would draw theirs in
  // between.
  config.pair_dropout = config.msa_dropout = config.confidence_dropout = 0;
  return config;
}

Batch batch_of(ParityCase& c) {
  Batch batch;
  batch.id = "golden";
  batch.for_each([&](const std::string& name, at::Tensor& tensor) {
    if (c.has(name)) tensor = c.in(name);
  });
  for (const auto& [name, tensor] : std::array<std::pair<const char*, at::Tensor*>, 5>{
           {{"template_restype", &batch.template_restype},
            {"template_distogram", &batch.template_distogram},
            {"template_unit_vector", &batch.template_unit_vector},
            {"template_pseudo_beta_mask", &batch.template_pseudo_beta_mask},
            {"template_backbone_frame_mask", &batch.template_backbone_frame_mask}}})
    if (c.has(name)) *tensor = c.in(name);
  if (!batch.token_mask.defined()) batch.token_mask = at::ones_like(batch.deletion_mean);
  if (!batch.atom_mask.defined()) batch.atom_mask = at::ones_like(batch.ref_mask);
  if (!batch.msa_mask.defined()) batch.msa_mask = at::ones_like(batch.deletion);
  return batch;
}

}  // namespace

void run_whole_model(ParityCase& c) {
  const Model model(config_of(c), /*seed=*/0);
  for (const Parameters::Entry& entry : model.parameters().entries())
    c.parameters.add(entry.name, entry.tensor, entry.trainable);
  if (c.config().contains("checkpoint")) {  // a file that `megafold convert` made of the peer's
    const Checkpoint file(c.folder() / c.config().at("checkpoint").get<std::string>());
    file.load_weights(c.parameters, Weights::raw);
    c.place_parameters();
  } else {
    c.load();
  }
  const Batch batch = batch_of(c);
  const bool training = c.has("draw_level");
  NoisedTruth noised;
  if (training) {
    noised = add_training_noise(
        c.in("x_truth"), c.in("resolved"),
        {c.in("draw_level"), c.in("draw_rotation"), c.in("draw_shift"), c.in("draw_noise")});
  } else {
    noised.x_noisy = c.in("x_noisy"), noised.t_hat = c.in("t_hat");
  }
  const Denoised out =
      model.denoise(batch, noised.x_noisy, noised.t_hat, c.size("cycles"), c.dropout());
  // What stands in padding is nobody's: the case has the real part.
  const int64_t tokens = c.size("real_tokens", batch.num_tokens());
  const int64_t atoms = c.size("real_atoms", batch.num_atoms());
  const auto pairs = [&](const at::Tensor& x) { return x.slice(0, 0, tokens).slice(1, 0, tokens); };
  c.outputs["s_inputs"] = out.trunk.s_inputs.slice(0, 0, tokens);
  c.outputs["s"] = out.trunk.s.slice(0, 0, tokens);
  c.outputs["z"] = pairs(out.trunk.z);
  c.outputs["distogram"] = pairs(out.distogram_logits);
  c.outputs["x_denoised"] = out.x_denoised.slice(1, 0, atoms);
  if (training) {  // what an unresolved atom becomes is nobody's
    c.outputs["x_denoised"] = c.outputs["x_denoised"] * c.in("resolved").unsqueeze(-1);
    c.outputs["x_true"] = noised.x_true, c.outputs["t_hat"] = noised.t_hat;
  }
  if (!c.has("x_pred")) return;
  std::array<std::vector<at::Tensor>, 4> all;
  for (const ConfidenceLogits& logits : model.confidence(batch, out.trunk, c.in("x_pred"))) {
    all[0].push_back(logits.plddt.slice(0, 0, atoms));
    all[1].push_back(pairs(logits.pae));
    all[2].push_back(pairs(logits.pde));
    all[3].push_back(logits.resolved.slice(0, 0, atoms));
  }
  c.outputs["plddt"] = at::stack(all[0]), c.outputs["pae"] = at::stack(all[1]);
  c.outputs["pde"] = at::stack(all[2]), c.outputs["resolved"] = at::stack(all[3]);
}

}  // namespace megafold::cli
