// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Looking after a cache: is it whole, what is in it, what differs, what may go.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "cache/index.h"

namespace megafold {

struct VerifyReport {
  size_t records = 0;                // read and found whole
  size_t shards = 0;                 // footers read and found whole, the index's and others
  std::vector<std::string> damages;  // each names entry, shard, record, array and block
};

/// Reads every byte of every shard against its checksums, and whether the index names what is there
/// and says of each entry (date, resolution, size, chains, coverage) what its records say.
/// `progress` hears of the bytes of shards after each record. Throws as IndexFile where the index
/// itself cannot be read.
VerifyReport verify_cache(const std::filesystem::path& cache,
                          const std::function<void(uint64_t done, uint64_t total)>& progress = {});

struct GcReport {
  size_t removed = 0, rewritten = 0;  // shards
  uint64_t freed = 0;                 // bytes
};

/// Removes shards that hold nothing the index names, and writes those anew that hold something
/// else too. Killed at any point it leaves a whole cache. A reader that opened the cache before
/// must open it again. Throws BadInput while a build is at work, Corrupt where a record to be kept
/// is damaged (nothing is removed then).
GcReport collect_garbage(const std::filesystem::path& cache, bool dry_run);

struct Difference {
  std::string id;
  std::string what;  // "only in the first", "structure differs", ...
};

/// What differs between two caches, by entry.
std::vector<Difference> diff_caches(const CacheIndex& first, const CacheIndex& second);

}  // namespace megafold
