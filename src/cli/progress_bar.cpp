// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include "train/progress.h"

namespace megafold::cli {

std::string progress_text(uint64_t done, uint64_t total, uint64_t done_here, double seconds,
                          const std::string& text) {
  constexpr uint64_t kWidth = 24;
  const uint64_t filled = total > 0 ? kWidth * done / total : kWidth;
  std::string left;
  if (done_here > 0 && done < total && seconds > 0.5)
    left =
        clock_text(seconds / static_cast<double>(done_here) * static_cast<double>(total - done)) +
        " left  ";
  return fmt::format("[{}{}] {:>3} %  {}{}", std::string(filled, '#'),
                     std::string(kWidth - filled, '.'), total > 0 ? 100 * done / total : 100, left,
                     text);
}

ProgressBar::ProgressBar(std::FILE* out)
    : out_(out), terminal_(::isatty(::fileno(out)) != 0), start_(Clock::now()), drawn_() {}

ProgressBar::~ProgressBar() {
  clear();
}

void ProgressBar::clear() {
  if (open_) fmt::print(out_, "\r\033[K");
  open_ = false;
  std::fflush(out_);
}

void ProgressBar::show(uint64_t done, uint64_t total, const std::string& text, bool worked) {
  const auto now = Clock::now();
  if (done < last_) start_ = now, free_ = 0;  // another stage
  last_ = done;
  if (!worked) start_ = now, free_ = done;
  if (!terminal_ || (done < total && now - drawn_ < std::chrono::milliseconds(100))) return;
  drawn_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  std::string line = progress_text(done, total, done - free_, seconds, text);
  if (line.size() > 110) line.resize(110);  // a line that wraps cannot be taken back
  fmt::print(out_, "\r\033[K{}", line);
  open_ = true;
  std::fflush(out_);
}

void ProgressBar::say(const std::string& line) {
  clear();
  fmt::print(out_, "{}\n", line);
  std::fflush(out_);
}

}  // namespace megafold::cli
