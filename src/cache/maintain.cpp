// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/maintain.h"

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/errors.h"
#include "base/publish.h"
#include "cache/lock.h"
#include "cache/reader.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::vector<fs::path> shard_files(const fs::path& cache) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator it(cache / kShardFolder, error), end; !error && it != end;
       it.increment(error))
    if (it->path().extension() == kShardExtension) out.push_back(it->path());
  std::sort(out.begin(), out.end());
  return out;
}

/// "1ubq" or "2q2k chain B (and 3 more)": whom a record serves.
std::map<std::string, std::string> users_of(const CacheIndex& index) {
  std::map<std::string, std::pair<std::string, size_t>> users;
  const auto add = [&](const std::string& key, const std::string& who) {
    const auto [found, is_new] = users.try_emplace(key, who, 0);
    if (!is_new) ++found->second.second;
  };
  for (const IndexEntry& entry : index.entries) {
    if (entry.verdict != Verdict::kept) continue;
    add(entry.key, entry.id);
    for (const auto& [chain, key] : entry.templates)
      add(key, fmt::format("{} chain {}, templates", entry.id, chain));
    for (const auto& [chain, key] : entry.alignments)
      add(key, fmt::format("{} chain {}", entry.id, chain));
  }
  std::map<std::string, std::string> out;
  for (const auto& [key, who] : users)
    out[key] = who.second == 0 ? who.first : fmt::format("{} (and {} more)", who.first, who.second);
  return out;
}

/// What differs between two entries' records of one kind, by chain.
void compare_links(const std::map<std::string, std::string>& a,
                   const std::map<std::string, std::string>& b, const char* kind,
                   std::vector<std::string>& what) {
  std::set<std::string> chains;
  for (const auto* const links : {&a, &b})
    for (const auto& [chain, key] : *links) chains.insert(chain);
  for (const std::string& chain : chains) {
    const bool in_a = a.contains(chain), in_b = b.contains(chain);
    if (in_a != in_b)
      what.push_back(
          fmt::format("chain {}: {} only in the {}", chain, kind, in_a ? "first" : "second"));
    else if (a.at(chain) != b.at(chain))
      what.push_back(fmt::format("the {} of chain {} differs", kind, chain));
  }
}

/// What the index says of a kept entry against its records; empty where they agree. A record
/// without chains (tests write such) has no facts.
class FactsCheck {
 public:
  explicit FactsCheck(const fs::path& cache) : reader_(CacheReader::open(cache)) {}

  std::string operator()(const IndexEntry& entry) {
    const auto record = reader_->structure(entry.id);
    const std::vector<std::string> names = record->names();
    if (std::ranges::find(names, "chain_type") == names.end()) return "";
    const ArrayView types = record->array("chain_type");
    EntryFacts facts = facts_of(record->meta(), record->describe("token_restype").size(),
                                types.as<uint8_t>(), types.size());
    const json meta = json::parse(record->meta());
    const json& chains = meta.at("chains");
    for (size_t c = 0; c < chains.size(); ++c) {
      const auto link = entry.alignments.find(chains[c].at("label").get<std::string>());
      if (link == entry.alignments.end() || rows_of(link->second) < 2) continue;
      ++facts.aligned.at(types.as<uint8_t>()[c]);
    }
    if (facts == entry.facts) return "";
    const auto text = [](const EntryFacts& of) {
      return fmt::format("date {}, resolution {}, {} tokens, NMR {}, chains [{}], aligned [{}]",
                         of.release_date, of.resolution, of.tokens, of.by_nmr,
                         fmt::join(of.chains, " "), fmt::join(of.aligned, " "));
    };
    return fmt::format("the index says: {}; its records say: {}; build the cache again",
                       text(entry.facts), text(facts));
  }

 private:
  int64_t rows_of(const std::string& key) {
    const auto known = rows_.find(key);
    if (known != rows_.end()) return known->second;
    return rows_[key] = reader_->alignment(key)->describe("msa").shape.at(0);
  }
  std::shared_ptr<CacheReader> reader_;
  std::map<std::string, int64_t> rows_;  // by the alignment's key
};

}  // namespace

