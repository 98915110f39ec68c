// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// megafold cache build | inspect | verify | diff | gc; stats and export are in cache_look.cpp
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/errors.h"
#include "base/publish.h"
#include "cache/build.h"
#include "cache/index.h"
#include "cache/maintain.h"
#include "cache/reader.h"
#include "cache/record.h"
#include "cache/shard.h"
#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "cli/size_text.h"
#include "report/cache_page.h"

namespace megafold::cli {
namespace {

namespace fs = std::filesystem;

/// One line an entry; on a terminal only what was not kept stays, below it a bar.
class BuildProgress {
 public:
  void operator()(size_t done, size_t total, const EntryReport& entry) {
    const std::string text =
        fmt::format("{} {}{}", entry.id, name_of(entry.verdict),
                    entry.verdict == Verdict::kept
                        ? fmt::format(": {} tokens, {} atoms, {} chains{}", entry.tokens,
                                      entry.atoms, entry.chains, entry.reused ? ", was there" : "")
                        : ": " + entry.reason);
    show(done, total, text, entry.verdict == Verdict::kept, !entry.reused);
  }

  void operator()(size_t done, size_t total, const std::string& name, const std::string& reason) {
    show(done, total,
         fmt::format("alignment {}{}", name, reason.empty() ? "" : " failed: " + reason),
         reason.empty(), true);
  }

