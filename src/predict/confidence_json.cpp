// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/confidence_json.h"

#include <cmath>

#include "base/errors.h"

namespace megafold {
namespace {

using nlohmann::json;

/// To a multiple of 1 / per.
json rounded(double value, double per) {
  return std::isfinite(value) ? json(std::round(value * per) / per) : json();
}

template <class T>
json list(const std::vector<T>& values, double per) {
  json out = json::array();
  for (const T value : values) out.push_back(rounded(static_cast<double>(value), per));
  return out;
}

template <class T>
json square(const std::vector<T>& values, double per) {
  const auto n = static_cast<size_t>(std::lround(std::sqrt(static_cast<double>(values.size()))));
  json out = json::array();
  for (size_t i = 0; i < n; ++i)
    out.push_back(list(std::vector<T>(values.begin() + static_cast<std::ptrdiff_t>(i * n),
                                      values.begin() + static_cast<std::ptrdiff_t>((i + 1) * n)),
                       per));
  return out;
}

}  // namespace

json confidences_json(const Entry& entry, const Confidence& confidence) {
  json atom_chains = json::array(), token_chains = json::array(), token_residues = json::array();
  for (const int32_t residue : entry.residue)
    atom_chains.push_back(
        entry.chains[static_cast<size_t>(entry.residues[static_cast<size_t>(residue)].chain)]
            .label);
  for (const EntryResidue& residue : entry.residues) {
    for (int32_t t = 0; t < (residue.is_atomized ? residue.num_atoms : 1); ++t) {
      token_chains.push_back(entry.chains[static_cast<size_t>(residue.chain)].label);
      token_residues.push_back(residue.sequence_id);
    }
  }
  const size_t tokens = token_chains.size();
  if (confidence.plddt.size() != entry.num_atoms() || confidence.pae.size() != tokens * tokens)
    fail<BadInput>("entry {}: {} atoms and {} tokens, but {} pLDDT and {} PAE values", entry.id,
                   entry.num_atoms(), tokens, confidence.plddt.size(), confidence.pae.size());
  return {{"atom_chain_ids", atom_chains},
          {"atom_plddts", list(confidence.plddt, 100)},
          {"contact_probs", square(confidence.contact, 100)},
          {"pae", square(confidence.pae, 10)},
          {"token_chain_ids", token_chains},
          {"token_res_ids", token_residues}};
}

json summary_json(const Confidence& c) {
  return {{"chain_iptm", list(c.chain_iptm, 100)},
          {"chain_pair_iptm", square(c.chain_pair_iptm, 100)},
          {"chain_pair_pae_min", square(c.chain_pair_pae_min, 100)},
          {"chain_ptm", list(c.chain_ptm, 100)},
          {"fraction_disordered", rounded(c.fraction_disordered, 100)},
          {"has_clash", c.has_clash ? 1.0 : 0.0},
          {"iptm", rounded(c.iptm, 100)},
          {"ptm", rounded(c.ptm, 100)},
          {"ranking_score", rounded(c.ranking_score, 100)}};
}

}  // namespace megafold
