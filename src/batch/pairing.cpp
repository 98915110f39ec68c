// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/pairing.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace megafold {
namespace {

/// Per sequence, the rows of one species.
using RowsOfSpecies = std::vector<std::vector<int32_t>>;

struct PairedRow {
  size_t sequences = 0;  // that have the species
  double product = 1;
  std::vector<int32_t> hits, rows;  // per sequence; -1: none
};

}  // namespace

std::vector<std::vector<int32_t>> pair_by_species(std::span<const SpeciesRows> sequences,
                                                  int64_t max_rows) {
  std::unordered_map<uint64_t, RowsOfSpecies> by_species;
  for (size_t i = 0; i < sequences.size(); ++i)
    for (size_t row = 0; row < sequences[i].species.size(); ++row) {
      RowsOfSpecies& rows = by_species[sequences[i].species[row]];
      rows.resize(sequences.size());
      rows[i].push_back(static_cast<int32_t>(row));
    }
  std::vector<PairedRow> found;
  for (const auto& [species, rows] : by_species) {
    size_t count = 0, fewest = 0;
    for (const auto& of_sequence : rows) {
      if (of_sequence.empty()) continue;
      fewest = count++ == 0 ? of_sequence.size() : std::min(fewest, of_sequence.size());
    }
    for (size_t k = 0; count > 1 && k < fewest; ++k) {
      PairedRow paired{count, 1, {}, {}};
      for (size_t i = 0; i < rows.size(); ++i) {
        const int32_t row = rows[i].empty() ? -1 : rows[i][k];
        const int32_t hit = row < 0 ? -1 : sequences[i].hit[static_cast<size_t>(row)];
        if (row >= 0) paired.product *= hit;
        paired.hits.push_back(hit);
        paired.rows.push_back(row);
      }
      found.push_back(std::move(paired));
    }
  }
  std::sort(found.begin(), found.end(), [](const PairedRow& a, const PairedRow& b) {
    if (a.sequences != b.sequences) return a.sequences > b.sequences;
    if (a.product != b.product) return a.product < b.product;
    return a.hits < b.hits;
  });
  std::vector<std::vector<int32_t>> out;
  for (PairedRow& paired : found) {
    if (std::ssize(out) >= max_rows) break;
    out.push_back(std::move(paired.rows));
  }
  return out;
}

}  // namespace megafold
