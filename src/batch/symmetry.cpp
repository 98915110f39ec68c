// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/symmetry.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/errors.h"
#include "batch/structure_view.h"

namespace megafold {
namespace {

/// The chains of each molecule that is wanted, by rank.
std::map<int32_t, std::vector<int32_t>> wanted_molecules(const StructureView& s,
                                                         const std::vector<int32_t>& tokens,
                                                         bool spatial) {
  std::set<int32_t> molecules, entities;
  for (const int32_t t : tokens) {
    const auto c = static_cast<size_t>(s.chain[static_cast<size_t>(t)]);
    molecules.insert(s.molecule[c]);
    entities.insert(s.molecule_entity[c]);
  }
  std::map<int32_t, std::vector<int32_t>> out;
  for (size_t c = 0; c < s.molecule.size(); ++c)
    if (spatial ? molecules.contains(s.molecule[c]) : entities.contains(s.molecule_entity[c]))
      out[s.molecule[c]].push_back(static_cast<int32_t>(c));
  for (auto& [molecule, chains] : out)
    std::ranges::sort(chains, {},
                      [&](int32_t c) { return s.molecule_rank[static_cast<size_t>(c)]; });
  return out;
}

/// Copies must correspond token by token, or an exchange would mix up atoms.
void require_equal_copies(const StructureView& structure, const Symmetry& symmetry) {
  std::map<int32_t, const Symmetry::Molecule*> first;
  for (const Symmetry::Molecule& molecule : symmetry.molecules) {
    const Symmetry::Molecule& other = *first.try_emplace(molecule.entity, &molecule).first->second;
    bool equal = molecule.tokens.size() == other.tokens.size();
    for (size_t k = 0; equal && k < molecule.tokens.size(); ++k)
      equal = symmetry.atom_count[static_cast<size_t>(molecule.tokens[k])] ==
              symmetry.atom_count[static_cast<size_t>(other.tokens[k])];
    if (!equal)
      fail<Corrupt>("record {}: molecules of entity {} are not alike; build the cache again",
                    structure.key(), molecule.entity);
  }
}

}  // namespace

Symmetry find_symmetry(const StructureView& s, const std::vector<int32_t>& tokens, bool spatial) {
  const auto wanted = wanted_molecules(s, tokens, spatial);
  std::vector<bool> has_chain(static_cast<size_t>(s.num_chains()), false);
  for (const auto& [molecule, chains] : wanted)
    for (const int32_t c : chains) has_chain[static_cast<size_t>(c)] = true;

  Symmetry out;
  std::vector<int32_t> place(static_cast<size_t>(s.num_tokens()), -1);  // of a token in the truth
  for (size_t c = 0; c < has_chain.size(); ++c) {
    if (!has_chain[c] || s.chain_count[c] == 0) continue;
    const auto first = static_cast<size_t>(s.chain_start[c]);
    const size_t last = first + static_cast<size_t>(s.chain_count[c]);
    const auto atom_first = static_cast<size_t>(s.atom_start[first]);
    const auto atom_last = static_cast<size_t>(s.atom_start[last - 1] + s.atom_count[last - 1]);
    const int32_t shift = static_cast<int32_t>(out.resolved.size()) - s.atom_start[first];
    for (size_t t = first; t < last; ++t) {
      place[t] = static_cast<int32_t>(out.atom_start.size());
      out.atom_start.push_back(s.atom_start[t] + shift);
      out.atom_count.push_back(s.atom_count[t]);
      out.center_atom.push_back(s.center_atom[t] + shift);
    }
    for (size_t a = atom_first; a < atom_last; ++a) {
      const bool resolved = s.resolved[a] != 0;
      out.resolved.push_back(resolved ? 1 : 0);
      for (size_t k = 0; k < 3; ++k)
        out.position.push_back(resolved ? s.position[3 * a + k] : 0.0F);
      if (a > atom_first && s.ref_space_uid[a] == s.ref_space_uid[a - 1]) continue;
      const int32_t row = s.residue_permutation[static_cast<size_t>(s.ref_space_uid[a])];
      if (row < 0) continue;
      const auto p = static_cast<size_t>(row);
      const auto values = s.permutation.subspan(static_cast<size_t>(s.permutation_start[p]),
                                                static_cast<size_t>(s.permutation_atoms[p]) *
                                                    static_cast<size_t>(s.permutation_count[p]));
      out.components.push_back({static_cast<int32_t>(a) + shift,
                                s.permutation_atoms[p],
                                {values.begin(), values.end()}});
    }
  }
  for (const auto& [molecule, chains] : wanted) {
    Symmetry::Molecule made{s.molecule_entity[static_cast<size_t>(chains.front())], false, {}};
    for (const int32_t chain : chains) {
      const auto c = static_cast<size_t>(chain);
      made.polymer = made.polymer || s.type_of(chain) != ChainType::ligand;
      for (int32_t t = s.chain_start[c]; t < s.chain_start[c] + s.chain_count[c]; ++t)
        made.tokens.push_back(place[static_cast<size_t>(t)]);
    }
    out.molecules.push_back(std::move(made));
  }
  for (const int32_t t : tokens) out.tokens.push_back(place[static_cast<size_t>(t)]);
  require_equal_copies(s, out);
  return out;
}

}  // namespace megafold
