// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/stats.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "cache/reader.h"

namespace megafold {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

void add_structure(CacheStats& stats, const std::string& id, const Record& record, int64_t& most) {
  const int64_t tokens = record.describe("token_restype").size();
  if (tokens > most) stats.largest = id, most = tokens;
  stats.tokens.push_back(tokens);
  stats.atoms.push_back(record.describe("atom_element").size());
  const ArrayView types = record.array("chain_type"), counts = record.array("chain_token_count");
  const json meta = json::parse(record.meta());
  size_t c = 0;
  for (const json& chain : meta.at("chains")) {
    const size_t type = types.as<uint8_t>()[c];
    CacheStats::Chains& of = stats.chains.at(type);
    ++of.count;
    of.aligned += chain.contains("alignment") && chain["alignment"].is_string();
    of.with_templates += chain.contains("templates") && chain["templates"].is_string();
    stats.tokens_of.at(type) += counts.as<int32_t>()[c++];
  }
  if (meta.at("release_date").is_string()) {
    const auto date = meta["release_date"].get<std::string>();
    if (stats.first_release.empty() || date < stats.first_release) stats.first_release = date;
    stats.last_release = std::max(stats.last_release, date);
  } else {
    ++stats.without_date;
  }
  if (meta.at("resolution").is_number())
    stats.resolution.push_back(meta["resolution"].get<double>());
  else
    ++stats.without_resolution;
  stats.inferred += meta.contains("inferred");
}

template <class T>
json spread(const std::vector<T>& ascending) {
  return {{"count", ascending.size()},
          {"p5", quantile_of_sorted(ascending, 0.05)},
          {"p50", quantile_of_sorted(ascending, 0.5)},
          {"p95", quantile_of_sorted(ascending, 0.95)},
          {"max", quantile_of_sorted(ascending, 1)}};
}

json to_json(const CacheStats::Bytes& bytes) {
  return {{"records", bytes.records}, {"raw", bytes.raw}, {"stored", bytes.stored}};
}

constexpr std::array kTypes = {"protein", "rna", "dna", "ligand"};

}  // namespace

CacheStats cache_stats(const fs::path& cache) {
  const CacheIndex index = read_index(cache);
  const auto reader = CacheReader::open(cache);
  CacheStats stats;
  int64_t most = 0;  // tokens of the largest
  for (const IndexEntry& entry : index.entries) {
    ++stats.entries.at(static_cast<size_t>(entry.verdict));
    if (entry.verdict != Verdict::kept) continue;
    try {
      add_structure(stats, entry.id, *reader->structure(entry.id), most);
    } catch (const json::exception& failure) {
      fail<Corrupt>("{}, entry {}: array 'meta' cannot be read: {}", cache.string(), entry.id,
                    failure.what());
    }
  }
  OpenFiles files(cache / kShardFolder);
  uint64_t used = 0;
  for (const auto& [key, record] : index.records) {
    const RecordPlace place{files.get(shard_file(record.shard)), record.row.offset,
                            record.row.size};
    const RecordIndex arrays = read_record_index(place, place.file->name());
    CacheStats::Bytes& kind = stats.kinds.at(static_cast<size_t>(record.row.kind));
    ++kind.records;
    kind.stored += record.row.size;
    used += record.row.size;
    for (const ArrayEntry& array : arrays.arrays) {
      CacheStats::Bytes& of = stats.arrays[array.name];
      ++of.records;
      of.raw += array.raw_bytes();
      of.stored += array.packed_bytes();
      kind.raw += array.raw_bytes();
      if (array.name == "msa") stats.rows.push_back(array.shape.at(0));
      if (array.name == "template_date") stats.candidates.push_back(array.shape.at(0));
    }
  }
  std::error_code error;
  for (fs::directory_iterator it(cache / kShardFolder, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() != kShardExtension) continue;
    const auto file = ReadFile::open(it->path());
    ++stats.shards;
    stats.shard_bytes += file->size();
    for (const ShardRow& row : read_shard(*file).rows) stats.unused_bytes += row.size;
  }
  stats.unused_bytes -= std::min(used, stats.unused_bytes);
  for (auto* const values : {&stats.tokens, &stats.atoms, &stats.rows, &stats.candidates})
    std::sort(values->begin(), values->end());
  std::sort(stats.resolution.begin(), stats.resolution.end());
  return stats;
}

std::string to_json(const CacheStats& stats) {
  json chains = json::object(), tokens_of = json::object(), kinds = json::object(),
       arrays = json::object();
  for (size_t t = 0; t < kTypes.size(); ++t) {
    const CacheStats::Chains& of = stats.chains[t];
    chains[kTypes[t]] = {
        {"count", of.count}, {"aligned", of.aligned}, {"with_templates", of.with_templates}};
    tokens_of[kTypes[t]] = stats.tokens_of[t];
  }
  for (size_t k = 0; k < stats.kinds.size(); ++k)
    kinds[std::string(name_of(static_cast<RecordKind>(k)))] = to_json(stats.kinds[k]);
  for (const auto& [name, bytes] : stats.arrays) arrays[name] = to_json(bytes);
  const json out{{"kept", stats.entries[0]},
                 {"dropped", stats.entries[1]},
                 {"failed", stats.entries[2]},
                 {"tokens", spread(stats.tokens)},
                 {"atoms", spread(stats.atoms)},
                 {"largest", stats.largest},
                 {"tokens_by_type", tokens_of},
                 {"chains_by_type", chains},
                 {"alignment_rows", spread(stats.rows)},
                 {"template_candidates", spread(stats.candidates)},
                 {"first_release", stats.first_release},
                 {"last_release", stats.last_release},
                 {"without_date", stats.without_date},
                 {"resolution", spread(stats.resolution)},
                 {"without_resolution", stats.without_resolution},
                 {"with_inferred_facts", stats.inferred},
                 {"bytes_by_kind", kinds},
                 {"bytes_by_array", arrays},
                 {"shards", stats.shards},
                 {"shard_bytes", stats.shard_bytes},
                 {"unused_bytes", stats.unused_bytes}};
  return out.dump(1) + "\n";
}

}  // namespace megafold