VerifyReport verify_cache(const fs::path& cache,
                          const std::function<void(uint64_t, uint64_t)>& progress) {
  const CacheIndex index = read_index(cache);
  const auto users = users_of(index);
  VerifyReport report;
  std::map<std::string, std::set<std::string>> sound;  // key -> shards whose footers name it
  const std::vector<fs::path> paths = shard_files(cache);
  uint64_t done = 0, total = 0;
  std::error_code error;
  for (const fs::path& path : paths)
    if (const auto size = fs::file_size(path, error); !error) total += size;
  for (const fs::path& path : paths) {
    try {
      const auto file = ReadFile::open(path);
      const ShardInfo shard = read_shard(*file);
      ++report.shards;
      for (const ShardRow& row : shard.rows) {
        sound[row.key].insert(shard.name);
        try {
          check_record({file, row.offset, row.size}, row.kind, row.key);
          ++report.records;
        } catch (const Error& failure) {
          const auto user = users.find(row.key);
          report.damages.push_back((user == users.end() ? "" : user->second + ": ") +
                                   failure.what());
        }
        done += row.size;
        if (progress) progress(done, total);
      }
    } catch (const Error& failure) {
      report.damages.emplace_back(failure.what());
    }
  }
  for (const auto& [key, record] : index.records)
    if (!sound.contains(key) || !sound.at(key).contains(record.shard)) {
      const auto user = users.find(key);
      report.damages.push_back(
          fmt::format("{}: the index names the record {} in {}, where it is not",
                      user == users.end() ? "nobody" : user->second, key.substr(0, 12),
                      shard_path(cache, record.shard).string()));
    }
  if (!report.damages.empty()) return report;  // records that are damaged say nothing
  FactsCheck check(cache);
  for (const IndexEntry& entry : index.entries)
    if (entry.verdict == Verdict::kept)
      if (const std::string what = check(entry); !what.empty())
        report.damages.push_back(fmt::format("{}: {}", entry.id, what));
  return report;
}

GcReport collect_garbage(const fs::path& cache, bool dry_run) {
  CacheIndex index = read_index(cache);  // before the lock: it makes no folder where there is none
  const FolderLock lock = FolderLock::whole(cache);
  index = read_index(cache);
  GcReport report;
  std::vector<fs::path> old;  // shards to remove once the index names none of them
  bool moved = false;
  for (const fs::path& path : shard_files(cache)) {
    const auto file = ReadFile::open(path);
    const std::string name = path.stem().string();
    std::vector<ShardRow> live;
    uint64_t live_bytes = 0;
    for (const auto& [key, record] : index.records)
      if (record.shard == name) {
        live.push_back(record.row);
        live_bytes += record.row.size;
      }
    if (!live.empty() && live.size() == read_shard(*file).rows.size()) continue;
    report.freed += file->size() - live_bytes;
    ++(live.empty() ? report.removed : report.rewritten);
    old.push_back(path);
    if (live.empty() || dry_run) continue;
    std::vector<PackedRecord> records;
    for (const ShardRow& row : live) {
      check_record({file, row.offset, row.size}, row.kind, row.key);
      records.push_back({row.key, row.kind, file->read(row.offset, row.size)});
    }
    const ShardInfo shard = write_shard(cache, std::move(records));
    kill_point("gc.copied");
    for (const ShardRow& row : shard.rows) index.records[row.key] = {row, shard.name};
    moved = true;
  }
  if (dry_run) return report;
  if (moved) publish(cache / kIndexFile, pack_index(index));
  kill_point("gc.indexed");
  std::error_code error;
  for (const fs::path& path : old) fs::remove(path, error);
  return report;
}

std::vector<Difference> diff_caches(const CacheIndex& first, const CacheIndex& second) {
  std::vector<Difference> out;
  auto a = first.entries.begin();
  auto b = second.entries.begin();
  while (a != first.entries.end() || b != second.entries.end()) {
    if (b == second.entries.end() || (a != first.entries.end() && a->id < b->id)) {
      out.push_back({a++->id, "only in the first"});
    } else if (a == first.entries.end() || b->id < a->id) {
      out.push_back({b++->id, "only in the second"});
    } else {
      std::vector<std::string> what;
      if (a->verdict != b->verdict)
        what.push_back(fmt::format("{} in the first, {} in the second", name_of(a->verdict),
                                   name_of(b->verdict)));
      else if (a->verdict == Verdict::kept && a->key != b->key)
        what.emplace_back("the structure differs");
      else if (a->reason != b->reason)
        what.push_back(fmt::format("'{}' in the first, '{}' in the second", a->reason, b->reason));
      if (a->verdict == Verdict::kept && b->verdict == Verdict::kept) {
        compare_links(a->alignments, b->alignments, "alignment", what);
        compare_links(a->templates, b->templates, "record of templates", what);
      }
      for (std::string& text : what) out.push_back({a->id, std::move(text)});
      ++a, ++b;
    }
  }
  return out;
}

}  // namespace megafold
