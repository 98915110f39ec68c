// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Making a cache from a data folder (cache/inputs.h says what that is). Parallel over entries, then
// over alignments; what is there already under its content key is not made again, so a build may be
// stopped at any point and goes on where it stopped, and building twice changes nothing.
//
// The entries, sorted by id, are cut into groups by the size of their files, and the alignments
// that they need, in the order of their first use, as well. A group becomes one shard, so what a
// shard holds depends on the data folder alone: not on threads, speed or interruptions.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cache/index.h"

namespace megafold {

struct EntryReport {
  std::string id, file;
  Verdict verdict = Verdict::failed;
  std::string reason;   // the rule and its numbers, or the error; empty when kept
  bool reused = false;  // the record or the verdict was there already
  int64_t tokens = 0, atoms = 0, chains = 0, polymers = 0, alignments = 0, templates = 0;
  std::array<int64_t, 4> tokens_of{};   // by ChainType
  std::vector<std::string> inferred;    // what the file left out and was told from the rest
  std::map<std::string, int64_t> rows;  // chain label -> rows of its alignment, query included
  uint64_t file_bytes = 0, bytes = 0;   // its file; its records, those that it shares too
  double seconds = 0;
};

struct BuildReport {
  std::vector<EntryReport> entries;            // sorted by id
  std::vector<std::string> unused_alignments;  // files that serve no chain, hits too
  std::vector<std::string> damaged_templates;  // entries of hits that cannot be read, and why
  std::vector<std::string> damaged;            // what was wrong with shards that were made again
  std::string content_key;                     // empty for a part
  uint64_t input_bytes = 0;  // files of kept entries, and of their alignments and hits, as they lie
  uint64_t stored_bytes = 0;  // their records, each once
  double seconds = 0;
  double cpu_seconds = 0;  // of user CPU that the process spent meanwhile, over all threads

  [[nodiscard]] size_t count(Verdict verdict) const;
};

struct BuildOptions {
  std::filesystem::path data, out;
  std::filesystem::path dictionary;  // empty: components.* in the data folder
  std::filesystem::path templates;   // the entries that hits name; empty: templates/ in `data`
  int threads = 0;                   // 0: as many as the machine has
  /// Of the sorted entries, every parts-th from the part-th on (1-based). Builders of different
  /// parts may work on one folder at once, on many machines; a build of the whole then finds all
  /// there and writes the index.
  int part = 1, parts = 1;
  uint64_t shard_bytes = uint64_t{64} << 20;  // of input files to a shard
  /// Called when an entry's structure is done, from any thread but never from two at once.
  std::function<void(size_t done, size_t total, const EntryReport& entry)> progress;
  /// The same for alignments; `reason` is empty where it was made or was there.
  std::function<void(size_t done, size_t total, const std::string& name, const std::string& reason)>
      alignment_progress;
  /// Called at the end, while no other builder may touch the folder: for what else goes into it.
  std::function<void(const BuildReport& report)> finished;
};

/// Builds, writes the index and then report.json, and says what became of each entry. An entry that
/// fails is reported, indexed as failed, and leaves the others alone. A part writes no index.
/// Throws BadInput where the folder or dictionary is unusable or another build holds the cache,
/// Device where the disk refuses.
BuildReport build_cache(const BuildOptions& options);

/// The report as JSON, for people and scripts.
std::string to_json(const BuildReport& report);

}  // namespace megafold
