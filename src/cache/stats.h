// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What a cache holds, in numbers: sizes of entries, depth of alignments, and where the bytes are.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cache/index.h"

namespace megafold {

struct CacheStats {
  std::array<size_t, 3> entries{};     // by Verdict
  std::vector<int64_t> tokens, atoms;  // of each kept entry, ascending
  std::string largest;                 // the kept entry with most tokens
  std::array<int64_t, 4> tokens_of{};  // by ChainType
  struct Chains {
    int64_t count = 0, aligned = 0, with_templates = 0;
  };
  std::array<Chains, 4> chains{};         // by ChainType
  std::vector<int64_t> rows, candidates;  // of each record of an alignment, of templates, ascending
  std::string first_release, last_release;                        // YYYY-MM-DD; empty: none known
  size_t without_date = 0, without_resolution = 0, inferred = 0;  // kept entries
  std::vector<double> resolution;                                 // Angstrom, ascending

  struct Bytes {
    uint64_t records = 0, raw = 0, stored = 0;
  };
  std::array<Bytes, 3> kinds{};         // by RecordKind
  std::map<std::string, Bytes> arrays;  // by name; `records` that have it
  size_t shards = 0;
  uint64_t shard_bytes = 0, unused_bytes = 0;  // all; of records that the index does not name
};

/// Reads the meta and index of every record, no other array. Throws as IndexFile, and Corrupt where
/// a record is damaged.
CacheStats cache_stats(const std::filesystem::path& cache);

/// The value below which a share (0..1) of ascending values lie; 0 of none.
template <class T>
T quantile_of_sorted(const std::vector<T>& ascending, double share) {
  if (ascending.empty()) return T{};
  const auto at = static_cast<size_t>(share * static_cast<double>(ascending.size()));
  return ascending[std::min(at, ascending.size() - 1)];
}

std::string to_json(const CacheStats& stats);

}  // namespace megafold
