// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// megafold predict: sample structures from a checkpoint; with --run, keep the numbers with the run.
#include "predict/predict.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/publish.h"
#include "checkpoint/checkpoint.h"
#include "cli/commands.h"
#include "ops/device.h"
#include "predict/confidence_json.h"
#include "report/history.h"

namespace megafold::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct PredictArguments {
  std::string run, cache, out, json_out;
  PredictOptions options{.checkpoint = {}, .entry = {}, .samples = 5};  // AlphaFold 3's five
  std::string checkpoint;
};

// What was not given follows from the run: its checkpoint, its cache, the entry that it learned.
void fill_from_run(PredictArguments& arguments) {
  const fs::path run = arguments.run;
  if (arguments.checkpoint.empty()) {
    if (run.empty()) fail<BadInput>("predict needs --run DIR, or --checkpoint FILE");
    arguments.checkpoint = (run / "checkpoint.safetensors").string();
  }
  if (arguments.out.empty()) {
    if (run.empty()) fail<BadInput>("predict needs --out FILE (or --run DIR)");
    arguments.out = (run / "predicted.cif").string();
  }
  arguments.options.checkpoint = arguments.checkpoint;
  if (!arguments.cache.empty() && !arguments.options.entry.empty()) return;
  const std::string text = Checkpoint(arguments.checkpoint).state().config;
  const json config = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const json data = config.is_object() ? config.value("data", json::object()) : json::object();
  if (arguments.cache.empty()) arguments.cache = data.value("cache", std::string());
  if (arguments.cache.empty()) {
    fail<BadInput>("{} does not say which cache it was trained on; give --cache DIR",
                   arguments.checkpoint);
  }
  if (!arguments.options.entry.empty()) return;
  const json entries = data.value("entries", json::array());
  if (!entries.is_array() || entries.size() != 1) {
    fail<BadInput>("the run was trained on {} entries; give --entry ID",
                   entries.empty() ? "all" : std::to_string(entries.size()));
  }
  arguments.options.entry = entries[0].get<std::string>();
}

json finite(double value) {
  return std::isfinite(value) ? json(value) : json();
}

json numbers_of(const Prediction& prediction, const PredictOptions& options) {
  json samples = json::array();
  for (const PredictedStructure& sample : prediction.samples) {
    samples.push_back(
        {{"lddt", finite(sample.truth.lddt.score)},
         {"lddt_as_deposited", finite(sample.truth.lddt_as_deposited)},
         {"rmsd", finite(sample.truth.rmsd)},
         {"draw", sample.draw + 1},
         {"ranking_score", sample.confidence ? finite(sample.confidence->ranking_score) : json()},
         {"wrong_hands", sample.wrong_hands},
         {"mirror_image", sample.truth.is_mirror_image()}});
  }
  // The first sample is the structure: best by hands, never picked by looking at the truth.
  const PredictedStructure& first = prediction.samples.front();
  json confidence;  // null: no such head
  if (first.confidence) {
    confidence = summary_json(*first.confidence);
    double sum = 0;
    for (const float plddt : first.confidence->plddt) sum += double{plddt};
    confidence["plddt"] = sum / static_cast<double>(first.confidence->plddt.size());
  }
  return {{"entry", prediction.entry.id},
          {"confidence", confidence},
          {"lddt", finite(first.truth.lddt.score)},
          {"lddt_as_deposited", finite(first.truth.lddt_as_deposited)},
          {"lddt_pairs", first.truth.lddt.num_pairs},
          {"rmsd", finite(first.truth.rmsd)},
          {"mirror_rmsd", finite(first.truth.mirror_rmsd)},
          {"mirror_image", first.truth.is_mirror_image()},
          {"stereocentres", prediction.stereocentres},
          {"wrong_hands", first.wrong_hands},
          {"samples", samples},
          {"seed", options.seed},
          {"sampler_steps", prediction.sampler_steps},
          {"predict_seconds", prediction.seconds},
          {"checkpoint_step", prediction.trained_steps}};
}

