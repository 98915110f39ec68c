// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// megafold data profile | stream
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/publish.h"
#include "batch/sample.h"
#include "cache/file.h"
#include "cache/reader.h"
#include "cache/stats.h"
#include "checkpoint/safetensors.h"
#include "cli/commands.h"
#include "train/config.h"
#include "train/samples.h"

namespace megafold::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct ProfileOptions {
  fs::path cache, out;
  std::vector<std::string> entries;
  int64_t visits = 200, crop = 384, max_rows = 16384;
  bool all_rows = false;
  uint64_t seed = 1;
};

constexpr std::array<const char*, 4> kStages = {"structure", "crop", "gather", "alignment"};

struct Visit {
  std::array<double, kStages.size()> wall{};  // seconds by stage
  double user = 0;                            // seconds of user CPU in all
  uint64_t bytes = 0;                         // read from the cache
  int64_t tokens = 0, rows = 0;
  [[nodiscard]] double seconds() const {
    double sum = 0;
    for (const double stage : wall) sum += stage;
    return sum;
  }
};

double wall_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double user_now() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec);
}

/// make_batch(), stage by stage.
Visit profile_visit(const CacheReader& cache, const std::string& entry, const BatchOptions& options,
                    uint64_t seed, uint64_t visit) {
  Visit out;
  const uint64_t stream = stream_id(entry);
  Random for_crop(seed, stream, visit, Purpose::crop);
  Random for_reference(seed, stream, visit, Purpose::reference);
  Random for_msa(seed, stream, visit, Purpose::msa);
  const uint64_t bytes = ReadFile::bytes_read();
  const double user = user_now();
  double last = wall_now();
  size_t stage = 0;
  const auto lap = [&] {
    const double now = wall_now();
    out.wall[stage++] = now - last;
    last = now;
  };
  const StructureView structure(cache.structure(entry));
  lap();
  const Crop crop = draw_crop(structure, options.crop, {}, for_crop);
  lap();
  Batch batch = gather(structure, crop.tokens, for_reference);
  lap();
  assemble_msa(
      structure, crop.tokens, [&](const std::string& key) { return cache.alignment(key); },
      options.msa, for_msa, batch);
  lap();
  out.user = user_now() - user;
  out.bytes = ReadFile::bytes_read() - bytes;
  out.tokens = batch.num_tokens();
  out.rows = batch.msa.size(0);
  return out;
}

/// Value below which a share of the values lies; sorts them.
double quantile(std::vector<double>& values, double share) {
  std::sort(values.begin(), values.end());
  return quantile_of_sorted(values, share);
}

json summary(const std::vector<Visit>& visits) {
  std::vector<double> wall, user, bytes;
  int64_t tokens = 0, rows = 0;
  json stages = json::object();
  for (const Visit& visit : visits) {
    wall.push_back(1e3 * visit.seconds());
    user.push_back(1e3 * visit.user);
    bytes.push_back(static_cast<double>(visit.bytes));
    tokens = std::max(tokens, visit.tokens);
    rows = std::max(rows, visit.rows);
  }
  for (size_t i = 0; i < kStages.size(); ++i) {
    std::vector<double> one;
    for (const Visit& visit : visits) one.push_back(1e3 * visit.wall[i]);
    stages[kStages[i]] = quantile(one, 0.5);
  }
  double user_sum = 0;
  for (const double u : user) user_sum += u;
  return {{"visits", visits.size()},
          {"wall_ms", {{"p50", quantile(wall, 0.5)}, {"p99", quantile(wall, 0.99)}}},
          // A visit may be shorter than the clock of CPU time ticks, so the mean.
          {"user_cpu_ms_mean", user_sum / static_cast<double>(user.size())},
          {"stage_wall_ms_p50", stages},
          {"bytes_read_p50", quantile(bytes, 0.5)},
          {"tokens_max", tokens},
          {"rows_max", rows}};
}

void profile(const ProfileOptions& options) {
  const auto cache = CacheReader::open(options.cache);
  const std::vector<std::string> entries =
      options.entries.empty() ? cache->entries() : options.entries;
  BatchOptions samples;
  samples.crop.tokens = options.crop;
  samples.msa.max_rows = options.max_rows;
  samples.msa.draw_rows = !options.all_rows;
  std::map<std::string, std::vector<Visit>> by_entry;
  const auto count = static_cast<uint64_t>(options.visits);
  for (uint64_t visit = 0; visit < count; ++visit)
    for (const std::string& entry : entries) {
      const Visit one = profile_visit(*cache, entry, samples, options.seed, visit);
      if (visit >= count / 10) by_entry[entry].push_back(one);  // the first warm caches and pools
    }
  json report{{"crop", options.crop},
              {"max_rows", options.max_rows},
              {"rows", options.all_rows ? "the first" : "drawn"},
              {"threads", 1},
              {"entries", json::object()}};
  std::vector<std::pair<double, std::string>> slowest;
  double seconds = 0, total = 0;
  for (const auto& [entry, visits] : by_entry) {
    report["entries"][entry] = summary(visits);
    slowest.emplace_back(report["entries"][entry]["wall_ms"]["p99"].get<double>(), entry);
    for (const Visit& visit : visits) seconds += visit.seconds();
    total += static_cast<double>(visits.size());
  }
  std::sort(slowest.rbegin(), slowest.rend());
  report["samples_per_second"] = total / seconds;
  fmt::print("{:<16} {:>7} {:>6} {:>9} {:>9} {:>9} | {:>9} {:>7} {:>7} {:>9} {:>10}\n", "entry",
             "tokens", "rows", "p50 ms", "p99 ms", "user ms", "structure", "crop", "gather",
             "alignment", "bytes read");
  for (size_t i = 0; i < std::min<size_t>(10, slowest.size()); ++i) {
    const json& one = report["entries"][slowest[i].second];
    const json& stage = one["stage_wall_ms_p50"];
    fmt::print(
        "{:<16} {:>7} {:>6} {:>9.2f} {:>9.2f} {:>9.2f} | {:>9.2f} {:>7.2f} {:>7.2f} {:>9.2f} "
        "{:>10.0f}\n",
        slowest[i].second, one["tokens_max"].get<int64_t>(), one["rows_max"].get<int64_t>(),
        one["wall_ms"]["p50"].get<double>(), one["wall_ms"]["p99"].get<double>(),
        one["user_cpu_ms_mean"].get<double>(), stage["structure"].get<double>(),
        stage["crop"].get<double>(), stage["gather"].get<double>(),
        stage["alignment"].get<double>(), one["bytes_read_p50"].get<double>());
  }
  fmt::print("{:.1f} samples per second and core over {} entries (the slowest ten are shown)\n",
             total / seconds, by_entry.size());
  if (!options.out.empty()) publish(options.out, report.dump(1) + "\n");
}

