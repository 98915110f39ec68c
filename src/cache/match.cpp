// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/match.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/decompress.h"
#include "base/errors.h"

namespace megafold {

Alphabet alphabet_of(ChainType type) {
  if (type == ChainType::rna) return Alphabet::rna;
  return type == ChainType::dna ? Alphabet::dna : Alphabet::protein;
}

namespace {

bool fits(const std::string& query, const ChainSequence& chain) {
  return is_query_of(query, chain.sequence, alphabet_of(chain.type));
}

}  // namespace

AlignmentMatcher::AlignmentMatcher(const DataFolder& folder) {
  for (const EntryFile& entry : folder.entries) ids_.push_back(entry.id);
  for (const auto& [name, files] : folder.alignments) {
    auto candidate = std::make_unique<Candidate>();
    candidate->files = &files;
    by_name_.emplace(name, std::move(candidate));
  }
}

/// Most files show their query in their first bytes, and unpacking the rest takes a third of the
/// time that an alignment takes in all.
std::string AlignmentMatcher::read_query_of(const AlignmentFiles& files) {
  constexpr uint64_t kStart = uint64_t{1} << 14;
  const std::filesystem::path& path = files.first();
  const AlignmentText start{path.string(), read_decompressed(path, kStart)};
  if (start.text.size() < kStart) return read_query(start);
  if (std::optional<std::string> query = read_query_of_start(start)) return *std::move(query);
  return read_query({path.string(), read_decompressed(path)});
}

const std::string& AlignmentMatcher::query_of(Candidate& candidate) {
  const std::scoped_lock lock(mutex_);
  if (candidate.query.empty()) candidate.query = read_query_of(*candidate.files);
  return candidate.query;
}

/// The alignments that no entry's name claims, by the length of their queries.
void AlignmentMatcher::read_pool() {
  const std::scoped_lock lock(mutex_);
  if (pool_ready_) return;
  pool_ready_ = true;
  for (auto& [name, candidate] : by_name_) {
    // "2q2k_A" is claimed by an entry 2q2k, whatever stands before the last underscore.
    const std::string id = name.substr(0, name.rfind('_'));
    if (id.size() < name.size() && std::binary_search(ids_.begin(), ids_.end(), id)) continue;
    try {
      candidate->query = read_query_of(*candidate->files);
    } catch (const BadInput&) {
      candidate->unreadable = true;  // stays unused, and is listed as such
      continue;
    }
    pool_[candidate->query.size()].push_back(candidate.get());
  }
}

std::map<std::string, const AlignmentFiles*> AlignmentMatcher::match(
    const std::string& id, const std::vector<ChainSequence>& chains) {
  std::map<std::string, const AlignmentFiles*> out;
  const auto assign = [&](const ChainSequence& chain, Candidate& candidate) {
    candidate.used = true;
    out.emplace(chain.label, candidate.files);
  };
  // By name. A name means the chains of that label or of that author's id; it must fit one of them.
  const std::string prefix = id + "_";
  for (auto it = by_name_.lower_bound(prefix);
       it != by_name_.end() && it->first.starts_with(prefix); ++it) {
    const std::string chain_name = it->first.substr(prefix.size());
    std::vector<const ChainSequence*> meant;
    for (const ChainSequence& chain : chains)
      if (chain.type != ChainType::ligand &&
          (chain.origin == chain_name || chain.auth == chain_name))
        meant.push_back(&chain);
    if (meant.empty()) continue;
    const std::string& query = query_of(*it->second);
    const bool any = std::any_of(meant.begin(), meant.end(),
                                 [&](const ChainSequence* c) { return fits(query, *c); });
    if (!any) {  // make_msa() words the difference; the author's chain is what most people mean
      const auto by_auth = std::find_if(meant.begin(), meant.end(), [&](const ChainSequence* c) {
        return c->auth == chain_name;
      });
      const ChainSequence& chain = by_auth == meant.end() ? *meant.front() : **by_auth;
      const std::filesystem::path& path = it->second->files->first();
      make_msa({{path.string(), read_decompressed(path)}}, chain.sequence, alphabet_of(chain.type),
               fmt::format("chain {} of {}", chain_name, id));
    }
    for (const ChainSequence* chain : meant)
      if (fits(query, *chain)) assign(*chain, *it->second);
  }
  // Chains of the same sequence share; then those whose sequence is the query of an unclaimed file.
  for (const ChainSequence& chain : chains) {
    if (chain.type == ChainType::ligand || out.contains(chain.label)) continue;
    for (const ChainSequence& other : chains) {
      const auto found = out.find(other.label);
      if (found == out.end() || other.sequence != chain.sequence || other.type != chain.type)
        continue;
      out.emplace(chain.label, found->second);
      break;
    }
    if (out.contains(chain.label)) continue;
    read_pool();
    const auto same_length = pool_.find(chain.sequence.size());
    if (same_length == pool_.end()) continue;
    for (Candidate* const candidate : same_length->second)
      if (fits(candidate->query, chain)) {
        assign(chain, *candidate);
        break;
      }
  }
  return out;
}

std::vector<std::string> AlignmentMatcher::unused() const {
  std::vector<std::string> out;
  for (const auto& [name, candidate] : by_name_)
    if (!candidate->used)
      for (const auto& path : candidate->files->all()) out.push_back(path.string());
  return out;
}

}  // namespace megafold
