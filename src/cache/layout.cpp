// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/layout.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/hash.h"

namespace megafold {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

}  // namespace

fs::path record_path(const fs::path& folder, RecordKind kind, std::string_view key) {
  const char* const part = kind == RecordKind::structure ? "structures" : "alignments";
  return folder / part / std::string(key.substr(0, 2)) / (std::string(key) + ".mfr");
}

void finish_index(CacheIndex& index) {
  std::sort(index.entries.begin(), index.entries.end(),
            [](const IndexEntry& a, const IndexEntry& b) { return a.id < b.id; });
  std::string all;
  for (const IndexEntry& entry : index.entries) {
    all += entry.id + ' ' + entry.key;
    for (const auto& [chain, key] : entry.alignments) all += ' ' + chain + ' ' + key;
    all += '\n';
  }
  index.content_key = sha256_hex({all});
}

std::string pack_index(const CacheIndex& index) {
  json entries = json::array();
  for (const IndexEntry& entry : index.entries)
    entries.push_back({{"id", entry.id}, {"key", entry.key}, {"alignments", entry.alignments}});
  const std::string text =
      json{{"content_key", index.content_key}, {"entries", std::move(entries)}}.dump();
  const NamedArray meta = make_array("meta", ArrayType::u8, {static_cast<int64_t>(text.size())},
                                     std::vector<uint8_t>(text.begin(), text.end()));
  return pack_record(RecordKind::index, index.content_key, {meta});
}

CacheIndex read_index(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error))
    fail<BadInput>(
        "{}: no such folder; make the cache with: megafold cache build --data DIR "
        "--out {}",
        folder.string(), folder.string());
  const fs::path path = folder / kIndexFile;
  if (!fs::exists(path, error)) {
    if (fs::exists(folder / "structures", error))
      fail<BadInput>(
          "{}: the cache is not finished (no {}): run megafold cache build again, it "
          "goes on where it stopped",
          folder.string(), kIndexFile);
    fail<BadInput>("{}: is not a cache (no {})", folder.string(), kIndexFile);
  }
  const auto record = read_record(path, RecordKind::index, "");
  CacheIndex index;
  try {
    const json meta = json::parse(record->meta());
    index.content_key = meta.at("content_key").get<std::string>();
    for (const json& node : meta.at("entries"))
      index.entries.push_back({node.at("id").get<std::string>(), node.at("key").get<std::string>(),
                               node.at("alignments").get<std::map<std::string, std::string>>()});
  } catch (const json::exception& failure) {
    fail<Corrupt>("{}: array 'meta' cannot be read: {}", path.string(), failure.what());
  }
  CacheIndex again = index;
  finish_index(again);
  if (again.content_key != index.content_key || again.entries != index.entries)
    fail<Corrupt>("{}: the entries are not those that the content key was made from",
                  path.string());
  return index;
}

}  // namespace megafold
