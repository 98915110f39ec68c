// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// fuzz_replay TARGET ROUNDS FOLDER: each file of the folder as it is, then ROUNDS mutations of
// them, the same at every run.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/philox.h"
#include "base/publish.h"
#include "fuzz/targets.h"

namespace {

using megafold::Purpose;
using megafold::Random;

/// A few bytes flipped, a piece left out, doubled or taken from another file.
std::string mutated(const std::vector<std::string>& files, uint64_t round) {
  Random random(1, round, 0, Purpose::sample);
  std::string out = files[random.below(files.size())];
  for (uint64_t edits = random.below(4) + 1; edits > 0 && !out.empty(); --edits) {
    const uint64_t at = random.below(out.size());
    const uint64_t length = std::min<uint64_t>(out.size() - at, random.below(64) + 1);
    const std::string& other = files[random.below(files.size())];
    switch (random.below(5)) {
      case 0:
        out[at] = static_cast<char>(random.below(256));
        break;
      case 1:
        out[at] = static_cast<char>(static_cast<unsigned char>(out[at]) ^ (1U << random.below(8)));
        break;
      case 2:
        out.erase(at, length);
        break;
      case 3:
        out.insert(at, out.substr(at, length));
        break;
      default:
        if (!other.empty()) out.replace(at, length, other, random.below(other.size()), length);
    }
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "fuzz_replay TARGET ROUNDS FOLDER\n");
    return 2;
  }
  const auto* const target = megafold::fuzz::find_target(argv[1]);
  if (target == nullptr) {
    fmt::print(stderr, "fuzz_replay: no target '{}'\n", argv[1]);
    return 2;
  }
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[3])) paths.push_back(entry);
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> files;
  for (const auto& path : paths) {
    fmt::print("{}\n", path.string());
    std::fflush(stdout);  // the last line names the input of a crash
    files.push_back(megafold::read_file(path));
    megafold::fuzz::run(*target, files.back());
  }
  if (files.empty()) {
    fmt::print(stderr, "{}: no file\n", argv[3]);
    return 2;
  }
  const auto rounds = static_cast<uint64_t>(std::atoll(argv[2]));
  for (uint64_t round = 0; round < rounds; ++round) {
    const std::string input = mutated(files, round);
    if (std::getenv("MEGAFOLD_FUZZ_KEEP") != nullptr) megafold::publish("fuzz_replay_input", input);
    megafold::fuzz::run(*target, input);
  }
  fmt::print("{} files, {} mutations\n", files.size(), rounds);
}
