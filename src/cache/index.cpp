// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/index.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "base/errors.h"
#include "base/hash.h"
#include "cache/bytes.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic{"MFINDEX\0", 8};
constexpr uint64_t kPage = 4096;          // of the file
constexpr uint64_t kPayload = kPage - 8;  // of a page; its checksum follows
constexpr uint64_t kHeaderSize = 96;
constexpr uint64_t kShardSize = 16, kRecordSize = 56, kEntrySize = 120, kLinkSize = 24;
constexpr size_t kIdAt = 32, kVerdictAt = 44, kFactsAt = 72;  // in an entry's row
constexpr uint32_t kAlignmentLink = 0, kTemplatesLink = 1;
constexpr int kKeptSteps = 12;                    // of halving, whose ids are kept: at most 4,095
constexpr uint64_t kMaxRows = uint64_t{1} << 32;  // of a table; more is damage

void append_key(std::string& out, const std::string& hex) {
  const auto key = hex.empty() ? std::array<unsigned char, 32>{} : key_bytes(hex);
  out.append(reinterpret_cast<const char*>(key.data()), key.size());
}

std::string key_at(std::string_view bytes, size_t at) {
  const std::string text = key_text(reinterpret_cast<const unsigned char*>(bytes.data()) + at);
  return text == std::string(64, '0') ? std::string() : text;
}

void append_facts(std::string& out, const EntryFacts& facts) {
  append(out, facts.release_date);
  append(out, facts.resolution);
  append(out, facts.tokens);
  append(out, static_cast<int32_t>(facts.by_nmr));
  for (const auto* const counts : {&facts.chains, &facts.aligned})
    for (const int32_t count : *counts) append(out, count);
}

EntryFacts facts_at(std::string_view bytes, size_t at) {
  EntryFacts out;
  out.release_date = value_at<int32_t>(bytes, at);
  out.resolution = value_at<float>(bytes, at + 4);
  out.tokens = value_at<int32_t>(bytes, at + 8);
  out.by_nmr = value_at<int32_t>(bytes, at + 12) != 0;
  for (size_t type = 0; type < out.chains.size(); ++type) {
    out.chains[type] = value_at<int32_t>(bytes, at + 16 + 4 * type);
    out.aligned[type] = value_at<int32_t>(bytes, at + 32 + 4 * type);
  }
  return out;
}

/// The checksum of a page's payload and number: pages that changed places are seen too.
uint64_t page_checksum(std::string_view payload, uint64_t number) {
  std::string all(payload);
  append(all, number);
  return checksum64(bytes_of(all));
}

/// Texts one after the other, each stored once.
class Texts {
 public:
  void append_to(std::string& row, const std::string& text) {
    const auto [found, is_new] = places_.try_emplace(text, all_.size());
    if (is_new) all_ += text;
    append(row, found->second);
    append(row, static_cast<uint32_t>(text.size()));
  }
  [[nodiscard]] const std::string& all() const { return all_; }

 private:
  std::string all_;
  std::map<std::string, uint64_t> places_;
};

}  // namespace

std::string_view name_of(Verdict verdict) {
  constexpr std::array<std::string_view, 3> kNames = {"kept", "dropped", "failed"};
  return kNames[static_cast<size_t>(verdict)];
}

size_t CacheIndex::count(Verdict verdict) const {
  return static_cast<size_t>(std::count_if(
      entries.begin(), entries.end(), [&](const IndexEntry& e) { return e.verdict == verdict; }));
}

void finish_index(CacheIndex& index) {
  std::sort(index.entries.begin(), index.entries.end(),
            [](const IndexEntry& a, const IndexEntry& b) { return a.id < b.id; });
  std::string all;
  for (const IndexEntry& entry : index.entries) {
    if (entry.verdict != Verdict::kept) continue;
    all += entry.id + ' ' + entry.key;
    for (const auto& [chain, key] : entry.alignments) all += ' ' + chain + ' ' + key;
    for (const auto& [chain, key] : entry.templates) all += " templates " + chain + ' ' + key;
    all += '\n';
  }
  index.content_key = sha256_hex({all});
}

