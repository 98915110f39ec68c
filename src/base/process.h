// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Other programs: found on PATH, run without a shell, ended with all that they started.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace megafold {

/// A program of Debian's and the package that has it.
struct Program {
  std::string name, package;
};

/// The person wants to stop. No Error: nothing is wrong.
struct Interrupted {
  int signal;
};

/// Where the program lies. Throws BadInput, naming the package, where PATH does not have it.
std::filesystem::path find_program(const Program& program);

/// What the program writes (output and errors, at most 64 KiB) in `seconds` at most; however it
/// ends.
std::string output_of(const Program& program, const std::vector<std::string>& arguments,
                      double seconds = 10);

/// Runs the program to its end; all it says goes to `log`, and nothing comes in. `subject` ("the
/// search of 'x'") stands in messages. Throws BadInput where it ends with another status than 0
/// (with the status and the last lines of the log), Device where a signal ended it or `seconds`
/// (0: no limit) were over; then its whole process group is killed, and so it is at SIGINT and
/// SIGTERM, which throw Interrupted.
void run_program(const Program& program, const std::vector<std::string>& arguments,
                 const std::filesystem::path& log, double seconds, const std::string& subject);

}  // namespace megafold
