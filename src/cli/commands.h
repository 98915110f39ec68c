// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The sub-commands, one file each. A command throws typed errors (base/errors.h); main turns them
// into exit codes: 0 done, 2 bad usage or input, 3 corrupt data, 4 device or memory, 130
// interrupted.
#pragma once

#include <CLI/CLI.hpp>

namespace megafold::cli {

void add_cache_command(CLI::App& app);          // cache build | inspect | ...
void add_cache_look_commands(CLI::App& cache);  // cache stats | export, within it
void add_data_command(CLI::App& app);           // data profile: where a sample's time goes
void add_ccd_command(CLI::App& app);            // the chemical component dictionary
void add_import_command(CLI::App& app);         // other programs' folders
void add_msa_command(CLI::App& app);            // searches by other programs
void add_train_command(CLI::App& app);          // train from a cache
void add_predict_command(CLI::App& app);        // sample a structure from a checkpoint
void add_report_command(CLI::App& app);         // draw a run's report.html again
void add_convert_command(CLI::App& app);        // a peer's weights to ours, and back
void add_parity_command(CLI::App& app);         // compare modules with golden vectors
void add_doctor_command(CLI::App& app);         // what this machine has and lacks
void add_bench_command(CLI::App& app);          // time parts of the model
void add_version_command(CLI::App& app);

/// Thrown by a command that has finished its work but must end with another code than 0
/// (`--strict`, a failed comparison, an interrupt).
struct ExitWith {
  int code;
};

}  // namespace megafold::cli
