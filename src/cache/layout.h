// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Where a cache folder keeps what, and what its index says. FORMAT.md is the specification.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cache/record.h"

namespace megafold {

inline constexpr std::string_view kIndexFile = "index.mfr";
inline constexpr std::string_view kReportFile = "report.json";

/// structures/ab/abcd....mfr and alignments/ab/abcd....mfr.
std::filesystem::path record_path(const std::filesystem::path& folder, RecordKind kind,
                                  std::string_view key);

struct IndexEntry {
  std::string id, key;
  std::map<std::string, std::string> alignments;  // chain label -> key
  bool operator==(const IndexEntry&) const = default;
};

/// What a cache holds: written last, read first.
struct CacheIndex {
  std::vector<IndexEntry> entries;  // sorted by id
  std::string content_key;          // of the entries
};

/// Sorts the entries and sets content_key.
void finish_index(CacheIndex& index);
std::string pack_index(const CacheIndex& index);
/// Throws BadInput (no such folder, no cache, an unfinished one), Corrupt, Unsupported.
CacheIndex read_index(const std::filesystem::path& folder);

}  // namespace megafold
