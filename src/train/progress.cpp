// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "train/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace megafold {

void Recent::add(const StepReport& report) {
  for (double* const sum :
       {&weight_, &loss_, &diffusion_, &trivial_, &smooth_lddt_, &seconds_, &tokens_, &data_})
    *sum *= 0.95;
  weight_ += 1;
  loss_ += report.loss;
  diffusion_ += report.diffusion_mse;
  trivial_ += report.diffusion_mse_trivial;
  smooth_lddt_ += report.smooth_lddt;
  seconds_ += report.seconds();
  tokens_ += static_cast<double>(report.tokens);
  data_ += report.data_seconds;
}

std::string clock_text(double seconds) {
  const auto total = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  if (total >= 3600)
    return fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
  return fmt::format("{}:{:02}", total / 60, total % 60);
}

Progress::Progress(std::FILE* out, int64_t log_steps)
    : out_(out), log_steps_(log_steps), terminal_(::isatty(::fileno(out)) == 1) {}

Progress::~Progress() {
  if (open_) std::fputc('\n', out_);
}

void Progress::clear() {
  if (open_) std::fputs("\r\033[K", out_);
  open_ = false;
}

void Progress::say(const std::string& line) {
  clear();
  fmt::print(out_, "{}\n", line);
  std::fflush(out_);
}

void Progress::step(const StepReport& report, int64_t last_step, double seconds_left,
                    double memory_mib) {
  recent_.add(report);
  const auto now = std::chrono::steady_clock::now();
  const bool last = report.step >= last_step;
  if (terminal_) {
    if (!last && open_ && now - drawn_ < std::chrono::milliseconds(100)) return;
  } else if (!last && report.step % log_steps_ != 0) {
    return;
  }
  drawn_ = now;
  std::string line = fmt::format(
      "step {}/{}  loss {:.3f}  diffusion {:.3f} of trivial  smooth lDDT {:.3f}  {:.2f} s/step  "
      "{:.0f} tokens/s  waiting {:.1f} %  {:.0f} MiB",
      report.step, last_step, recent_.loss(), recent_.diffusion_over_trivial(),
      1 - recent_.smooth_lddt(), recent_.step_seconds(), recent_.tokens_per_second(),
      100 * recent_.waiting_share(), memory_mib);
  if (seconds_left >= 0) line += fmt::format("  {} left", clock_text(seconds_left));
  if (!terminal_) {
    say(line);
    return;
  }
  winsize size{};
  const size_t width =
      ::ioctl(::fileno(out_), TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 200;
  fmt::print(out_, "\r\033[K{}", line.substr(0, width - 1));
  std::fflush(out_);
  open_ = true;
}

}  // namespace megafold
