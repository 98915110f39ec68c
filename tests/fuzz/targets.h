// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What is fuzzed: each target gives one reader some bytes. A reader may read them or refuse them
// (base/errors.h) in words that name the file; anything else, another exception too, is a crash.
// `fuzz` (libfuzzer.cpp, clang) looks for new inputs, `fuzz_replay` (replay.cpp, any compiler) runs
// those in corpus/ and mutations of them.
#pragma once

#include <span>
#include <string_view>

namespace megafold::fuzz {

struct Target {
  std::string_view name;
  void (*read)(std::string_view bytes);
};

std::span<const Target> targets();
/// nullptr: none of that name.
const Target* find_target(std::string_view name);
/// Runs the reader; ends the process with a message where it did neither of both.
void run(const Target& target, std::string_view bytes);

}  // namespace megafold::fuzz
