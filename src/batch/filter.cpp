// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/errors.h"
#include "structure/chain_type.h"

namespace megafold {
namespace {

using nlohmann::json;

/// YYYY-MM-DD, so that text order is the order of days.
bool is_date(const std::string& text) {
  if (text.size() != 10) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 4 || i == 7;
    if (dash ? text[i] != '-' : std::isdigit(static_cast<unsigned char>(text[i])) == 0)
      return false;
  }
  const int month = std::stoi(text.substr(5, 2)), day = std::stoi(text.substr(8, 2));
  return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

json meta_of(const Record& record) {
  try {
    return json::parse(record.meta());
  } catch (const json::exception& error) {
    fail<Corrupt>("record {}: its meta cannot be read ({}); build the cache again", record.key(),
                  error.what());
  }
}

std::optional<std::string> date_of(const json& meta) {
  const auto found = meta.find("release_date");
  if (found == meta.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

/// Empty: the entry stays.
std::string refusal(const Record& record, const std::string& id, const EntryFilter& filter) {
  const json meta = meta_of(record);
  if (!filter.released_by.empty()) {
    const auto date = date_of(meta);
    if (!date || !is_date(*date))
      fail<BadInput>(
          "entry {} has no release date, so the cut-off {} cannot be kept: leave the entry out of "
          "data.entries, or train without data.released_by",
          id, filter.released_by);
    if (*date > filter.released_by)
      return fmt::format("released {}, after {}", *date, filter.released_by);
  }
  if (filter.max_resolution > 0) {
    const auto found = meta.find("resolution");
    const bool reported = found != meta.end() && found->is_number();
    std::string method = meta.value("method", "");
    std::ranges::transform(method, method.begin(),
                           [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    if (!reported && method.find("NMR") == std::string::npos)
      return fmt::format("no resolution reported, and not by NMR ('{}')", method);
    if (reported && found->get<double>() > filter.max_resolution)
      return fmt::format("resolution {:.2f} A, above {:.2f}", found->get<double>(),
                         filter.max_resolution);
  }
  if (filter.max_tokens > 0) {
    const int64_t tokens = record.describe("token_restype").size();
    if (tokens > filter.max_tokens)
      return fmt::format("{} tokens, above {}", tokens, filter.max_tokens);
  }
  return "";
}

}  // namespace

FilterReport filter_entries(const CacheReader& cache, const std::vector<std::string>& entries,
                            const EntryFilter& filter) {
  if (!filter.released_by.empty() && !is_date(filter.released_by))
    fail<BadInput>("'{}' is no date: data.released_by takes YYYY-MM-DD", filter.released_by);
  FilterReport report;
  for (const std::string& id : entries) {
    const std::string reason =
        filter.empty() ? std::string() : refusal(*cache.structure(id), id, filter);
    if (reason.empty())
      report.kept.push_back(id);
    else
      report.left_out.emplace(id, reason);
  }
  return report;
}

Coverage coverage_of(const CacheReader& cache, const std::vector<std::string>& entries) {
  Coverage out;
  std::map<std::string, bool> aligned;  // by the alignment's key
  for (const std::string& id : entries) {
    ++out.entries;
    decltype(cache.structure(id)) record;
    try {
      record = cache.structure(id);
    } catch (const Corrupt&) {  // drawing it says what is damaged; data.on_error decides
      ++out.unreadable;
      continue;
    }
    const json meta = meta_of(*record);
    const ArrayView types = record->array("chain_type");
    if (const auto date = date_of(meta)) {
      if (out.first_date.empty() || *date < out.first_date) out.first_date = *date;
      if (*date > out.last_date) out.last_date = *date;
    } else {
      ++out.without_date;
    }
    const auto resolution = meta.find("resolution");
    if (resolution == meta.end() || !resolution->is_number()) ++out.without_resolution;
    const json& chains = meta.at("chains");
    for (size_t c = 0; c < chains.size() && static_cast<int64_t>(c) < types.size(); ++c) {
      const auto type = static_cast<size_t>(types.as<uint8_t>()[c]);
      if (type >= out.chains.size()) continue;
      ++out.chains[type];
      const auto key = chains[c].find("alignment");
      if (key == chains[c].end() || !key->is_string()) continue;
      const auto name = key->get<std::string>();
      const auto [found, is_new] = aligned.try_emplace(name, false);
      if (is_new) found->second = cache.alignment(name)->describe("msa").shape.at(0) > 1;
      if (found->second) ++out.aligned[type];
    }
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
  if (coverage.unreadable > 0)
    out += fmt::format("damaged: {} of {} entries; `megafold cache verify` names them\n",
                       coverage.unreadable, coverage.entries);
  if (coverage.without_date > 0)
    out += fmt::format("without a release date: {} of {} entries\n", coverage.without_date,
                       coverage.entries);
  if (coverage.without_resolution > 0)
    out += fmt::format("without a resolution: {} of {} entries\n", coverage.without_resolution,
                       coverage.entries);
  return out;
}

}  // namespace megafold
