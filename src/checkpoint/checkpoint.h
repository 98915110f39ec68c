// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A checkpoint is one safetensors file: the model's tensors by name ("model.P"), the optimizer's
// state ("ema.P", "adam.m.P", "adam.v.P", "adam.n.P"), and as metadata everything that fixes what
// the next step will do. It is published durably, and the one before it is kept beside it, so a
// kill at any moment leaves a whole one. A checksum over all tensors finds a flipped byte.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "checkpoint/safetensors.h"
#include "model/config.h"
#include "model/parameters.h"
#include "optim/optimizer.h"

namespace megafold {

inline constexpr int kCheckpointFormat = 1;

/// What a checkpoint says beside its tensors.
struct TrainingState {
  int64_t step = 0;          // steps done
  uint64_t next_visit = 0;   // where the loader goes on
  uint64_t seed = 0;         // of the run
  double train_seconds = 0;  // wall time of all steps so far
  std::string cache_key;     // content key of the cache trained on
  std::string config;        // the run's effective config, JSON
  std::string program;       // version of megafold that wrote it
};

/// Writes `path`; what stood there becomes previous_checkpoint(path). Throws Device (disk full,
/// read-only); then `path` stands as it was.
void save_checkpoint(const std::filesystem::path& path, const ModelConfig& model,
                     const Parameters& parameters, const Optimizer& optimizer,
                     const TrainingState& state);

/// Weights alone (a converted model): raw and average are the same, and there is no optimizer to go
/// on from; training.start_from reads it. `origin` stands in the header.
void save_weights(const std::filesystem::path& path, const ModelConfig& model,
                  const Parameters& parameters, const std::string& origin);

/// "checkpoint.safetensors" -> "checkpoint.previous.safetensors"
std::filesystem::path previous_checkpoint(const std::filesystem::path& path);

enum class Weights : uint8_t { raw, average };  // average: EMA, what SI validates and predicts with

class Checkpoint {
 public:
  /// Opens and checks all of it. Throws BadInput (missing, no checkpoint, another format version),
  /// Corrupt (cut short, a changed byte).
  explicit Checkpoint(const std::filesystem::path& path);

  [[nodiscard]] const TrainingState& state() const { return state_; }
  [[nodiscard]] const ModelConfig& model() const { return model_; }

  /// Throws BadInput where the model that is to be filled differs, in dialect or in any size,
  /// naming each key with both values.
  void require_model(const ModelConfig& model) const;

  /// Copies the weights into a model built from model(). Throws BadInput naming a tensor that is
  /// missing on either side or has another shape; nothing is copied then.
  void load_weights(Parameters& parameters, Weights which) const;
  /// Copies moments, average and the number of steps; throws as above.
  void load_optimizer(Optimizer& optimizer) const;

 private:
  std::filesystem::path path_;
  Safetensors file_;
  TrainingState state_;
  ModelConfig model_;
  bool weights_only_ = false;
};

}  // namespace megafold
