// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Making a cache from a data folder (cache/inputs.h says what that is). Parallel over entries; what
// is there already under its content key is not made again, so a build may be stopped at any point
// and goes on where it stopped, and building twice changes nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace megafold {

enum class Verdict : uint8_t { kept, dropped, failed };
std::string_view name_of(Verdict verdict);

struct EntryReport {
  std::string id, file;
  Verdict verdict = Verdict::failed;
  std::string reason;   // the rule and its numbers, or the error; empty when kept
  bool reused = false;  // its record was there already
  int64_t tokens = 0, atoms = 0, chains = 0, alignments = 0;
  double seconds = 0;
};

struct BuildReport {
  std::vector<EntryReport> entries;            // sorted by id
  std::vector<std::string> unused_alignments;  // files that serve no chain
  std::string content_key;
  double seconds = 0;

  [[nodiscard]] size_t count(Verdict verdict) const;
};

struct BuildOptions {
  std::filesystem::path data, out;
  std::filesystem::path dictionary;  // empty: components.* in the data folder
  int threads = 0;                   // 0: as many as the machine has
  /// Called after each entry, from any thread but never from two at once.
  std::function<void(size_t done, size_t total, const EntryReport& entry)> progress;
};

/// Builds, writes index.mfr and then report.json, and says what became of each entry. An entry that
/// fails is reported and leaves the others alone. Throws BadInput where the folder or dictionary is
/// unusable or another build holds the cache, Device where the disk refuses.
BuildReport build_cache(const BuildOptions& options);

/// The report as JSON, for people and scripts.
std::string to_json(const BuildReport& report);

}  // namespace megafold
