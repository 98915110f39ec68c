// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What a person sees of a run: one line that changes on a terminal, a plain line now and then where
// the output is a file.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace megafold {

/// One step, as metrics.jsonl, TensorBoard and the progress line tell it.
struct StepReport {
  int64_t step = 0;                // 1: the first
  std::string entries, batches{};  // of each sample: its entry, its checksum (train/samples.h)
  double loss = 0, diffusion_mse = 0, diffusion_mse_trivial = 0, smooth_lddt = 0, distogram = 0;
  double gradient_norm = 0, learning_rate = 0;
  double data_seconds = 0, forward_seconds = 0, backward_seconds = 0, optimizer_seconds = 0;
  int64_t tokens = 0, cycles = 0;
  std::map<std::string, std::vector<double>> optional = {};  // losses that not every sample has
  [[nodiscard]] double seconds() const {
    return data_seconds + forward_seconds + backward_seconds + optimizer_seconds;
  }
};

/// Means over a window of recent steps that forgets (weight 0.95 a step).
class Recent {
 public:
  void add(const StepReport& report);
  [[nodiscard]] double loss() const { return loss_ / weight_; }
  [[nodiscard]] double diffusion_over_trivial() const { return diffusion_ / trivial_; }
  [[nodiscard]] double smooth_lddt() const { return smooth_lddt_ / weight_; }
  [[nodiscard]] double step_seconds() const { return seconds_ / weight_; }
  [[nodiscard]] double tokens_per_second() const { return tokens_ / seconds_; }
  [[nodiscard]] double waiting_share() const { return data_ / seconds_; }

 private:
  double weight_ = 0, loss_ = 0, diffusion_ = 0, trivial_ = 0, smooth_lddt_ = 0, seconds_ = 0,
         tokens_ = 0, data_ = 0;
};

class Progress {
 public:
  /// `log_steps`: steps between lines where `out` is no terminal.
  Progress(std::FILE* out, int64_t log_steps);
  ~Progress();
  /// `seconds_left` < 0: not known.
  void step(const StepReport& report, int64_t last_step, double seconds_left, double memory_mib);
  /// A line of its own, above the one that changes.
  void say(const std::string& line);

 private:
  void clear();
  std::FILE* out_;
  int64_t log_steps_;
  bool terminal_;
  bool open_ = false;  // the changing line is on the screen
  Recent recent_;
  std::chrono::steady_clock::time_point drawn_;
};

/// "1:05:09", "4:07"
std::string clock_text(double seconds);

}  // namespace megafold