std::string pack_index(const CacheIndex& index) {
  std::map<std::string, uint32_t> shards;
  for (const auto& [key, record] : index.records) shards.try_emplace(record.shard, 0);
  std::string shard_table, record_table, entry_table, link_table;
  uint32_t next = 0;
  for (auto& [name, number] : shards) {
    number = next++;
    shard_table += name;  // 16 characters
  }
  for (const auto& [key, record] : index.records) {
    append_key(record_table, key);
    append(record_table, static_cast<uint32_t>(record.row.kind));
    append(record_table, shards.at(record.shard));
    append(record_table, record.row.offset);
    append(record_table, record.row.size);
  }
  Texts texts;
  uint64_t links = 0;
  for (const IndexEntry& entry : index.entries) {
    append_key(entry_table, entry.key);
    texts.append_to(entry_table, entry.id);
    append(entry_table, static_cast<uint32_t>(entry.verdict));
    texts.append_to(entry_table, entry.reason);
    append(entry_table, static_cast<uint32_t>(entry.alignments.size() + entry.templates.size()));
    append(entry_table, links);
    append_facts(entry_table, entry.facts);
    for (const auto* const map : {&entry.alignments, &entry.templates})
      for (const auto& [label, key] : *map) {
        texts.append_to(link_table, label);
        const auto found = index.records.find(key);
        append(link_table, map == &entry.templates ? kTemplatesLink : kAlignmentLink);
        append(link_table, static_cast<uint64_t>(std::distance(index.records.begin(), found)));
        ++links;
      }
  }
  std::string all(kMagic);
  append(all, kIndexVersion);
  append(all, static_cast<uint32_t>(kPage));
  append(all, uint64_t{shards.size()});
  append(all, uint64_t{index.records.size()});
  append(all, uint64_t{index.entries.size()});
  append(all, links);
  append(all, uint64_t{texts.all().size()});
  append_key(all, index.content_key);
  append(all, uint64_t{0});
  all += shard_table + record_table + entry_table + link_table + texts.all();

  std::string out;
  for (uint64_t at = 0, number = 0; at < all.size(); at += kPayload, ++number) {
    std::string payload = all.substr(at, kPayload);
    payload.resize(kPayload, '\0');
    out += payload;
    append(out, page_checksum(payload, number));
  }
  return out;
}

IndexFile::IndexFile(const fs::path& cache) {
  std::error_code error;
  if (!fs::is_directory(cache, error))
    fail<BadInput>(
        "{}: no such folder; make the cache with: megafold cache build --data DIR --out {}",
        cache.string(), cache.string());
  const fs::path path = cache / kIndexFile;
  if (!fs::exists(path, error)) {
    if (fs::exists(cache / "index.mfr", error))
      fail<Unsupported>("{}: a cache of format 1, this program reads {}: build it again",
                        cache.string(), kIndexVersion);
    if (fs::exists(cache / kShardFolder, error))
      fail<BadInput>(
          "{}: the cache is not finished (no {}): run megafold cache build again, it goes on where "
          "it stopped",
          cache.string(), kIndexFile);
    fail<BadInput>("{}: is not a cache (no {})", cache.string(), kIndexFile);
  }
  file_ = ReadFile::open(path);
  if (file_->size() == 0 || file_->size() % kPage != 0)
    fail<Corrupt>("{}: {} bytes are no whole pages (cut short?)", file_->name(), file_->size());
  const std::string header = read(0, kHeaderSize);
  if (!header.starts_with(kMagic))
    fail<Corrupt>("{}: does not start as a megafold index", file_->name());
  if (const auto version = value_at<uint32_t>(header, 8); version != kIndexVersion)
    fail<Unsupported>("{}: index format {}, this program reads {}: build the cache again",
                      file_->name(), version, kIndexVersion);
  shards_ = value_at<uint64_t>(header, 16);
  records_ = value_at<uint64_t>(header, 24);
  entries_ = value_at<uint64_t>(header, 32);
  links_ = value_at<uint64_t>(header, 40);
  text_ = value_at<uint64_t>(header, 48);
  content_key_ = key_at(header, 56);
  const bool sane =
      std::max({shards_, records_, entries_, links_}) < kMaxRows && text_ <= file_->size();
  shard_at_ = kHeaderSize;
  record_at_ = shard_at_ + shards_ * kShardSize;
  entry_at_ = record_at_ + records_ * kRecordSize;
  link_at_ = entry_at_ + entries_ * kEntrySize;
  text_at_ = link_at_ + links_ * kLinkSize;
  const uint64_t pages = (text_at_ + text_ + kPayload - 1) / kPayload;
  if (!sane || pages != file_->size() / kPage)
    fail<Corrupt>("{}: {} pages, the header says {} (cut short?)", file_->name(),
                  file_->size() / kPage, pages);
}

