// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "base/errors.h"
#include "base/publish.h"
#include "cache/layout.h"

namespace megafold {
namespace {

using nlohmann::json;

/// Changes needed to make one text of the other (Levenshtein).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

class FolderReader : public CacheReader {
 public:
  explicit FolderReader(std::filesystem::path folder)
      : folder_(std::move(folder)), index_(read_index(folder_)) {
    for (const IndexEntry& entry : index_.entries) ids_.push_back(entry.id);
  }

  [[nodiscard]] const std::vector<std::string>& entries() const override { return ids_; }
  [[nodiscard]] const std::string& content_key() const override { return index_.content_key; }

  [[nodiscard]] std::shared_ptr<const Record> structure(std::string_view id) const override {
    const auto found = std::lower_bound(ids_.begin(), ids_.end(), id);
    if (found == ids_.end() || *found != id) fail_missing(id);
    const IndexEntry& entry = index_.entries[static_cast<size_t>(found - ids_.begin())];
    const auto path = record_path(folder_, RecordKind::structure, entry.key);
    auto record = read_record(path, RecordKind::structure, entry.key);
    if (entry.alignments.empty()) return record;
    // The structure does not depend on alignments, so its record does not name them; the index
    // does.
    json meta;
    try {
      meta = json::parse(record->meta());
      for (json& chain : meta.at("chains")) {
        const auto key = entry.alignments.find(chain.at("label").get<std::string>());
        if (key != entry.alignments.end()) chain["alignment"] = key->second;
      }
    } catch (const json::exception& failure) {
      fail<Corrupt>("{}: array 'meta' cannot be read: {}", path.string(), failure.what());
    }
    return with_meta(record, meta.dump());
  }

  [[nodiscard]] std::shared_ptr<const Record> alignment(std::string_view key) const override {
    const bool valid = key.size() == 64 && std::all_of(key.begin(), key.end(), [](char c) {
                         return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                       });
    if (!valid) fail<BadInput>("'{}' is no key of an alignment", key);
    return read_record(record_path(folder_, RecordKind::alignment, key), RecordKind::alignment,
                       key);
  }

 private:
  [[noreturn]] void fail_missing(std::string_view id) const {
    std::vector<std::pair<size_t, std::string>> near;
    for (const std::string& known : ids_) near.emplace_back(edit_distance(id, known), known);
    const size_t shown = std::min<size_t>(3, near.size());
    std::partial_sort(near.begin(), near.begin() + static_cast<std::ptrdiff_t>(shown), near.end());
    std::string names;
    for (size_t i = 0; i < shown; ++i) names += (i > 0 ? ", " : "") + near[i].second;
    fail<BadInput>("{}: the cache has no entry '{}' among its {}; nearest: {}", folder_.string(),
                   id, ids_.size(), names.empty() ? "none" : names);
  }

  std::filesystem::path folder_;
  CacheIndex index_;
  std::vector<std::string> ids_;
};

}  // namespace

std::shared_ptr<CacheReader> CacheReader::open(const std::filesystem::path& folder) {
  return std::make_shared<FolderReader>(folder);
}

}  // namespace megafold
