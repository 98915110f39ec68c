// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/sampling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "base/errors.h"

namespace megafold {
namespace {

/// What chains have in common that are of one cluster: a polymer's sequence, a ligand's components.
std::string cluster_of(const Record& record, const StructureView& structure, int32_t chain) {
  const auto c = static_cast<size_t>(chain);
  std::string name(1, static_cast<char>('0' + structure.chain_type[c]));
  if (structure.type_of(chain) != ChainType::ligand) {
    const auto meta = nlohmann::json::parse(record.meta());
    return name + meta.at("chains").at(c).value("sequence", "");
  }
  const auto* const component = record.array("token_component").as<char>();
  const auto first = static_cast<size_t>(structure.chain_start[c]);
  for (size_t t = first; t < first + static_cast<size_t>(structure.chain_count[c]); ++t) {
    const bool new_residue =
        t == first || structure.residue_index[t] != structure.residue_index[t - 1];
    if (new_residue) name.append(component + 8 * t, 8);
  }
  return name;
}

double alpha(ChainType type) {
  return type == ChainType::ligand ? 1 : 3;
}

}  // namespace

std::vector<SamplingElement> uniform_elements(const std::vector<std::string>& entries) {
  std::vector<SamplingElement> elements;
  for (const std::string& entry : entries) elements.push_back({entry, {}, 1});
  return elements;
}

std::vector<SamplingElement> weighted_elements(const CacheReader& cache,
                                               const std::vector<std::string>& entries) {
  std::vector<SamplingElement> elements;
  std::vector<std::string> clusters;
  for (const std::string& entry : entries) {
    const auto record = cache.structure(entry);
    const StructureView structure(record);
    std::vector<std::string> chain_cluster;
    for (int32_t c = 0; c < structure.num_chains(); ++c) {
      chain_cluster.push_back(cluster_of(*record, structure, c));
      elements.push_back({entry, {.a = c, .b = -1}, 0.5 * alpha(structure.type_of(c))});
      clusters.push_back("chain " + chain_cluster.back());
    }
    for (const auto& [a, b] : find_interfaces(structure)) {
      elements.push_back(
          {entry, {.a = a, .b = b}, alpha(structure.type_of(a)) + alpha(structure.type_of(b))});
      auto [low, high] =
          std::minmax(chain_cluster[static_cast<size_t>(a)], chain_cluster[static_cast<size_t>(b)]);
      clusters.push_back("pair " + low + " " + high);
    }
  }
  std::map<std::string_view, double> count;
  for (const std::string& cluster : clusters) count[cluster] += 1;
  for (size_t i = 0; i < elements.size(); ++i) elements[i].weight /= count[clusters[i]];
  return elements;
}

std::vector<std::pair<int32_t, int32_t>> find_interfaces(const StructureView& structure,
                                                         double distance) {
  struct Atom {
    std::array<int32_t, 3> cell;
    int32_t chain;
    const float* position;
  };
  // Atoms sorted by cells as wide as the distance: a partner is in one of 27 cells.
  std::vector<Atom> atoms;
  for (size_t t = 0; t < structure.chain.size(); ++t) {
    const auto first = static_cast<size_t>(structure.atom_start[t]);
    for (size_t a = first; a < first + static_cast<size_t>(structure.atom_count[t]); ++a) {
      if (structure.resolved[a] == 0) continue;
      const float* const p = &structure.position[3 * a];
      std::array<int32_t, 3> cell{};
      for (size_t k = 0; k < 3; ++k)
        cell[k] = static_cast<int32_t>(std::floor(double{p[k]} / distance));
      atoms.push_back({cell, structure.chain[t], p});
    }
  }
  std::ranges::sort(atoms, {}, &Atom::cell);
  std::set<std::pair<int32_t, int32_t>> found;
  for (const Atom& atom : atoms) {
    for (int32_t neighbour = 0; neighbour < 9; ++neighbour) {
      std::array<int32_t, 3> low = {atom.cell[0] + neighbour / 3 - 1,
                                    atom.cell[1] + neighbour % 3 - 1, atom.cell[2] - 1};
      auto other = std::ranges::lower_bound(atoms, low, {}, &Atom::cell);
      for (; other != atoms.end() && other->cell[0] == low[0] && other->cell[1] == low[1] &&
             other->cell[2] <= atom.cell[2] + 1;
           ++other) {
        if (other->chain <= atom.chain) continue;  // each pair once
        double squared = 0;
        for (int k = 0; k < 3; ++k)
          squared += std::pow(double{atom.position[k]} - double{other->position[k]}, 2);
        if (squared < distance * distance) found.emplace(atom.chain, other->chain);
      }
    }
  }
  return {found.begin(), found.end()};
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
