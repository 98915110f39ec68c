// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/predict.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/publish.h"
#include "batch/sample.h"
#include "checkpoint/checkpoint.h"
#include "model/model.h"
#include "ops/device.h"
#include "predict/chirality.h"
#include "predict/confidence_json.h"
#include "predict/write_mmcif.h"

namespace megafold {
namespace {

// The whole structure, with the alignment as the training read it but without a draw of rows.
BatchOptions whole_entry(const TrainingState& state) {
  BatchOptions options;
  options.crop.tokens = std::numeric_limits<int64_t>::max();
  options.crop.needs_label = false;
  options.msa.draw_rows = false;
  const auto config = nlohmann::json::parse(state.config, nullptr, /*allow_exceptions=*/false);
  const nlohmann::json::json_pointer max_rows("/data/msa/max_rows");
  if (config.is_object() && config.contains(max_rows) && config[max_rows].is_number_integer()) {
    options.msa.max_rows = config[max_rows].get<int64_t>();
  }
  return options;
}

}  // namespace

Prediction predict(const CacheReader& cache, const PredictOptions& options) {
  if (options.samples < 1 || options.samples > 10000) {
    fail<BadInput>("samples is {}; 1 to 10000 are possible", options.samples);
  }
  const at::Device device = parse_device(options.device);
  const Checkpoint checkpoint(options.checkpoint);
  const auto record = cache.structure(options.entry);
  Prediction result;
  result.entry = read_entry(*record);
  result.trained_steps = checkpoint.state().step;
  result.trained_on_this_cache = checkpoint.state().cache_key == cache.content_key();
  result.sampler_steps = options.steps > 0 ? options.steps : checkpoint.model().sampler_steps;

  const auto start = std::chrono::steady_clock::now();
  Model model(checkpoint.model(), /*seed=*/0);
  checkpoint.load_weights(model.parameters(),
                          options.raw_weights ? Weights::raw : Weights::average);
  model.parameters().to(device, at::kFloat);
  const StructureView structure(record);
  const Batch batch = make_batch(
                          structure, [&](const std::string& key) { return cache.alignment(key); },
                          whole_entry(checkpoint.state()), PreferredChains{}, options.seed,
                          /*visit=*/0, [&](const std::string& key) { return cache.templates(key); })
                          .to(device);
  const Samples samples = model.sample(batch, {.seed = options.seed,
                                               .samples = options.samples,
                                               .steps = result.sampler_steps,
                                               .cycles = options.cycles});
  const at::Tensor positions = samples.x.to(at::kCPU, at::kFloat).contiguous();
  const auto num_atoms = static_cast<int64_t>(result.entry.num_atoms());
  if (positions.dim() != 3 || positions.size(0) != options.samples ||
      positions.size(1) != num_atoms || positions.size(2) != 3) {
    fail<BadInput>("entry {}: the sampler gave an array of {} values for {} samples of {} atoms",
                   options.entry, positions.numel(), options.samples, num_atoms);
  }
  const auto centres = find_stereocentres(
      {structure.ref_position, structure.ref_mask, structure.element, structure.ref_space_uid});
  result.stereocentres = std::ssize(centres);
  for (int64_t s = 0; s < options.samples; ++s) {
    const float* const first = positions.const_data_ptr<float>() + 3 * s * num_atoms;
    PredictedStructure sample;
    sample.position.assign(first, first + 3 * num_atoms);
    if (!at::isfinite(positions[s]).all().item<bool>()) {
      fail<BadInput>(
          "entry {}, sample {}: the model's output is not finite; {} holds no model that "
          "predicts",
          options.entry, s + 1, options.checkpoint.string());
    }
    sample.truth = compare(result.entry, batch, positions[s]);
    sample.draw = s;
    sample.wrong_hands = count_wrong_hands(centres, sample.position);
    const auto share = static_cast<double>(sample.wrong_hands) /
                       static_cast<double>(std::max<int64_t>(1, result.stereocentres));
    if (!samples.confidence.empty())
      sample.confidence = confidence_scores(batch, samples.confidence[static_cast<size_t>(s)],
                                            samples.distogram_logits, samples.x[s],
                                            conventions_of(checkpoint.model().dialect));
    sample.mark = (sample.confidence ? sample.confidence->ranking_score : 0) - share;
    result.samples.push_back(std::move(sample));
  }
  std::ranges::stable_sort(result.samples, std::greater<>(), &PredictedStructure::mark);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

void write_prediction(const std::filesystem::path& path, const Prediction& prediction,
                      const PredictOptions& options) {
  const Entry& entry = prediction.entry;
  const PredictedStructure& best = prediction.samples.front();
  std::vector<PredictedModel> models;
  for (const PredictedStructure& sample : prediction.samples) {
    PredictedModel model{.position = sample.position};
    if (sample.confidence) {
      model.atom_score = sample.confidence->plddt;
    } else if (!sample.truth.lddt.per_residue.empty()) {
      model.residue_score = sample.truth.lddt.per_residue;
      model.residue_score.resize(entry.residues.size(), std::numeric_limits<double>::quiet_NaN());
    }
    models.push_back(std::move(model));
  }
  std::string meaning;
  if (best.confidence) {
    meaning = "pLDDT, 0 to 100";
  } else if (!models.front().residue_score.empty()) {
    meaning = "100 x lDDT to the entry by residue";
  }
  write_mmcif(
      path, entry, models,
      {.score_meaning = meaning,
       .details = fmt::format("step {}, seed {}, {} sampler steps, {} weights",
                              prediction.trained_steps, options.seed, prediction.sampler_steps,
                              options.raw_weights ? "last" : "averaged")});
  if (!best.confidence) return;
  const auto beside = [&](const char* suffix) {
    std::filesystem::path out = path;
    return out.replace_filename(path.stem().string() + suffix);
  };
  publish(beside("_confidences.json"), confidences_json(entry, *best.confidence).dump() + "\n");
  publish(beside("_summary_confidences.json"), summary_json(*best.confidence).dump(1) + "\n");
  std::string scores = "seed,sample,ranking_score,wrong_hands\n";
  for (const PredictedStructure& sample : prediction.samples)
    scores += fmt::format("{},{},{:.6f},{}\n", options.seed, sample.draw,
                          sample.confidence->ranking_score, sample.wrong_hands);
  publish(beside("_ranking_scores.csv"), scores);
}

}  // namespace megafold
