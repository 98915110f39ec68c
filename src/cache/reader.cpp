// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/reader.h"

#include <algorithm>
#include <cctype>
#include <mutex>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "base/date.h"
#include "base/errors.h"
#include "cache/index.h"
#include "cache/record.h"

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

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

class FolderReader : public CacheReader {
 public:
  explicit FolderReader(const std::filesystem::path& folder)
      : folder_(folder), index_(folder), shards_(folder / kShardFolder) {}

  [[nodiscard]] const std::vector<std::string>& entries() const override {
    read_kept();
    return ids_;
  }
  [[nodiscard]] const std::vector<EntryFacts>& facts() const override {
    read_kept();
    return facts_;
  }
  [[nodiscard]] const std::string& content_key() const override { return index_.content_key(); }

  [[nodiscard]] std::shared_ptr<const Record> structure(std::string_view id) const override {
    const auto entry = index_.find_entry(id);
    if (!entry) fail_missing(id);
    if (entry->verdict != Verdict::kept)
      fail<BadInput>("{}: the entry '{}' was {} when the cache was built: {}", folder_.string(), id,
                     name_of(entry->verdict), entry->reason);
    auto record = open(RecordKind::structure, entry->key);
    if (entry->alignments.empty() && entry->templates.empty()) return record;
    // The structure does not depend on alignments and templates, so its record does not name them;
    // the index does.
    json meta;
    try {
      meta = json::parse(record->meta());
      for (json& chain : meta.at("chains")) {
        const auto label = chain.at("label").get<std::string>();
        if (const auto key = entry->alignments.find(label); key != entry->alignments.end())
          chain["alignment"] = key->second;
        if (const auto key = entry->templates.find(label); key != entry->templates.end())
          chain["templates"] = key->second;
      }
    } catch (const json::exception& failure) {
      fail<Corrupt>("{}, entry {}: array 'meta' cannot be read: {}", folder_.string(), id,
                    failure.what());
    }
    return with_meta(record, meta.dump());
  }

  [[nodiscard]] std::shared_ptr<const Record> alignment(std::string_view key) const override {
    return open(RecordKind::alignment, key);
  }
  [[nodiscard]] std::shared_ptr<const Record> templates(std::string_view key) const override {
    return open(RecordKind::templates, key);
  }

 private:
  void read_kept() const {
    std::call_once(kept_read_, [this] {
      for (IndexFile::Kept& entry : index_.kept()) {
        ids_.push_back(std::move(entry.id));
        facts_.push_back(entry.facts);
      }
    });
  }

  [[nodiscard]] std::shared_ptr<const Record> open(RecordKind kind, std::string_view key) const {
    const auto found = index_.find_record(key);
    if (!found)
      fail<BadInput>("{}: the cache has no {} with the key {}", folder_.string(), name_of(kind),
                     key);
    return open_record({shards_.get(shard_file(found->shard)), found->row.offset, found->row.size},
                       kind, key);
  }

  [[noreturn]] void fail_missing(std::string_view id) const {
    std::vector<std::pair<size_t, std::string>> near;
    for (const std::string& known : entries()) near.emplace_back(edit_distance(id, known), known);
    const size_t shown = std::min<size_t>(3, near.size());
    std::partial_sort(near.begin(), near.begin() + static_cast<std::ptrdiff_t>(shown), near.end());
    std::string names;
    for (size_t i = 0; i < shown; ++i) names += (i > 0 ? ", " : "") + near[i].second;
    fail<BadInput>("{}: the cache has no entry '{}' among its {}; nearest: {}", folder_.string(),
                   id, near.size(), names.empty() ? "none" : names);
  }

  std::filesystem::path folder_;
  IndexFile index_;
  mutable OpenFiles shards_;
  mutable std::once_flag kept_read_;
  mutable std::vector<std::string> ids_;
  mutable std::vector<EntryFacts> facts_;
};

}  // namespace

EntryFacts facts_of(std::string_view meta, int64_t tokens, const uint8_t* chain_types,
                    int64_t chains) {
  EntryFacts out;
  const json facts = json::parse(meta);
  const auto text = [&](const char* name) {
    const auto found = facts.find(name);
    return found != facts.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  out.release_date = date_number(text("release_date"));
  if (const auto found = facts.find("resolution"); found != facts.end() && found->is_number())
    out.resolution = found->get<float>();
  out.by_nmr = upper(text("method")).find("NMR") != std::string::npos;
  out.tokens = static_cast<int32_t>(tokens);
  for (int64_t c = 0; c < chains; ++c)
    if (chain_types[c] < out.chains.size()) ++out.chains[chain_types[c]];
  return out;
}

std::shared_ptr<CacheReader> CacheReader::open(const std::filesystem::path& folder) {
  return std::make_shared<FolderReader>(folder);
}

}  // namespace megafold
