// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/filter.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/date.h"
#include "base/errors.h"
#include "structure/chain_type.h"

namespace megafold {
namespace {

std::string date_text(int32_t date) {
  return fmt::format("{:04}-{:02}-{:02}", date / 10000, date / 100 % 100, date % 100);
}

/// Empty: the entry stays.
std::string refusal(const EntryFacts& facts, const std::string& id, const EntryFilter& filter) {
  if (!filter.released_by.empty()) {
    if (facts.release_date == 0)
      fail<BadInput>(
          "entry {} has no release date, so the cut-off {} cannot be kept: leave the entry out of "
          "data.entries, or train without data.released_by",
          id, filter.released_by);
    const std::string date = date_text(facts.release_date);
    if (date > filter.released_by)
      return fmt::format("released {}, after {}", date, filter.released_by);
  }
  if (filter.max_resolution > 0) {
    const auto resolution = static_cast<double>(facts.resolution);
    if (resolution == 0 && !facts.by_nmr) return "no resolution reported, and not by NMR";
    if (resolution > filter.max_resolution)
      return fmt::format("resolution {:.2f} A, above {:.2f}", resolution, filter.max_resolution);
  }
  if (filter.max_tokens > 0 && facts.tokens > filter.max_tokens)
    return fmt::format("{} tokens, above {}", facts.tokens, filter.max_tokens);
  return "";
}

const EntryFacts& facts_of_entry(const CacheReader& cache, const std::string& id) {
  const auto& all = cache.entries();
  const auto found = std::ranges::lower_bound(all, id);
  if (found == all.end() || *found != id)
    fail<BadInput>("the cache has no entry '{}' among its {}", id, all.size());
  return cache.facts()[static_cast<size_t>(found - all.begin())];
}

}  // namespace

FilterReport filter_entries(const CacheReader& cache, const std::vector<std::string>& entries,
                            const EntryFilter& filter) {
  if (!filter.released_by.empty() && date_number(filter.released_by) == 0)
    fail<BadInput>("'{}' is no date: data.released_by takes YYYY-MM-DD", filter.released_by);
  FilterReport report;
  for (const std::string& id : entries) {
    const std::string reason =
        filter.empty() ? std::string() : refusal(facts_of_entry(cache, id), id, filter);
    if (reason.empty())
      report.kept.push_back(id);
    else
      report.left_out.emplace(id, reason);
  }
  return report;
}

Coverage coverage_of(const CacheReader& cache, const std::vector<std::string>& entries) {
  Coverage out;
  int32_t first = 0, last = 0;
  for (const std::string& id : entries) {
    const EntryFacts& facts = facts_of_entry(cache, id);
    ++out.entries;
    if (facts.release_date == 0) {
      ++out.without_date;
    } else {
      first = first == 0 ? facts.release_date : std::min(first, facts.release_date);
      last = std::max(last, facts.release_date);
    }
    if (facts.resolution == 0) ++out.without_resolution;
    for (size_t type = 0; type < out.chains.size(); ++type) {
      out.chains[type] += facts.chains[type];
      out.aligned[type] += facts.aligned[type];
    }
  }
  if (first != 0) {
    out.first_date = date_text(first);
    out.last_date = date_text(last);
  }
  return out;
}

std::string to_text(const Coverage& coverage) {
  constexpr std::array<const char*, 4> kNames = {"protein", "RNA", "DNA", "ligand"};
  static_assert(static_cast<int>(ChainType::protein) == 0 &&
                static_cast<int>(ChainType::rna) == 1 && static_cast<int>(ChainType::dna) == 2 &&
                static_cast<int>(ChainType::ligand) == 3);
  std::string out;
  for (size_t type = 0; type < kNames.size(); ++type) {
    if (coverage.chains[type] == 0) continue;
    out += fmt::format("{}: {} chains", kNames[type], coverage.chains[type]);
    if (type < 2) out += fmt::format(", {} with an alignment", coverage.aligned[type]);
    out += '\n';
  }
  out += coverage.first_date.empty()
             ? std::string("released: no date known\n")
             : fmt::format("released: {} to {}\n", coverage.first_date, coverage.last_date);
  if (coverage.without_date > 0)
    out += fmt::format("without a release date: {} of {} entries\n", coverage.without_date,
                       coverage.entries);
  if (coverage.without_resolution > 0)
    out += fmt::format("without a resolution: {} of {} entries\n", coverage.without_resolution,
                       coverage.entries);
  return out;
}

}  // namespace megafold
