// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A run as its folder tells it: metrics.jsonl (one JSON object per line, written by the trainer)
// and summary.json (the numbers that a person or a script asks for first).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace megafold {

/// Numbers of one step, by the names that metrics.jsonl has. A number that is not finite is NaN.
struct StepRow {
  int64_t step = 0;
  double time = 0;  // seconds since 1970
  std::string entry;
  std::map<std::string, double> value;    // loss, diffusion_mse, diffusion_mse_trivial, ...
  std::map<std::string, double> seconds;  // by part of the step: data, forward, ...

  /// NaN when the step has no such number.
  [[nodiscard]] double get(const std::string& name) const;
  [[nodiscard]] double total_seconds() const;
};

struct RunHistory {
  nlohmann::json start = nlohmann::json::object();  // the last start line: config, machine, ...
  std::vector<StepRow> steps;  // ascending; what a resume did again is there once, the later one
  int64_t num_starts = 0;
  double train_seconds = 0;  // of all steps, as the trainer counts them; else wall time
};

/// Reads RUN/metrics.jsonl. Throws BadInput when it is missing or has no step, Corrupt with the
/// line number for a line that is no JSON object. A torn last line, which a kill leaves, is
/// dropped.
[[nodiscard]] RunHistory read_history(const std::filesystem::path& metrics);

/// Mean of the last `window` finite values of a number; NaN when there is none.
[[nodiscard]] double mean_of_last(const RunHistory& history, const std::string& name,
                                  size_t window = 100);

/// The numbers of summary.json that training gives: steps, train_seconds, entry,
/// diffusion_mse_over_trivial (ratio of the means over the last 100 steps, same draws).
[[nodiscard]] nlohmann::json training_summary(const RunHistory& history);

/// Reads RUN/summary.json ({} when missing; Corrupt when it is no JSON object), replaces the keys
/// that `numbers` has, and publishes it. NaN becomes null.
nlohmann::json merge_summary(const std::filesystem::path& summary, const nlohmann::json& numbers);

}  // namespace megafold
