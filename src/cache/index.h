// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What a cache holds and where: index.mfi, written last and read first. The file is made of pages,
// each under its own checksum, with its tables sorted, so that opening a cache and finding an entry
// read a few pages of it however large it is. FORMAT.md states every byte.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cache/file.h"
#include "cache/reader.h"
#include "cache/shard.h"

namespace megafold {

inline constexpr std::string_view kIndexFile = "index.mfi";
inline constexpr std::string_view kReportFile = "report.json";
inline constexpr uint32_t kIndexVersion = 4;

/// What became of an entry.
enum class Verdict : uint8_t { kept, dropped, failed };
std::string_view name_of(Verdict verdict);

struct IndexEntry {
  std::string id;
  Verdict verdict = Verdict::kept;
  /// Kept: the structure's record. Otherwise a key of the same making (FORMAT.md), which tells
  /// whether the verdict still holds; empty where it must be tried again.
  std::string key;
  std::string reason;  // not kept: the rule and its numbers, the error
  std::map<std::string, std::string> alignments = {};  // chain label -> key
  std::map<std::string, std::string> templates = {};   // the same
  EntryFacts facts = {};                               // kept: of the structure
  bool operator==(const IndexEntry&) const = default;
};

struct IndexRecord {
  ShardRow row;
  std::string shard;
};

/// An index as a whole: to write it, and to compare caches.
struct CacheIndex {
  std::vector<IndexEntry> entries;             // by id, whatever their verdict
  std::map<std::string, IndexRecord> records;  // by key; those that the entries name
  std::string content_key;                     // of the kept entries

  [[nodiscard]] size_t count(Verdict verdict) const;
};

/// Sorts the entries and sets content_key.
void finish_index(CacheIndex& index);
std::string pack_index(const CacheIndex& index);

/// An index opened for look-ups. Safe to use from several threads.
class IndexFile {
 public:
  /// Throws BadInput (no such folder, no cache, an unfinished one), Corrupt, Unsupported.
  explicit IndexFile(const std::filesystem::path& cache);

  [[nodiscard]] const std::string& content_key() const { return content_key_; }
  [[nodiscard]] uint64_t num_entries() const { return entries_; }
  [[nodiscard]] uint64_t num_records() const { return records_; }
  [[nodiscard]] std::optional<IndexEntry> find_entry(std::string_view id) const;
  [[nodiscard]] std::optional<IndexRecord> find_record(std::string_view key) const;
  [[nodiscard]] IndexEntry entry(uint64_t i) const;
  [[nodiscard]] IndexRecord record(uint64_t i) const;
  /// Ids and facts of all entries that were kept, in two reads.
  struct Kept {
    std::string id;
    EntryFacts facts;
  };
  [[nodiscard]] std::vector<Kept> kept() const;

 private:
  std::string read(uint64_t offset, uint64_t size) const;
  void append_page(uint64_t page, uint64_t from, uint64_t size, std::string& out) const;
  std::string entry_id(uint64_t i) const;
  std::string kept_id(uint64_t i) const;

  /// Ids that every look-up begins with. They are spread over the whole file, so that among its
  /// pages below they would push each other out.
  mutable std::mutex ids_mutex_;
  mutable std::unordered_map<uint64_t, std::string> ids_;

  /// Pages that were read and checked, 2 MB at most, each in the slot of its number: look-ups read
  /// the same ones again and again.
  struct Page {
    uint64_t number = ~uint64_t{0};
    std::string content;
  };
  mutable std::mutex pages_mutex_;
  mutable std::array<Page, 512> pages_;

  std::shared_ptr<const ReadFile> file_;
  std::string content_key_;
  uint64_t shards_ = 0, records_ = 0, entries_ = 0, links_ = 0, text_ = 0;  // numbers, bytes
  uint64_t shard_at_ = 0, record_at_ = 0, entry_at_ = 0, link_at_ = 0, text_at_ = 0;
};

/// The whole index, with its content key made again and compared. Throws as IndexFile does.
CacheIndex read_index(const std::filesystem::path& cache);

}  // namespace megafold
