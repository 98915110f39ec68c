// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The training loop. A step: `batch` samples, each a forward pass of trunk and diffusion module and
// a backward pass; one update. On the CPU the parameters after a step are a function of config,
// cache and the step's number: a run killed and resumed gives the same bits.
//
// The run's folder holds config.yaml, metrics.jsonl, events/ (TensorBoard), checkpoint.safetensors
// and checkpoint.previous.safetensors.
#pragma once

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "cache/reader.h"
#include "train/config.h"

namespace megafold {

struct RunOptions {
  bool resume = false;     // go on from the folder's checkpoint, if it has one
  bool overwrite = false;  // remove a run that is there
  std::string program;     // version, for the record
  const std::atomic<bool>* interrupted = nullptr;  // set by a signal: finish the step, save, return
  std::FILE* progress = stderr;
};

struct RunResult {
  int64_t step = 0;
  double train_seconds = 0;  // of all steps, earlier parts of a resumed run included
  bool interrupted = false;
  std::filesystem::path checkpoint;
};

inline constexpr const char* kCheckpointFile = "checkpoint.safetensors";

/// Trains until the steps or the seconds of the config are done, or an interrupt. Throws BadInput
/// (a folder that holds a run, a resume that differs, a loss or gradient that is not finite: before
/// the optimizer has used it, naming the sample), Corrupt, Device, Unsupported.
RunResult train(const TrainConfig& config, const std::shared_ptr<const CacheReader>& cache,
                const RunOptions& options);

}  // namespace megafold
