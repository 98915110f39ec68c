// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// megafold cache stats | export
#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "alignment/write_a3m.h"
#include "base/errors.h"
#include "base/publish.h"
#include "cache/npz.h"
#include "cache/reader.h"
#include "cache/stats.h"
#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "cli/size_text.h"
#include "predict/write_mmcif.h"
#include "structure/structure.h"

namespace megafold::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

template <class T>
std::string spread(const std::vector<T>& ascending, const char* format) {
  std::string out;
  for (const double share : {0.05, 0.5, 0.95, 1.0})
    out += fmt::format(fmt::runtime(format), quantile_of_sorted(ascending, share));
  return out;
}

void print_stats(const fs::path& path, const CacheStats& stats) {
  fmt::print("{}: {} entries kept, {} dropped, {} failed; {} shards, {}", path.string(),
             stats.entries[0], stats.entries[1], stats.entries[2], stats.shards,
             size_text(stats.shard_bytes));
  if (stats.unused_bytes > 0)
    fmt::print(" ({} of them needed by nothing: megafold cache gc)", size_text(stats.unused_bytes));
  fmt::print("\n");
  if (!stats.first_release.empty())
    fmt::print("released {} to {}", stats.first_release, stats.last_release);
  if (stats.without_date > 0) fmt::print("; {} without a date", stats.without_date);
  if (!stats.resolution.empty())
    fmt::print("; median resolution {:.2f} A, worst {:.2f} A",
               quantile_of_sorted(stats.resolution, 0.5), stats.resolution.back());
  if (stats.without_resolution > 0)
    fmt::print("; {} without a resolution", stats.without_resolution);
  if (stats.inferred > 0) fmt::print("; {} with inferred facts", stats.inferred);
  fmt::print("\n\n{:<28} {:>10} {:>10} {:>10} {:>10}\n", "", "5 %", "median", "95 %", "most");
  fmt::print("{:<28}{}  {}\n", "tokens of an entry", spread(stats.tokens, " {:>10}"),
             stats.largest);
  fmt::print("{:<28}{}\n", "atoms of an entry", spread(stats.atoms, " {:>10}"));
  if (!stats.rows.empty())
    fmt::print("{:<28}{}\n", "rows of an alignment", spread(stats.rows, " {:>10}"));
  if (!stats.candidates.empty())
    fmt::print("{:<28}{}\n", "templates of a sequence", spread(stats.candidates, " {:>10}"));
  fmt::print("\n{:<28} {:>10} {:>10} {:>10} {:>10}\n", "chains", "number", "tokens", "aligned",
             "templates");
  constexpr std::array kTypes = {"protein", "RNA", "DNA", "ligand"};
  for (size_t t = 0; t < kTypes.size(); ++t) {
    const CacheStats::Chains& of = stats.chains[t];
    if (of.count == 0) continue;
    const bool polymer = is_polymer(static_cast<ChainType>(t));
    fmt::print("{:<28} {:>10} {:>10} {:>10} {:>10}\n", kTypes[t], of.count, stats.tokens_of[t],
               polymer ? std::to_string(of.aligned) : "-",
               polymer ? std::to_string(of.with_templates) : "-");
  }
  fmt::print("\n{:<28} {:>10} {:>10} {:>10} {:>10}\n", "bytes", "number", "plain", "stored",
             "of all");
  uint64_t all = 0;
  for (const CacheStats::Bytes& kind : stats.kinds) all += kind.stored;
  const auto row = [&](const std::string& name, const CacheStats::Bytes& bytes) {
    fmt::print("{:<28} {:>10} {:>10} {:>10} {:>8.1f} %\n", name, bytes.records,
               size_text(bytes.raw), size_text(bytes.stored),
               all > 0 ? 100 * static_cast<double>(bytes.stored) / static_cast<double>(all) : 0.0);
  };
  for (size_t k = 0; k < stats.kinds.size(); ++k)
    if (stats.kinds[k].records > 0)
      row(fmt::format("records: {}", name_of(static_cast<RecordKind>(k))), stats.kinds[k]);
  std::vector<std::pair<uint64_t, std::string>> arrays;
  for (const auto& [name, bytes] : stats.arrays) arrays.emplace_back(bytes.stored, name);
  std::sort(arrays.rbegin(), arrays.rend());
  arrays.resize(std::min<size_t>(8, arrays.size()));
  for (const auto& [stored, name] : arrays) row("  " + name, stats.arrays.at(name));
}

void stats(const fs::path& path, bool as_json) {
  const CacheStats found = cache_stats(path);
  if (as_json)
    fmt::print("{}", to_json(found));
  else
    print_stats(path, found);
}

// ------------------------------------------------------------------------------------------ export

struct ExportOptions {
  fs::path cache, out;
  std::vector<std::string> entries;
  std::vector<std::string> formats = {"cif", "a3m", "npz"};
  [[nodiscard]] bool wants(std::string_view format) const {
    return std::find(formats.begin(), formats.end(), format) != formats.end();
  }
};

