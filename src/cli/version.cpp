// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include <string>

#include "cli/commands.h"

namespace megafold::cli {

void add_version_command(CLI::App& app) {
  app.add_subcommand("version", "Print the versions of megafold and of the LibTorch under it")
      ->callback([] {
#ifdef MEGAFOLD_CUDA
        const char* const build = "cpu, cuda";
#else
        const char* const build = "cpu";
#endif
        fmt::print("megafold {} ({})\nLibTorch {}\n", MEGAFOLD_VERSION, build, TORCH_VERSION);
      });
}

}  // namespace megafold::cli
