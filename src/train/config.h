// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The configuration of a training run. config_fields() is the ONE table of key, range and meaning:
// the YAML reader, --set, --print-config, the file saved with a run and docs/config.md come from
// it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <variant>
#include <vector>

#include "batch/filter.h"
#include "batch/sample.h"
#include "loss/total.h"
#include "model/config.h"
#include "optim/optimizer.h"

namespace megafold {

struct TrainConfig {
  int64_t seed = 1;
  std::string device = "cpu";
  int64_t threads = 0;
  std::string run = "runs/train";
  struct {
    std::string cache = "cache";
    std::vector<std::string> entries;
    std::string sampling = "uniform", clusters;
    int64_t threads = 2, queue = 8;
    std::string on_error = "stop";
    double deadline = 60;    // seconds
    std::string quarantine;  // empty: quarantine.jsonl in the run's folder
    EntryFilter filter;      // data.released_by, max_resolution, max_tokens
  } data;
  BatchOptions batch;  // data.crop, data.msa
  std::string model_preset = "initial";
  ModelConfig model = ModelConfig::preset("initial");
  LossWeights loss;
  OptimizerOptions optimizer;
  struct {
    int64_t steps = 78000, batch = 256, cycles = 0;
    double seconds = 0;
    std::string precision = "f32";
    bool recompute = false;
    bool dropout = true;
    NoiseLevels noise;
    int64_t rollout_steps = 20, confidence_every = 1;
    bool permute = true;
    std::string start_from;
    int64_t checkpoint_steps = 500, log_steps = 100;
  } training;
};

/// One line of the table.
struct ConfigField {
  using Value = std::variant<int64_t*, double*, bool*, std::string*, std::vector<std::string>*>;
  std::string key;                   // dotted: "data.crop.tokens"
  Value value;                       // in the TrainConfig that the table was made for
  double min = 0, max = 0;           // of numbers
  std::vector<std::string> choices;  // of a word; empty: any
  bool free_at_resume = false;       // a resumed run may give another value
  std::string meaning;

  [[nodiscard]] nlohmann::json json() const;
  /// "an integer between 1 and 64"
  [[nodiscard]] std::string wanted() const;
};
std::vector<ConfigField> config_fields(TrainConfig& config);

/// Reads a YAML file and then "key=value" overrides, whose values are YAML too. model.preset is
/// applied before the other model keys, wherever it stands. Throws BadInput naming file and line
/// (or the override), the key, the value met and what is wanted: unknown keys with the nearest
/// name, keys given twice, wrong types, values out of range.
TrainConfig read_config(const std::filesystem::path& file,
                        const std::vector<std::string>& overrides = {});

/// The effective config as YAML, each key with its meaning; read_config gives the same config back.
std::string config_yaml(const TrainConfig& config);
/// The same as one JSON object, nested as the YAML is.
nlohmann::json config_json(const TrainConfig& config);

/// Throws BadInput listing every key whose value a resumed run may not change, with both values.
/// `saved`: what config_json gave when the run started.
void require_same_run(const TrainConfig& config, const nlohmann::json& saved);

}  // namespace megafold
