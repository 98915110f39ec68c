// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "train/samples.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <span>

#include "base/errors.h"
#include "base/hash.h"

namespace megafold {

FilterReport admit_entries(const TrainConfig& config, const CacheReader& cache) {
  std::vector<std::string> entries = config.data.entries;
  if (entries.empty()) entries = cache.entries();
  for (const std::string& entry : entries)  // a wrong name: the cache names the nearest
    if (!std::ranges::binary_search(cache.entries(), entry)) (void)cache.structure(entry);
  FilterReport report = filter_entries(cache, entries, config.data.filter);
  if (report.kept.empty() && !report.left_out.empty())
    fail<BadInput>("{}: the filters leave out every one of {} entries; {}: {}", config.data.cache,
                   entries.size(), report.left_out.begin()->first, report.left_out.begin()->second);
  return report;
}

namespace {

/// A file of clusters that names none of the cache's proteins is a wrong one.
void require_clusters_of(const SamplingTable& table, const Clusters& homology,
                         const std::string& path) {
  if (path.empty()) return;
  std::string example;
  for (const auto& [entry, facts] : table)
    for (const SamplingFacts::Chain& chain : facts.chains) {
      if (chain.type != ChainType::protein) continue;
      example = entry + "_" + chain.label;
      if (homology.contains(example)) return;
    }
  fail<BadInput>("{}: none of its {} sequences is a protein of the cache, whose names are like {}",
                 path, homology.size(), example);
}

}  // namespace

Sampler make_sampler(const TrainConfig& config, const CacheReader& cache,
                     const std::vector<std::string>& entries) {
  const auto seed = static_cast<uint64_t>(config.seed);
  if (config.data.sampling != "weighted") return {uniform_elements(entries), seed};
  Clusters homology;
  if (!config.data.clusters.empty()) homology = read_clusters(config.data.clusters);
  const SamplingTable table = sampling_table(cache, config.data.cache, entries);
  require_clusters_of(table, homology, config.data.clusters);
  return {weighted_elements(table, entries, homology), seed};
}

LoaderOptions loader_options(const TrainConfig& config, uint64_t first_visit) {
  std::filesystem::path quarantine = config.data.quarantine;
  if (quarantine.empty() && !config.run.empty())
    quarantine = std::filesystem::path(config.run) / kQuarantineFile;
  return {.threads = static_cast<int>(config.data.threads),
          .queue = config.data.queue,
          .pin_memory = config.device == "cuda",
          .skip_broken = config.data.on_error == "skip",
          .first_visit = first_visit,
          .deadline = config.data.deadline,
          .quarantine = quarantine};
}

uint64_t batch_checksum(Batch batch) {
  uint64_t sum = 0;
  const auto add = [&](const char* name, const at::Tensor& tensor) {
    const at::Tensor plain = tensor.contiguous();
    std::string all = fmt::format("{} {} {}", name, at::toString(plain.scalar_type()),
                                  fmt::join(plain.sizes(), ","));
    const uint64_t bytes = checksum64({static_cast<const std::byte*>(plain.const_data_ptr()),
                                       static_cast<size_t>(plain.nbytes())});
    all += fmt::format(" {:016x} {:016x}", bytes, sum);
    sum = checksum64(std::as_bytes(std::span(all.data(), all.size())));
  };
  batch.for_each(add);
  batch.for_each_template(add);
  return sum;
}

}  // namespace megafold
