// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Which entries of a cache a run may see (SI 2.5.4), decided at read from what the cache holds: a
// cut-off can be changed without a rebuild, and nothing past it can reach a batch. And what the
// entries lack, to be said before the first step.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cache/reader.h"

namespace megafold {

struct EntryFilter {
  std::string released_by;    // YYYY-MM-DD, the last day that counts; empty: no cut-off
  double max_resolution = 0;  // Angstrom; 0: any. An entry without one must be by NMR
  int64_t max_tokens = 0;     // of the whole assembly; 0: any number

  [[nodiscard]] bool empty() const {
    return released_by.empty() && max_resolution == 0 && max_tokens == 0;
  }
};

struct FilterReport {
  std::vector<std::string> kept;                // as given
  std::map<std::string, std::string> left_out;  // id -> the rule and its numbers
};

/// Throws BadInput for a cut-off that is no date, and where there is one and an entry has no
/// release date: it might be a leak, so it must be left out by name.
FilterReport filter_entries(const CacheReader& cache, const std::vector<std::string>& entries,
                            const EntryFilter& filter);

/// Chains by type (ChainType), and how many of them have an alignment of more than the query.
struct Coverage {
  int64_t entries = 0, without_date = 0, without_resolution = 0;
  std::array<int64_t, 4> chains{}, aligned{};
  std::string first_date, last_date;  // of release; empty: none known
};
Coverage coverage_of(const CacheReader& cache, const std::vector<std::string>& entries);
/// One line per type of chain, and the dates.
std::string to_text(const Coverage& coverage);

}  // namespace megafold
