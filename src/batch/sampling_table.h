// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What weighted sampling asks of every entry: its chains, their clusters, its interfaces. Reading
// all structures for it takes as long as the cache is large, so the answers are kept in the cache's
// folder, as `sampling.tsv`: a table that a person can open. It is made when a run first wants it
// and whenever the cache holds other entries; without it nothing is lost but time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "batch/structure_view.h"
#include "cache/reader.h"

namespace megafold {

inline constexpr std::string_view kSamplingTable = "sampling.tsv";

struct SamplingFacts {
  struct Chain {
    std::string label;
    ChainType type = ChainType::ligand;
    std::string cluster;  // of chains alike: a hash of the sequence, or of the ligand's components
  };
  std::vector<Chain> chains;                            // as the structure numbers them
  std::vector<std::pair<int32_t, int32_t>> interfaces;  // find_interfaces()
};

/// By entry.
using SamplingTable = std::map<std::string, SamplingFacts>;

SamplingFacts sampling_facts(const std::shared_ptr<const Record>& record);

/// Pairs a < b of chains with two resolved heavy atoms nearer than `distance` (5 A: the interfaces
/// of an entry), ascending.
std::vector<std::pair<int32_t, int32_t>> find_interfaces(const StructureView& structure,
                                                         double distance = 5.0);

/// Of all entries; one that cannot be read is left out unless it is among `needed`: then
/// that error is thrown. `folder` is the cache's; a table that cannot be written there is made
/// again by the next run.
SamplingTable sampling_table(const CacheReader& cache, const std::filesystem::path& folder,
                             const std::vector<std::string>& needed);

/// The table's text, and back: an empty table where it is damaged or of another cache.
std::string pack_sampling_table(const SamplingTable& table, std::string_view content_key);
SamplingTable unpack_sampling_table(std::string_view text, std::string_view content_key);

}  // namespace megafold