void predict_command(PredictArguments arguments) {
  fill_from_run(arguments);
  (void)parse_device(arguments.options.device);  // refused before a file is read
  const PredictOptions& options = arguments.options;
  const auto cache = CacheReader::open(arguments.cache);
  const Prediction prediction = predict(*cache, options);
  write_prediction(arguments.out, prediction, options);
  json numbers = numbers_of(prediction, options);
  fmt::print("{}: {} atoms, {} residues, {} of {} sampler steps in {:.1f} s, from step {}\n",
             prediction.entry.id, prediction.entry.num_atoms(), prediction.entry.residues.size(),
             prediction.samples.size() == 1 ? "1 sample"
                                            : fmt::format("{} samples", prediction.samples.size()),
             prediction.sampler_steps, prediction.seconds, prediction.trained_steps);
  for (size_t s = 0; s < prediction.samples.size(); ++s) {
    const PredictedStructure& sample = prediction.samples[s];
    fmt::print("  model {}: {} of {} stereocentres have the wrong hand", s + 1, sample.wrong_hands,
               prediction.stereocentres);
    if (sample.confidence)
      fmt::print("; pTM {:.2f}, ranking score {:.2f}", sample.confidence->ptm,
                 sample.confidence->ranking_score);
    const Comparison& truth = sample.truth;
    if (std::isfinite(truth.lddt.score)) {
      fmt::print("; lDDT {:.3f} over all atoms ({} distances), RMSD {:.2f} A\n", truth.lddt.score,
                 truth.lddt.num_pairs, truth.rmsd);
      if (truth.lddt.score >= truth.lddt_as_deposited + 5e-4)
        fmt::print(
            "           copies or equivalent atoms are renamed: lDDT {:.3f} by the entry's "
            "own names\n",
            truth.lddt_as_deposited);
      if (truth.is_mirror_image()) {
        fmt::print("           a mirror image: RMSD {:.2f} A after reflection (lDDT cannot tell)\n",
                   truth.mirror_rmsd);
      }
    } else {
      fmt::print("; no resolved atoms to compare with\n");
    }
  }
  fmt::print("wrote {}\n", arguments.out);
  if (!arguments.json_out.empty()) publish(arguments.json_out, numbers.dump(2) + "\n");
  // A run's own numbers are about its own structure: another --out leaves them alone.
  const fs::path run = arguments.run;
  if (run.empty() || fs::path(arguments.out) != run / "predicted.cif") return;
  if (fs::exists(run / "metrics.jsonl")) {
    json training = training_summary(read_history(run / "metrics.jsonl"));
    training.update(numbers);
    numbers = std::move(training);
  }
  merge_summary(run / "summary.json", numbers);
  fmt::print("wrote {}\n", (run / "summary.json").string());
}

}  // namespace

void add_predict_command(CLI::App& app) {
  const auto arguments = std::make_shared<PredictArguments>();
  PredictOptions& options = arguments->options;
  CLI::App* const command = app.add_subcommand(
      "predict", "Sample structures from a checkpoint; says lDDT where the truth is known");
  command->add_option("--run", arguments->run,
                      "Folder of a run: gives checkpoint, cache, entry and --out, and its "
                      "summary.json takes the numbers");
  command->add_option("--checkpoint", arguments->checkpoint, "Checkpoint (.safetensors)");
  command->add_option("--cache", arguments->cache, "Cache that has the entry");
  command->add_option("--entry", options.entry, "Id of the entry, as in `megafold cache inspect`");
  command->add_option("--out", arguments->out, "mmCIF to write; model 1 is the best ranked");
  command->add_option("--json", arguments->json_out, "JSON with the numbers to write");
  command->add_option("--seed", options.seed, "Fixes every draw")
      ->check([](const std::string& text) {
        return text.starts_with('-') ? text + ": a number of 0 or more is needed" : std::string();
      })
      ->capture_default_str();
  command
      ->add_option("--samples", options.samples,
                   "Structures to sample; they are ranked by the hands of their stereocentres")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_option("--steps", options.steps, "Steps of the sampler; default: the model's (200)")
      ->check(CLI::Range(1, 2000));
  command->add_option("--cycles", options.cycles, "Passes of the trunk; default: the model's")
      ->check(CLI::Range(1, 32));
  command->add_option("--device", options.device, "cpu or cuda")->capture_default_str();
  command->add_flag("--raw-weights", options.raw_weights,
                    "The last step's weights in place of their average");
  command->footer(
      "Examples:\n"
      "  megafold predict --run runs/demo\n"
      "  megafold predict --run runs/demo --seed 2 --samples 20 --out more.cif\n"
      "  megafold predict --checkpoint model.safetensors --cache cache --entry 2q2k --out "
      "2q2k.cif");
  command->callback([arguments] { predict_command(*arguments); });
}

}  // namespace megafold::cli
