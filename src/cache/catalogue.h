// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Which records lie in the shards of a cache folder, indexed or not: what a build finds of earlier
// ones, finished or killed.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cache/index.h"

namespace megafold {

/// Safe to use from several threads.
class Catalogue {
 public:
  /// Reads the footer of every shard; a shard that is damaged or of another version is passed over,
  /// with the reason in skipped().
  explicit Catalogue(const std::filesystem::path& cache);

  /// The record's place, its every block read and found whole; nullopt where no shard has it. A
  /// damaged record makes its shard distrusted: none of its records is found any more, so that a
  /// build makes the whole file again. The first shard by name that has it answers.
  std::optional<IndexRecord> find_sound(const std::string& key);
  /// The same without reading.
  [[nodiscard]] std::optional<IndexRecord> find(const std::string& key) const;
  /// A record as open_record() gives it; throws Corrupt where it is not there.
  [[nodiscard]] std::shared_ptr<const Record> open(RecordKind kind, const std::string& key) const;

  /// A shard that this process wrote.
  void add(const ShardInfo& shard);

  [[nodiscard]] std::vector<std::string> skipped() const;
  /// Every shard that is trusted, by name.
  [[nodiscard]] std::vector<ShardInfo> shards() const;

 private:
  [[nodiscard]] RecordPlace place_of(const IndexRecord& record) const;
  [[nodiscard]] std::optional<IndexRecord> find_locked(const std::string& key) const;

  std::filesystem::path cache_;
  mutable OpenFiles files_;
  mutable std::mutex mutex_;
  std::map<std::string, ShardInfo> shards_;
  std::map<std::string, std::set<std::string>> where_;  // key -> shards that have it
  std::set<std::string> checked_;                       // keys read and found whole
  std::vector<std::string> skipped_;
};

}  // namespace megafold