 private:
  void show(size_t done, size_t total, const std::string& text, bool passing, bool worked) {
    if (!passing || !bar_->is_terminal()) bar_->say(fmt::format("[{}/{}] {}", done, total, text));
    bar_->show(done, total, text, worked);
  }
  std::shared_ptr<ProgressBar> bar_ = std::make_shared<ProgressBar>();  // one for both
};

void build(const BuildOptions& given, const std::string& part, bool strict) {
  BuildOptions options = given;
  if (!part.empty() && std::sscanf(part.c_str(), "%d/%d", &options.part, &options.parts) != 2)
    fail<BadInput>("--shard {}: expected i/n, such as 1/4", part);
  const fs::path page =
      options.out / (options.parts == 1
                         ? std::string("report.html")
                         : fmt::format("report-{}-of-{}.html", options.part, options.parts));
  options.finished = [&](const BuildReport& report) {
    publish(page, cache_page_html({report, options.data.string(), options.out.string()}));
  };
  BuildReport report;
  {
    const BuildProgress progress;
    options.progress = progress;
    options.alignment_progress = progress;
    report = build_cache(options);
    options.progress = nullptr;
    options.alignment_progress = nullptr;
  }
  for (const std::string& damage : report.damaged) fmt::print(stderr, "not used: {}\n", damage);
  for (const std::string& reason : report.damaged_templates)
    fmt::print(stderr, "no template: {}\n", reason);
  for (const std::string& file : report.unused_alignments)
    fmt::print(stderr, "unused: {} belongs to no chain of any entry\n", file);
  const size_t dropped = report.count(Verdict::dropped), failed = report.count(Verdict::failed);
  if (options.parts > 1) {
    fmt::print(
        "{}: part {} of {}: {} kept, {} dropped, {} failed, in {:.1f} s; when all parts are done, "
        "build once more without --shard: it finds them and writes the index\n",
        options.out.string(), options.part, options.parts, report.count(Verdict::kept), dropped,
        failed, report.seconds);
    if (strict && (dropped > 0 || failed > 0)) throw ExitWith{2};
    return;
  }
  fmt::print("{}: {} kept, {} dropped, {} failed, in {:.1f} s; every verdict is in {} and {}\n",
             options.out.string(), report.count(Verdict::kept), dropped, failed, report.seconds,
             (options.out / kReportFile).string(), page.string());
  if (report.count(Verdict::kept) == 0)
    fail<BadInput>("{}: no entry could be kept, so there is nothing to train on",
                   options.data.string());
  if (strict && (dropped > 0 || failed > 0)) throw ExitWith{2};
}

void inspect_record(const RecordPlace& place) {
  const RecordIndex index = read_record_index(place, place.file->name());
  fmt::print("{}, {} bytes from {} on: a record of kind {}\nkey {}\n\n", place.file->name(),
             place.size, place.offset, name_of(index.kind), index.key);
  fmt::print("{:<28} {:<4} {:<18} {:>10} {:>10} {:>6}\n", "array", "type", "shape", "bytes",
             "stored", "blocks");
  for (const ArrayEntry& array : index.arrays)
    fmt::print("{:<28} {:<4} {:<18} {:>10} {:>10} {:>6}\n", array.name, name_of(array.type),
               fmt::format("{}", fmt::join(array.shape, " x ")), size_text(array.raw_bytes()),
               size_text(array.packed_bytes()), array.blocks.size());
}

void inspect_shard(const fs::path& path) {
  const ShardInfo shard = read_shard(*ReadFile::open(path));
  fmt::print("{}: a shard of {} records, {}\n\n{:<64} {:<10} {:>12} {:>12}\n", path.string(),
             shard.rows.size(), size_text(shard.size), "key", "kind", "offset", "bytes");
  for (const ShardRow& row : shard.rows)
    fmt::print("{:<64} {:<10} {:>12} {:>12}\n", row.key, name_of(row.kind), row.offset, row.size);
}

void inspect_meta(const Record& record) {
  fmt::print("{}\n", nlohmann::json::parse(record.meta()).dump(2));
}

void inspect(const fs::path& path, const std::string& entry) {
  if (fs::is_regular_file(path)) {
    inspect_shard(path);
    return;
  }
  const auto cache = CacheReader::open(path);
  if (!entry.empty()) {
    const auto record = cache->structure(entry);
    const auto found = IndexFile(path).find_record(record->key());
    inspect_record(
        {ReadFile::open(shard_path(path, found->shard)), found->row.offset, found->row.size});
    fmt::print("\n");
    inspect_meta(*record);
    return;
  }
  const CacheIndex index = read_index(path);
  fmt::print("{}: {} entries, {} records, content key {}\n", path.string(),
             index.count(Verdict::kept), index.records.size(), index.content_key);
  for (const IndexEntry& one : index.entries)
    if (one.verdict != Verdict::kept)
      fmt::print("{} {}: {}\n", one.id, name_of(one.verdict), one.reason);
  fmt::print("\n");
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

void verify(const fs::path& path) {
  VerifyReport report;
  {
    ProgressBar bar;
    report = verify_cache(path, [&](uint64_t done, uint64_t total) {
      bar.show(done, total, fmt::format("{} of {}", size_text(done), size_text(total)));
    });
  }
  for (const std::string& damage : report.damages) fmt::print(stderr, "{}\n", damage);
  fmt::print("{}: {} shards, {} records whole, {} damages\n", path.string(), report.shards,
             report.records, report.damages.size());
  if (!report.damages.empty())
    fail<Corrupt>("{}: run `megafold cache build` again, which makes anew what is damaged",
                  path.string());
}

void diff(const fs::path& first, const fs::path& second, bool strict) {
  const CacheIndex a = read_index(first), b = read_index(second);
  const auto differences = diff_caches(a, b);
  for (const Difference& difference : differences)
    fmt::print("{}: {}\n", difference.id, difference.what);
  fmt::print("{} entries and {}; {} differences; content keys {}\n", a.entries.size(),
             b.entries.size(), differences.size(),
             a.content_key == b.content_key ? "equal" : "differ");
  if (strict && !differences.empty()) throw ExitWith{2};
}

void gc(const fs::path& path, bool dry_run) {
  const GcReport report = collect_garbage(path, dry_run);
  fmt::print("{}: {} shards {}removed, {} {}written anew without what nothing needs, {} {}\n",
             path.string(), report.removed, dry_run ? "would be " : "", report.rewritten,
             dry_run ? "would be " : "", size_text(report.freed), dry_run ? "to free" : "freed");
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
      "  megafold cache verify cache\n"
      "  megafold cache diff cache other\n"
      "  megafold cache gc cache");

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
  command->add_option("--templates", options->templates,
                      "Folder of the entries that template hits (.m8, .hhr, hmm_output.sto beside "
                      "the alignments) name; without it the data folder's templates/");
  command->add_option("--threads", options->threads, "0: as many as this machine has")
      ->check(CLI::Range(0, 1024));
  const auto part = std::make_shared<std::string>();
  command->add_option("--shard", *part,
                      "i/n: every n-th entry from the i-th on, beside builders of the other parts "
                      "(a Slurm array); then build once more without it");
  command->add_flag("--strict", *strict, "End with 2 if any entry was dropped or failed");
  command->footer(
      "What lies in a data folder:\n"
      "  1abc.cif.gz            an entry called 1abc, at any depth\n"
      "  1abc_A.a3m.gz          the alignment of its chain A (.a3m, .a2m, .sto; .gz, .zst)\n"
      "  1abc_A/*.sto           several, put together in the order of the databases\n"
      "  1abc_A/uniprot*.sto, pairing*.a3m   hits with a species, to be paired across chains\n"
      "  components.bcif.gz     a component dictionary\n"
      "  mine.components.cif    components of your own, laid over it\n"
      "  templates/             the entries that template hits name\n"
      "\n"
      "Examples:\n"
      "  megafold cache build --data data --out runs/demo/cache\n"
      "  megafold cache build --data mine --ccd components.cif.gz --out cache --strict");
  command->callback([options, part, strict] { build(*options, *part, *strict); });

  const auto inspected = std::make_shared<std::pair<fs::path, std::string>>();
  command = cache->add_subcommand("inspect", "List a cache's entries, or one entry's arrays");
  command->add_option("path", inspected->first, "A cache folder, or one shard (.mfs)")->required();
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

  add_cache_look_commands(*cache);

  const auto compared = std::make_shared<std::pair<fs::path, fs::path>>();
  const auto strict_diff = std::make_shared<bool>(false);
  command = cache->add_subcommand("diff", "What differs between two caches, by entry");
  command->add_option("first", compared->first, "A cache folder")->required();
  command->add_option("second", compared->second, "Another")->required();
  command->add_flag("--strict", *strict_diff, "End with 2 if anything differs");
  command->footer("Example:\n  megafold cache diff cache-2025 cache-2026");
  command->callback(
      [compared, strict_diff] { diff(compared->first, compared->second, *strict_diff); });

  const auto cleaned = std::make_shared<std::pair<fs::path, bool>>();
  command = cache->add_subcommand("gc", "Remove what earlier inputs left and nothing needs now");
  command->add_option("path", cleaned->first, "A cache folder")->required();
  command->add_flag("--dry-run", cleaned->second, "Say what would go, remove nothing");
  command->footer(
      "Programs that have the cache open must open it again afterwards.\n"
      "\n"
      "Example:\n  megafold cache gc cache --dry-run");
  command->callback([cleaned] { gc(cleaned->first, cleaned->second); });
}

}  // namespace megafold::cli