struct StreamOptions {
  fs::path config;
  std::vector<std::string> set;
  uint64_t first = 0, count = 0;
};

void write_all(std::span<const std::byte> bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size())
    fail<Device>("standard output: cannot write: {}", std::strerror(errno));
}

/// Each batch as its length (u64, little end first) and a safetensors file of that length.
void stream(const StreamOptions& options) {
  if (::isatty(STDOUT_FILENO) != 0)
    fail<BadInput>("data stream writes batches as bytes, which no terminal shows; give it a pipe");
  TrainConfig config = read_config(options.config, options.set);
  config.run.clear();  // no run: its quarantine is read where data.quarantine names it
  const auto cache = CacheReader::open(config.data.cache);
  const FilterReport admitted = admit_entries(config, *cache);
  Loader loader(cache, make_sampler(config, *cache, admitted.kept), config.batch,
                loader_options(config, options.first), static_cast<uint64_t>(config.seed));
  size_t told = 0;
  for (uint64_t i = 0; options.count == 0 || i < options.count; ++i) {
    Batch batch = loader.next();
    for (; told < loader.skipped().size(); ++told) {
      const SkippedVisit& skip = loader.skipped()[told];
      fmt::print(stderr, "visit {} ({}) was left out: {}\n", skip.visit, skip.entry, skip.reason);
    }
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    const auto add = [&](const char* name, const at::Tensor& tensor) {
      tensors.emplace_back(name, tensor.contiguous());
    };
    batch.for_each(add);
    batch.for_each_template(add);
    const std::string header =
        safetensors_header("standard output", tensors,
                           {{"id", batch.id},
                            {"visit", std::to_string(batch.visit)},
                            {"resolution", fmt::format("{}", batch.resolution)},
                            {"paired_rows", std::to_string(batch.paired_rows)},
                            {"checksum", fmt::format("{:016x}", batch_checksum(batch))}});
    uint64_t length = header.size();
    for (const auto& [name, tensor] : tensors) length += tensor.nbytes();
    write_all(std::as_bytes(std::span(&length, 1)));
    write_all(std::as_bytes(std::span(header)));
    for (const auto& [name, tensor] : tensors)
      write_all({static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
    if (std::fflush(stdout) != 0)
      fail<Device>("standard output: cannot write: {}", std::strerror(errno));
  }
}

}  // namespace

void add_data_command(CLI::App& app) {
  CLI::App* data = app.add_subcommand(
      "data", "Samples from a cache: where their time goes, and a pipe for other programs");
  data->require_subcommand(1);
  data->footer("Example:\n  megafold data profile runs/demo/cache");
  const auto options = std::make_shared<ProfileOptions>();
  CLI::App* command = data->add_subcommand(
      "profile", "Time, CPU and bytes of a sample by stage, on one thread; the slowest entries");
  command->add_option("cache", options->cache, "A cache folder")->required();
  command->add_option("--entry", options->entries, "These entries; without it all");
  command
      ->add_option("--visits", options->visits, "Visits to each entry, each with a crop of its own")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}));
  command->add_option("--crop", options->crop, "Tokens")->check(CLI::Range(4, 100'000));
  command->add_option("--max-rows", options->max_rows, "Rows of the alignment")
      ->check(CLI::Range(1, 65'536));
  command->add_flag("--all-rows", options->all_rows, "The first rows instead of a draw");
  command->add_option("--seed", options->seed, "Of all draws");
  command->add_option("--out", options->out, "Write the numbers of every entry here (JSON)");
  command->footer(
      "Examples:\n"
      "  megafold data profile cache\n"
      "  megafold data profile cache --entry 1ubq --all-rows --visits 50 --out profile.json");
  command->callback([options] { profile(*options); });

  const auto streamed = std::make_shared<StreamOptions>();
  command = data->add_subcommand(
      "stream", "Write a config's batches to a pipe: what megafold.data.Dataset reads");
  command->add_option("config", streamed->config, "YAML file, as train takes it")->required();
  command->add_option("--set", streamed->set, "Give a key another value; may be repeated")
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--first", streamed->first, "Visit to begin with");
  command->add_option("--count", streamed->count, "Batches; 0: until the reader closes the pipe");
  command->footer(
      "Each batch is its length (u64, little end first) and a safetensors file of that length; "
      "the\n"
      "metadata has entry, visit, resolution, paired rows and the checksum that metrics.jsonl has "
      "of\nit.\n"
      "\n"
      "Example:\n"
      "  megafold data stream configs/demo_crops.yaml --set data.cache=cache --count 8 > batches");
  command->callback([streamed] { stream(*streamed); });
}

}  // namespace megafold::cli
