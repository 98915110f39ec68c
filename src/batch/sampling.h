// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Which entry a visit shows (SI 2.5.1). An element of the table is an entry, or a chain or an
// interface of one, which the crop then prefers. Visits are drawn independently and with
// replacement, each a pure function of (seed, visit): any visit can be asked for, in any order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "batch/crop.h"
#include "batch/sampling_table.h"

namespace megafold {

struct SamplingElement {
  std::string entry;
  PreferredChains preferred;
  double weight = 1;
};

/// Every entry once, with the same weight.
std::vector<SamplingElement> uniform_elements(const std::vector<std::string>& entries);

/// Sequences' names (`ENTRY_CHAIN`) -> their cluster's representative.
using Clusters = std::map<std::string, std::string>;

/// A file of MMseqs2: representative, tab, member. Throws BadInput with the line where it is not.
Clusters read_clusters(const std::filesystem::path& path);

/// Every chain and interface of the entries with the weight of SI 2.5.1,
///   (beta / N_clust) (3 n_protein + 3 n_nucleic + n_ligand), beta = 0.5 chain, 1 interface,
/// where N_clust counts elements of the same cluster (an interface's is the pair of its chains').
/// A protein that `homology` names (SI 2.5.3: 40 % identity) is of that cluster; others are with
/// those of their own sequence or component. The table has all of the entries.
std::vector<SamplingElement> weighted_elements(const SamplingTable& table,
                                               const std::vector<std::string>& entries,
                                               const Clusters& homology = {});

class Sampler {
 public:
  /// Throws BadInput for an empty table or a weight that is negative or not finite.
  Sampler(std::vector<SamplingElement> elements, uint64_t seed);
  [[nodiscard]] const SamplingElement& at(uint64_t visit) const;
  [[nodiscard]] const std::vector<SamplingElement>& elements() const { return elements_; }

 private:
  std::vector<SamplingElement> elements_;
  std::vector<double> cumulative_;
  uint64_t seed_;
};

}  // namespace megafold
