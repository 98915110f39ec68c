// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/catalogue.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

}  // namespace

Catalogue::Catalogue(const fs::path& cache) : cache_(cache), files_(cache / kShardFolder) {
  std::error_code error;
  std::vector<fs::path> paths;
  for (fs::directory_iterator it(cache / kShardFolder, error), end; !error && it != end;
       it.increment(error))
    if (it->path().extension() == kShardExtension) paths.push_back(it->path());
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) {
    try {
      add(read_shard(*ReadFile::open(path)));
    } catch (const Corrupt& failure) {
      skipped_.emplace_back(failure.what());
    } catch (const Unsupported& failure) {
      skipped_.emplace_back(failure.what());
    }
  }
}

void Catalogue::add(const ShardInfo& shard) {
  files_.forget(shard_file(shard.name));
  const std::scoped_lock lock(mutex_);
  for (const ShardRow& row : shard.rows) where_[row.key].insert(shard.name);
  shards_[shard.name] = shard;
}

std::optional<IndexRecord> Catalogue::find_locked(const std::string& key) const {
  const auto found = where_.find(key);
  if (found == where_.end() || found->second.empty()) return std::nullopt;
  const ShardInfo& shard = shards_.at(*found->second.begin());
  const auto row =
      std::lower_bound(shard.rows.begin(), shard.rows.end(), key,
                       [](const ShardRow& a, const std::string& k) { return a.key < k; });
  return IndexRecord{*row, shard.name};
}

std::optional<IndexRecord> Catalogue::find(const std::string& key) const {
  const std::scoped_lock lock(mutex_);
  return find_locked(key);
}

RecordPlace Catalogue::place_of(const IndexRecord& record) const {
  return {files_.get(shard_file(record.shard)), record.row.offset, record.row.size};
}

std::optional<IndexRecord> Catalogue::find_sound(const std::string& key) {
  for (;;) {
    std::optional<IndexRecord> found;
    {
      const std::scoped_lock lock(mutex_);
      found = find_locked(key);
      if (!found || checked_.contains(key)) return found;
    }
    std::string reason;
    try {
      check_record(place_of(*found), found->row.kind, key);
    } catch (const Corrupt& failure) {
      reason = failure.what();
    } catch (const Unsupported& failure) {
      reason = failure.what();
    }
    const std::scoped_lock lock(mutex_);
    if (reason.empty()) {
      checked_.insert(key);
      return found;
    }
    const auto shard = shards_.find(found->shard);
    if (shard == shards_.end()) continue;  // another thread met the damage first
    skipped_.push_back(reason);
    for (const ShardRow& row : shard->second.rows) {
      where_[row.key].erase(found->shard);
      checked_.erase(row.key);
    }
    shards_.erase(shard);
  }
}

std::shared_ptr<const Record> Catalogue::open(RecordKind kind, const std::string& key) const {
  const auto found = find(key);
  if (!found) fail<Corrupt>("{}: no shard has the record {}", cache_.string(), key);
  return open_record(place_of(*found), kind, key);
}

std::vector<std::string> Catalogue::skipped() const {
  const std::scoped_lock lock(mutex_);
  return skipped_;
}

std::vector<ShardInfo> Catalogue::shards() const {
  const std::scoped_lock lock(mutex_);
  std::vector<ShardInfo> out;
  for (const auto& [name, shard] : shards_) out.push_back(shard);
  return out;
}

}  // namespace megafold
