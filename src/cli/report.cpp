// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// megafold report RUN: draw a run's page again.
#include <fmt/format.h>

#include <memory>

#include "base/errors.h"
#include "cli/commands.h"
#include "report/page.h"

namespace megafold::cli {

void add_report_command(CLI::App& app) {
  struct Arguments {
    std::string run, cache;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* const command = app.add_subcommand(
      "report", "Draw RUN/report.html from a run's metrics and predicted structure");
  command->add_option("run", arguments->run, "Folder of the run")->required();
  command->add_option("--cache", arguments->cache, "Cache with the entry; default: the run's own");
  command->footer("Example:\n  megafold report runs/demo");
  command->callback([arguments] {
    if (!std::filesystem::is_directory(arguments->run)) {
      fail<BadInput>("{}: no such folder", arguments->run);
    }
    fmt::print("wrote {}\n", write_report(arguments->run, arguments->cache).string());
  });
}

}  // namespace megafold::cli
