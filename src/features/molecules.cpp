// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "features/molecules.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>

namespace megafold {
namespace {

/// A bond between chains, seen from one of them.
struct Link {
  std::array<int32_t, 2> here, there;  // residue and atom within the chain
  int32_t kind;                        // of the other chain
  int32_t chain;                       // the other one; last, as it differs between copies
  auto operator<=>(const Link&) const = default;
};

/// A molecule written down from one of its chains on: for each chain its kind and its bonds, the
/// partner by its place in this list. Equal lists mean copies.
struct Walk {
  std::vector<std::vector<int32_t>> text;
  std::vector<int32_t> chains;
};

Walk walk_from(int32_t root, const std::vector<int32_t>& kind,
               const std::vector<std::vector<Link>>& links) {
  Walk out;
  std::map<int32_t, int32_t> place{{root, 0}};
  out.chains.push_back(root);
  for (size_t i = 0; i < out.chains.size(); ++i) {
    const auto chain = static_cast<size_t>(out.chains[i]);
    std::vector<int32_t> line{kind[chain]};
    for (const Link& link : links[chain]) {
      const auto [found, is_new] =
          place.try_emplace(link.chain, static_cast<int32_t>(out.chains.size()));
      if (is_new) out.chains.push_back(link.chain);
      line.insert(line.end(),
                  {link.here[0], link.here[1], link.there[0], link.there[1], found->second});
    }
    out.text.push_back(std::move(line));
  }
  return out;
}

/// Kinds of chains: entity, components, atoms, bonded residues.
std::vector<int32_t> kinds_of(const Structure& structure, const std::vector<int32_t>& entity,
                              const std::set<std::pair<int32_t, int32_t>>& bonded) {
  std::map<std::pair<int32_t, std::string>, int32_t> names;
  std::vector<int32_t> kinds;
  for (size_t c = 0; c < structure.chains.size(); ++c) {
    std::string all;
    const auto& residues = structure.chains[c].residues;
    for (size_t r = 0; r < residues.size(); ++r) {
      all += residues[r].code.str();
      all += bonded.contains({static_cast<int32_t>(c), static_cast<int32_t>(r)}) ? '+' : ':';
      for (const Atom& atom : residues[r].atoms) all += atom.name.str() + ',';
    }
    const auto next = static_cast<int32_t>(names.size());
    kinds.push_back(names.try_emplace({entity[c], std::move(all)}, next).first->second);
  }
  return kinds;
}

}  // namespace

std::vector<MoleculeOfChain> find_molecules(const Structure& structure,
                                            const std::vector<int32_t>& entity,
                                            const std::set<std::pair<int32_t, int32_t>>& bonded) {
  const std::vector<int32_t> kind = kinds_of(structure, entity, bonded);
  std::vector<std::vector<Link>> links(structure.chains.size());
  for (const auto& [a, b] : structure.bonds) {
    if (a.chain == b.chain) continue;
    const auto first = static_cast<size_t>(a.chain), second = static_cast<size_t>(b.chain);
    links[first].push_back({{a.residue, a.atom}, {b.residue, b.atom}, kind[second], b.chain});
    links[second].push_back({{b.residue, b.atom}, {a.residue, a.atom}, kind[first], a.chain});
  }
  for (auto& list : links) std::sort(list.begin(), list.end());

  std::vector<MoleculeOfChain> out(structure.chains.size(), {-1, -1, -1});
  std::map<std::vector<std::vector<int32_t>>, int32_t> entities;
  int32_t molecules = 0;
  for (size_t c = 0; c < out.size(); ++c) {
    if (out[c].molecule >= 0) continue;
    // Written down from each chain of the least kind; the least text is the same in every copy.
    const Walk members = walk_from(static_cast<int32_t>(c), kind, links);
    int32_t least = kind[c];
    for (const int32_t chain : members.chains)
      least = std::min(least, kind[static_cast<size_t>(chain)]);
    Walk best;
    for (const int32_t chain : members.chains) {
      if (kind[static_cast<size_t>(chain)] != least) continue;
      Walk walk = walk_from(chain, kind, links);
      if (best.text.empty() || walk.text < best.text) best = std::move(walk);
    }
    const auto next = static_cast<int32_t>(entities.size());
    const int32_t id = entities.try_emplace(best.text, next).first->second;
    for (size_t rank = 0; rank < best.chains.size(); ++rank)
      out[static_cast<size_t>(best.chains[rank])] = {molecules, id, static_cast<int32_t>(rank)};
    ++molecules;
  }
  return out;
}

}  // namespace megafold
