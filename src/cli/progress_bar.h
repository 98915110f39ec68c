// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// How far a long command is: on a terminal one line with a bar and the time left, which changes; in
// a file only the lines that say something by themselves.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace megafold::cli {

class ProgressBar {
 public:
  explicit ProgressBar(std::FILE* out = stderr);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Redraws the line, at most ten times a second. `worked` false: what was done up to here cost
  /// nothing (it was there already), and the time left is told from what comes after.
  void show(uint64_t done, uint64_t total, const std::string& text, bool worked = true);
  /// A line that stays, above the one that changes.
  void say(const std::string& line);
  [[nodiscard]] bool is_terminal() const { return terminal_; }

 private:
  using Clock = std::chrono::steady_clock;
  void clear();
  std::FILE* out_;
  bool terminal_, open_ = false;
  Clock::time_point start_, drawn_;
  uint64_t free_ = 0, last_ = 0;
};

/// "[#####.....]  50 %  1:05 left  text": `done_here` of `left + done_here` took `seconds`.
std::string progress_text(uint64_t done, uint64_t total, uint64_t done_here, double seconds,
                          const std::string& text);

}  // namespace megafold::cli
