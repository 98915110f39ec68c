// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// megafold cache build | inspect | verify
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/errors.h"
#include "base/publish.h"
#include "cache/build.h"
#include "cache/layout.h"
#include "cache/reader.h"
#include "cache/record.h"
#include "cli/commands.h"

namespace megafold::cli {
namespace {

namespace fs = std::filesystem;

std::string size_text(uint64_t bytes) {
  if (bytes < 10'000) return fmt::format("{} B", bytes);
  if (bytes < 10'000'000) return fmt::format("{:.1f} kB", static_cast<double>(bytes) / 1e3);
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

/// One line an entry: on a terminal only what was not kept stays, beside a running count.
class BuildProgress {
 public:
  void operator()(size_t done, size_t total, const EntryReport& entry) {
    const bool terminal = ::isatty(STDERR_FILENO) != 0;
    const std::string line =
        fmt::format("[{}/{}] {} {}{}", done, total, entry.id, name_of(entry.verdict),
                    entry.verdict == Verdict::kept
                        ? fmt::format(": {} tokens, {} atoms, {} chains, {} alignments{}",
                                      entry.tokens, entry.atoms, entry.chains, entry.alignments,
                                      entry.reused ? ", was there" : "")
                        : ": " + entry.reason);
    if (terminal && entry.verdict == Verdict::kept && done < total)
      fmt::print(stderr, "\r\033[K{}", line);
    else
      fmt::print(stderr, "{}{}\n", terminal ? "\r\033[K" : "", line);
    std::fflush(stderr);
  }
};

void build(const BuildOptions& given, bool strict) {
  BuildOptions options = given;
  options.progress = BuildProgress();
  const BuildReport report = build_cache(options);
  for (const std::string& file : report.unused_alignments)
    fmt::print(stderr, "unused: {} is the alignment of no chain of any entry\n", file);
  const size_t dropped = report.count(Verdict::dropped), failed = report.count(Verdict::failed);
  fmt::print("{}: {} kept, {} dropped, {} failed, in {:.1f} s; every verdict is in {}\n",
             options.out.string(), report.count(Verdict::kept), dropped, failed, report.seconds,
             (options.out / kReportFile).string());
  if (report.count(Verdict::kept) == 0)
    fail<BadInput>("{}: no entry could be kept, so there is nothing to train on",
                   options.data.string());
  if (strict && (dropped > 0 || failed > 0)) throw ExitWith{2};
}

void inspect_record(const fs::path& path) {
  const std::string bytes = read_file(path);
  const RecordIndex index = read_record_index(bytes, path.string());
  fmt::print("{}: a record of kind {}, {}\nkey {}\n\n", path.string(), name_of(index.kind),
             size_text(bytes.size()), index.key);
  fmt::print("{:<28} {:<4} {:<18} {:>10} {:>10} {:>6}\n", "array", "type", "shape", "bytes",
             "stored", "blocks");
  constexpr std::array kTypes = {"?", "u8", "i8", "i32", "i64", "f32"};
  for (const ArrayEntry& array : index.arrays)
    fmt::print("{:<28} {:<4} {:<18} {:>10} {:>10} {:>6}\n", array.name,
               kTypes[static_cast<size_t>(array.type) % kTypes.size()],
               fmt::format("{}", fmt::join(array.shape, " x ")), size_text(array.raw_bytes()),
               size_text(array.packed_bytes()), array.blocks.size());
}

void inspect_meta(const Record& record) {
  fmt::print("{}\n", nlohmann::json::parse(record.meta()).dump(2));
}

void inspect(const fs::path& path, const std::string& entry) {
  if (fs::is_regular_file(path)) {
    inspect_record(path);
    return;
  }
  const auto cache = CacheReader::open(path);
  if (!entry.empty()) {
    const auto record = cache->structure(entry);
    inspect_record(record_path(path, RecordKind::structure, record->key()));
    fmt::print("\n");
    inspect_meta(*record);
    return;
  }
  fmt::print("{}: {} entries, content key {}\n\n", path.string(), cache->entries().size(),
             cache->content_key());
  fmt::print("{:<12} {:>7} {:>8} {:>7} {:>9}  {}\n", "entry", "tokens", "atoms", "chains",
             "released", "resolution, title");
  for (const std::string& id : cache->entries()) {
    const auto record = cache->structure(id);
    const auto meta = nlohmann::json::parse(record->meta());
    const auto text = [&](const char* name) {
      return meta.contains(name) && meta[name].is_string() ? meta[name].get<std::string>() : "-";
    };
    const std::string resolution = meta.contains("resolution") && meta["resolution"].is_number()
                                       ? fmt::format("{:.2f} A", meta["resolution"].get<double>())
                                       : "-";
    fmt::print("{:<12} {:>7} {:>8} {:>7} {:>10}  {}, {}\n", id,
               record->array("token_restype").size(), record->array("atom_resolved").size(),
               record->array("chain_asym_id").size(), text("release_date"), resolution,
               text("title"));
  }
}

/// Reads every record that the index names, every block against its checksum.
void verify(const fs::path& path) {
  const CacheIndex index = read_index(path);
  size_t records = 0, damaged = 0;
  const auto check = [&](RecordKind kind, const std::string& key, const std::string& what) {
    try {
      (void)read_record(record_path(path, kind, key), kind, key);
      ++records;
    } catch (const Error& error) {
      ++damaged;
      fmt::print(stderr, "{}: {}\n", what, error.what());
    }
  };
  for (const IndexEntry& entry : index.entries) {
    check(RecordKind::structure, entry.key, entry.id);
    for (const auto& [chain, key] : entry.alignments)
      check(RecordKind::alignment, key, fmt::format("{} chain {}", entry.id, chain));
  }
  fmt::print("{}: {} entries, {} records whole, {} damaged\n", path.string(), index.entries.size(),
             records, damaged);
  if (damaged > 0)
    fail<Corrupt>(
        "{}: {} damaged records: remove the named files and run `megafold cache build` "
        "again, which makes only what is missing",
        path.string(), damaged);
}

}  // namespace

void add_cache_command(CLI::App& app) {
  CLI::App* cache =
      app.add_subcommand("cache", "Build, look into and check an ahead-of-time cache");
  cache->require_subcommand(1);
  cache->footer(
      "Examples:\n"
      "  megafold cache build --data data --out cache\n"
      "  megafold cache inspect cache\n"
      "  megafold cache verify cache");

  const auto options = std::make_shared<BuildOptions>();
  const auto strict = std::make_shared<bool>(false);
  CLI::App* command = cache->add_subcommand(
      "build", "Read, clean and store every entry and alignment of a data folder, once");
  command
      ->add_option("--data", options->data, "Folder of .cif, .cif.gz, .bcif[.gz] with A3M beside")
      ->required();
  command->add_option("--out", options->out, "Folder of the cache; a second build adds to it")
      ->required();
  command->add_option("--ccd", options->dictionary,
                      "Component dictionary (components.cif or .bcif, .gz); without it the data "
                      "folder's components.*");
  command->add_option("--threads", options->threads, "0: as many as this machine has")
      ->check(CLI::Range(0, 1024));
  command->add_flag("--strict", *strict, "End with 2 if any entry was dropped or failed");
  command->footer(
      "What lies in a data folder:\n"
      "  1abc.cif.gz            an entry called 1abc, at any depth\n"
      "  1abc_A.a3m.gz          the alignment of its chain A (.a3m, .sto; .gz, .zst)\n"
      "  1abc_A/*.sto           several, put together in the order of the databases\n"
      "  components.bcif.gz     a component dictionary\n"
      "\n"
      "Examples:\n"
      "  megafold cache build --data data --out runs/demo/cache\n"
      "  megafold cache build --data mine --ccd components.cif.gz --out cache --strict");
  command->callback([options, strict] { build(*options, *strict); });

  const auto inspected = std::make_shared<std::pair<fs::path, std::string>>();
  command = cache->add_subcommand("inspect", "List a cache's entries, or one entry's arrays");
  command->add_option("path", inspected->first, "A cache folder, or one record (.mfr)")->required();
  command->add_option("--entry", inspected->second, "This entry's arrays and facts");
  command->footer(
      "Examples:\n"
      "  megafold cache inspect cache\n"
      "  megafold cache inspect cache --entry 1ubq");
  command->callback([inspected] { inspect(inspected->first, inspected->second); });

  const auto verified = std::make_shared<fs::path>();
  command = cache->add_subcommand("verify", "Read every byte of every record against its checksum");
  command->add_option("path", *verified, "A cache folder")->required();
  command->footer("Example:\n  megafold cache verify cache");
  command->callback([verified] { verify(*verified); });
}

}  // namespace megafold::cli