std::string IndexFile::read(uint64_t offset, uint64_t size) const {
  const uint64_t pages = file_->size() / kPage;
  if (offset > pages * kPayload || size > pages * kPayload - offset)
    fail<Corrupt>("{}: {} bytes from {} on lie outside", file_->name(), size, offset);
  std::string out;
  out.reserve(size);
  for (uint64_t page = offset / kPayload; out.size() < size; ++page) {
    const uint64_t from = offset + out.size() - page * kPayload;
    append_page(page, from, std::min(size - out.size(), kPayload - from), out);
  }
  return out;
}

void IndexFile::append_page(uint64_t page, uint64_t from, uint64_t size, std::string& out) const {
  const std::scoped_lock lock(pages_mutex_);
  Page& slot = pages_[page % pages_.size()];
  if (slot.number != page) {
    slot.number = ~uint64_t{0};  // until it is whole
    slot.content.resize(kPage);
    file_->read(page * kPage, std::as_writable_bytes(std::span(slot.content)));
    const std::string_view view = slot.content;
    if (page_checksum(view.substr(0, kPayload), page) != value_at<uint64_t>(view, kPayload))
      fail<Corrupt>("{}: page {} of {}: wrong checksum; the file is damaged: build the cache again",
                    file_->name(), page + 1, file_->size() / kPage);
    slot.number = page;
  }
  out.append(slot.content, from, size);
}

std::string IndexFile::entry_id(uint64_t i) const {
  const std::string row = read(entry_at_ + i * kEntrySize + kIdAt, 12);
  const auto at = value_at<uint64_t>(row, 0);
  const auto size = value_at<uint32_t>(row, 8);
  if (at > text_ || size > text_ - at)
    fail<Corrupt>("{}: the name of entry {} lies outside", file_->name(), i);
  return read(text_at_ + at, size);
}

std::string IndexFile::kept_id(uint64_t i) const {
  {
    const std::scoped_lock lock(ids_mutex_);
    if (const auto found = ids_.find(i); found != ids_.end()) return found->second;
  }
  std::string id = entry_id(i);
  const std::scoped_lock lock(ids_mutex_);
  return ids_.try_emplace(i, std::move(id)).first->second;
}

IndexEntry IndexFile::entry(uint64_t i) const {
  const std::string row = read(entry_at_ + i * kEntrySize, kEntrySize);
  const auto text = [&](std::string_view from, size_t place) {
    const auto at = value_at<uint64_t>(from, place);
    const auto size = value_at<uint32_t>(from, place + 8);
    if (at > text_ || size > text_ - at)
      fail<Corrupt>("{}: a text of entry {} lies outside", file_->name(), i);
    return read(text_at_ + at, size);
  };
  IndexEntry out;
  out.key = key_at(row, 0);
  out.id = text(row, kIdAt);
  const auto verdict = value_at<uint32_t>(row, kVerdictAt);
  out.reason = text(row, 48);
  const auto count = value_at<uint32_t>(row, 60);
  const auto first = value_at<uint64_t>(row, 64);
  if (verdict > static_cast<uint32_t>(Verdict::failed) || first > links_ || count > links_ - first)
    fail<Corrupt>("{}: entry {}: verdict {}, {} alignments from {} on", file_->name(), out.id,
                  verdict, count, first);
  out.verdict = static_cast<Verdict>(verdict);
  out.facts = facts_at(row, kFactsAt);
  const std::string links = read(link_at_ + first * kLinkSize, count * kLinkSize);
  for (size_t k = 0; k < count; ++k) {
    const auto kind = value_at<uint32_t>(links, k * kLinkSize + 12);
    const auto to = value_at<uint64_t>(links, k * kLinkSize + 16);
    if (to >= records_ || kind > kTemplatesLink)
      fail<Corrupt>("{}: entry {}: a link of kind {} to record {} of {}", file_->name(), out.id,
                    kind, to, records_);
    auto& map = kind == kTemplatesLink ? out.templates : out.alignments;
    map[text(links, k * kLinkSize)] = key_at(read(record_at_ + to * kRecordSize, 32), 0);
  }
  return out;
}

