// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/sampling.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "alignment/lines.h"
#include "base/decompress.h"
#include "base/errors.h"

namespace megafold {
namespace {

double alpha(ChainType type) {
  return type == ChainType::ligand ? 1 : 3;
}

}  // namespace

std::vector<SamplingElement> uniform_elements(const std::vector<std::string>& entries) {
  std::vector<SamplingElement> elements;
  for (const std::string& entry : entries) elements.push_back({entry, {}, 1});
  return elements;
}

std::vector<SamplingElement> weighted_elements(const SamplingTable& table,
                                               const std::vector<std::string>& entries,
                                               const Clusters& homology) {
  std::vector<SamplingElement> elements;
  std::vector<std::string> clusters;
  for (const std::string& entry : entries) {
    const SamplingFacts& facts = table.at(entry);
    std::vector<std::string> chain_cluster;
    for (const SamplingFacts::Chain& chain : facts.chains) {
      const auto found = homology.find(entry + "_" + chain.label);
      chain_cluster.push_back(chain.type != ChainType::protein || found == homology.end()
                                  ? chain.cluster
                                  : "homology " + found->second);
      elements.push_back({entry,
                          {.a = static_cast<int32_t>(chain_cluster.size()) - 1, .b = -1},
                          0.5 * alpha(chain.type)});
      clusters.push_back("chain " + chain_cluster.back());
    }
    for (const auto& [a, b] : facts.interfaces) {
      const auto i = static_cast<size_t>(a), j = static_cast<size_t>(b);
      elements.push_back(
          {entry, {.a = a, .b = b}, alpha(facts.chains[i].type) + alpha(facts.chains[j].type)});
      auto [low, high] = std::minmax(chain_cluster[i], chain_cluster[j]);
      clusters.push_back("pair " + low + " " + high);
    }
  }
  std::map<std::string_view, double> count;
  for (const std::string& cluster : clusters) count[cluster] += 1;
  for (size_t i = 0; i < elements.size(); ++i) elements[i].weight /= count[clusters[i]];
  return elements;
}

Clusters read_clusters(const std::filesystem::path& path) {
  const std::string text = read_decompressed(path);
  Clusters out;
  internal::Lines lines(text);
  std::string_view line;
  while (lines.next(line)) {
    if (line.empty()) continue;
    const auto names = internal::columns_of(line);
    if (names.size() != 2 || names[0].empty() || names[1].empty())
      fail<BadInput>(
          "{}:{}: expected two names with a tab between, a cluster's representative and a member, "
          "as `mmseqs easy-cluster` writes them into its _cluster.tsv",
          path.string(), lines.number());
    out[std::string(names[1])] = names[0];
  }
  return out;
}

Sampler::Sampler(std::vector<SamplingElement> elements, uint64_t seed)
    : elements_(std::move(elements)), seed_(seed) {
  if (elements_.empty()) fail<BadInput>("there is no entry to sample from");
  double sum = 0;
  for (const SamplingElement& element : elements_) {
    if (!std::isfinite(element.weight) || element.weight < 0)
      fail<BadInput>("entry {} has the sampling weight {}: a number >= 0 is needed", element.entry,
                     element.weight);
    cumulative_.push_back(sum += element.weight);
  }
  if (sum <= 0) fail<BadInput>("all {} sampling weights are 0", elements_.size());
}

const SamplingElement& Sampler::at(uint64_t visit) const {
  const double drawn = Random(seed_, 0, visit, Purpose::sample).uniform() * cumulative_.back();
  // The first element whose cumulative weight exceeds the draw: one of weight 0 never does first.
  const auto found = std::ranges::upper_bound(cumulative_, drawn);
  return elements_[static_cast<size_t>(
      std::min(found - cumulative_.begin(), std::ssize(cumulative_) - 1))];
}

}  // namespace megafold