/// A chain's record of alignments or templates, where its meta names one.
std::string link_of(const json& chain, const char* kind) {
  const auto found = chain.find(kind);
  return found != chain.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// The rows to be paired, in their places among all hits: those that could not be are empty rows.
std::string pairing_text(const Record& alignment, const std::string& name, int64_t columns) {
  const ArrayView msa = alignment.array("pairing_msa"),
                  deletion = alignment.array("pairing_deletion"),
                  species = alignment.array("pairing_species"),
                  hit = alignment.array("pairing_hit"), query = alignment.array("msa");
  const auto width = static_cast<size_t>(columns);
  const int64_t rows = hit.size();
  if (rows == 0) return "";
  const std::vector<uint8_t> none(width, 0), gaps(width, kRestypeGap);
  std::string out = a3m_row(name, {query.as<uint8_t>(), width}, none);
  for (int64_t row = 0, place = 1; row < rows; ++row, ++place) {
    for (; place < hit.as<int32_t>()[row]; ++place)
      out += a3m_row(fmt::format("hit_{}", place), gaps, none);
    const int64_t at = row * columns;
    const std::string_view one(species.as<char>() + row * 8, 8);
    out += a3m_row(name_with_species(one, place), {msa.as<uint8_t>() + at, width},
                   {deletion.as<uint8_t>() + at, width});
  }
  return out;
}

void write_alignments(const ExportOptions& options, const CacheReader& cache, const std::string& id,
                      const json& meta) {
  for (const json& chain : meta.at("chains")) {
    const std::string key = link_of(chain, "alignment");
    if (key.empty()) continue;
    const std::string name = fmt::format("{}_{}", id, chain.at("label").get<std::string>());
    const auto record = cache.alignment(key);
    const ArrayView msa = record->array("msa"), deletion = record->array("deletion");
    const auto size = static_cast<size_t>(msa.size());
    const int64_t columns = msa.shape.at(1);
    publish(options.out / (name + ".a3m"),
            a3m_text(name, {msa.as<uint8_t>(), size}, {deletion.as<uint8_t>(), size}, columns));
    if (const std::string text = pairing_text(*record, name, columns); !text.empty())
      publish(options.out / (name + ".pairing.a3m"), text);
  }
}

void write_arrays(const ExportOptions& options, const CacheReader& cache, const std::string& id,
                  const Record& record, const json& meta) {
  std::vector<std::shared_ptr<const Record>> open;  // own the arrays until they are written
  std::vector<std::pair<std::string, ArrayView>> arrays;
  for (const std::string& name : record.names()) arrays.emplace_back(name, record.array(name));
  for (const json& chain : meta.at("chains"))
    for (const char* kind : {"alignment", "templates"}) {
      const std::string key = link_of(chain, kind);
      if (key.empty()) continue;
      open.push_back(kind[0] == 'a' ? cache.alignment(key) : cache.templates(key));
      const auto label = chain.at("label").get<std::string>();
      for (const std::string& name : open.back()->names())
        arrays.emplace_back(fmt::format("{}/{}/{}", kind, label, name), open.back()->array(name));
    }
  write_npz(options.out / (id + ".npz"), arrays);
}

void export_entries(const ExportOptions& options) {
  const auto cache = CacheReader::open(options.cache);
  const auto& ids = options.entries.empty() ? cache->entries() : options.entries;
  ProgressBar bar;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string& id = ids[i];
    const auto record = cache->structure(id);
    const json meta = json::parse(record->meta());
    if (options.wants("cif"))
      publish(options.out / (id + ".cif"), experimental_mmcif_text(*record));
    if (options.wants("a3m")) write_alignments(options, *cache, id, meta);
    if (options.wants("npz")) write_arrays(options, *cache, id, *record, meta);
    bar.show(i + 1, ids.size(), id);
  }
  bar.say(fmt::format("{}: {} entries as {}", options.out.string(), ids.size(),
                      fmt::join(options.formats, ", ")));
}

}  // namespace

void add_cache_look_commands(CLI::App& cache) {
  const auto looked = std::make_shared<std::pair<fs::path, bool>>();
  CLI::App* command = cache.add_subcommand(
      "stats", "Sizes of entries, depth of alignments, and where the bytes are");
  command->add_option("path", looked->first, "A cache folder")->required();
  command->add_flag("--json", looked->second, "Everything, for scripts");
  command->footer("Example:\n  megafold cache stats cache");
  command->callback([looked] { stats(looked->first, looked->second); });

  const auto options = std::make_shared<ExportOptions>();
  command = cache.add_subcommand("export", "Write entries as files that other programs read");
  command->add_option("path", options->cache, "A cache folder")->required();
  command->add_option("--out", options->out, "Folder to write to")->required();
  command->add_option("--entry", options->entries, "These entries; without it all");
  command->add_option("--format", options->formats, "cif, a3m, npz; without it all three")
      ->check(CLI::IsMember({"cif", "a3m", "npz"}))
      ->delimiter(',');
  command->footer(
      "What is written for an entry 1abc:\n"
      "  1abc.cif       the cleaned first assembly, resolved atoms alone\n"
      "  1abc_A.a3m     the alignment of its chain A; insertions as x, whose letters are not kept\n"
      "  1abc_A.pairing.a3m   its rows to be paired by species, where it has such\n"
      "  1abc.npz       every array (src/features/schema.h), alignment/A/msa and so on\n"
      "A cache built from the .cif and .a3m has the same entries again.\n"
      "\n"
      "Examples:\n"
      "  megafold cache export cache --entry 1ubq --out files\n"
      "  megafold cache export cache --format a3m --out alignments");
  command->callback([options] { export_entries(*options); });
}

}  // namespace megafold::cli