std::vector<IndexFile::Kept> IndexFile::kept() const {
  const std::string rows = read(entry_at_, entries_ * kEntrySize), texts = read(text_at_, text_);
  std::vector<Kept> out;
  for (uint64_t i = 0; i < entries_; ++i) {
    const std::string_view row = std::string_view(rows).substr(i * kEntrySize, kEntrySize);
    if (value_at<uint32_t>(row, kVerdictAt) != static_cast<uint32_t>(Verdict::kept)) continue;
    const auto at = value_at<uint64_t>(row, kIdAt);
    const auto size = value_at<uint32_t>(row, kIdAt + 8);
    if (at > text_ || size > text_ - at)
      fail<Corrupt>("{}: the name of entry {} lies outside", file_->name(), i);
    out.push_back({texts.substr(at, size), facts_at(row, kFactsAt)});
  }
  return out;
}

IndexRecord IndexFile::record(uint64_t i) const {
  const std::string row = read(record_at_ + i * kRecordSize, kRecordSize);
  const auto kind = value_at<uint32_t>(row, 32), shard = value_at<uint32_t>(row, 36);
  if (kind > static_cast<uint32_t>(RecordKind::templates) || shard >= shards_)
    fail<Corrupt>("{}: record {} is of kind {} in shard {} of {}", file_->name(), i, kind, shard,
                  shards_);
  return {{key_at(row, 0), static_cast<RecordKind>(kind), value_at<uint64_t>(row, 40),
           value_at<uint64_t>(row, 48)},
          read(shard_at_ + shard * kShardSize, 16)};
}

std::optional<IndexEntry> IndexFile::find_entry(std::string_view id) const {
  uint64_t low = 0, high = entries_;
  for (int step = 0; low < high; ++step) {
    const uint64_t middle = low + (high - low) / 2;
    const std::string here = step < kKeptSteps ? kept_id(middle) : entry_id(middle);
    if (here == id) return entry(middle);
    if (here < id)
      low = middle + 1;
    else
      high = middle;
  }
  return std::nullopt;
}

std::optional<IndexRecord> IndexFile::find_record(std::string_view key) const {
  const auto wanted = key_bytes(key);
  const std::string_view bytes(reinterpret_cast<const char*>(wanted.data()), wanted.size());
  // Keys are hashes, so where one stands can be guessed from its first bytes and those around it;
  // halving takes over where a guess has not helped.
  const auto leading = [](std::string_view hash) {
    uint64_t value = 0;
    for (size_t i = 0; i < 7; ++i) value = value << 8 | static_cast<unsigned char>(hash[i]);
    return static_cast<double>(value);
  };
  uint64_t low = 0, high = records_;
  double low_value = 0, high_value = leading("\xff\xff\xff\xff\xff\xff\xff");
  for (int step = 0; low < high; ++step) {
    uint64_t middle = low + (high - low) / 2;
    if (constexpr int kGuesses = 6; step < kGuesses && high_value > low_value) {
      const double share = (leading(bytes) - low_value) / (high_value - low_value);
      middle =
          low + std::min(high - low - 1, static_cast<uint64_t>(std::clamp(share, 0.0, 1.0) *
                                                               static_cast<double>(high - low)));
    }
    const std::string here = read(record_at_ + middle * kRecordSize, 32);
    if (here == bytes) return record(middle);
    if (here < bytes) {  // std::string compares as unsigned bytes
      low = middle + 1;
      low_value = leading(here);
    } else {
      high = middle;
      high_value = leading(here);
    }
  }
  return std::nullopt;
}

CacheIndex read_index(const fs::path& cache) {
  const IndexFile file(cache);
  CacheIndex index;
  for (uint64_t i = 0; i < file.num_records(); ++i) {
    IndexRecord record = file.record(i);
    std::string key = record.row.key;
    index.records.emplace(std::move(key), std::move(record));
  }
  for (uint64_t i = 0; i < file.num_entries(); ++i) index.entries.push_back(file.entry(i));
  CacheIndex again = index;
  finish_index(again);
  if (again.content_key != file.content_key() || again.entries != index.entries ||
      index.records.size() != file.num_records())
    fail<Corrupt>("{}: the entries are not those that the content key was made from",
                  (cache / kIndexFile).string());
  for (const IndexEntry& entry : index.entries)
    if (entry.verdict == Verdict::kept && !index.records.contains(entry.key))
      fail<Corrupt>("{}: entry {} has no record", (cache / kIndexFile).string(), entry.id);
  index.content_key = file.content_key();
  return index;
}

}  // namespace megafold
