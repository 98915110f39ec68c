// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Pairing the alignments of different sequences by species (SI 2.3, AlphaFold-Multimer): rows of
// one species stand on one row of the sample. The rules are those of af3-facts 4.3:
//
//   - A sequence counts once, however many chains carry it (OpenFold 3; AlphaFold 3 counts chains,
//     and so pairs copies with themselves). Only species of at least two sequences are paired.
//   - A species gives as many rows as the sequence of the fewest has, the i-th beside the i-th.
//   - Species of all sequences come first, then those of one fewer, down to two; within these, rows
//     by the product of their places among the hits, so that near homologues come first
//     (AlphaFold 3). Equal products: by the places themselves, sequence by sequence.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace megafold {

/// The rows of one sequence that may be paired, in the order of the hits.
struct SpeciesRows {
  std::span<const uint64_t> species;  // eight characters, as one number
  std::span<const int32_t> hit;       // place among all hits, 1-based, ascending
};

/// [rows, sequences]: the row of each sequence, -1 where it has none of that species. At most
/// `max_rows`; none where fewer than two sequences have rows.
std::vector<std::vector<int32_t>> pair_by_species(std::span<const SpeciesRows> sequences,
                                                  int64_t max_rows);

}  // namespace megafold
