// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/links.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "structure/clean.h"

namespace megafold {
namespace {

constexpr float kMaxBond = 2.4F;  // Angstrom (SI Table 5, in training)

const Residue& residue_of(const std::vector<WorkChain>& chains, const LinkEnd& end) {
  return chains[static_cast<size_t>(end.chain)].chain.residues[static_cast<size_t>(end.residue)];
}

/// The residue that an end means, in one chain; -1 where it is not there.
int32_t find_residue(const WorkChain& work, const ConnectionEnd& end) {
  const Chain& chain = work.chain;
  for (size_t i = 0; i < chain.residues.size(); ++i) {
    const Residue& residue = chain.residues[i];
    // Numbers that were moved or counted (structure/infer.h) are no longer the file's.
    const bool by_label = is_polymer(chain.type) && end.seq_id != 0 && work.has_file_numbers;
    const bool same_number =
        by_label ? residue.seq_id == end.seq_id : residue.auth_seq_id == end.auth_seq_id;
    if (same_number && residue.code == end.code && residue.find(end.atom) != nullptr)
      return static_cast<int32_t>(i);
  }
  return -1;
}

/// Both ends may be meant by the file's chain label or, where that is missing, by the author's.
std::vector<LinkEnd> find_ends(const std::vector<WorkChain>& chains, const ConnectionEnd& end,
                               const std::vector<size_t>& candidates) {
  std::vector<LinkEnd> found;
  for (const size_t i : candidates) {
    const int32_t residue = find_residue(chains[i], end);
    if (residue >= 0) found.push_back({static_cast<int32_t>(i), residue, end.atom});
  }
  return found;
}

}  // namespace

std::vector<Link> find_links(const std::vector<WorkChain>& chains,
                             const std::vector<Connection>& connections) {
  std::vector<Link> links;
  if (connections.empty()) return links;
  std::unordered_map<std::string, std::vector<size_t>> by_label, by_auth;
  for (size_t i = 0; i < chains.size(); ++i) {
    by_label[chains[i].chain.origin].push_back(i);
    by_auth[chains[i].chain.auth].push_back(i);
  }
  const auto ends_of = [&](const ConnectionEnd& end) {
    auto found = find_ends(chains, end, by_label[end.chain]);
    if (found.empty()) found = find_ends(chains, end, by_auth[end.chain]);
    return found;
  };
  for (const Connection& connection : connections) {
    const auto first = ends_of(connection.first), second = ends_of(connection.second);
    for (const LinkEnd& a : first)
      for (const LinkEnd& b : second) {
        const bool same_copy = chains[static_cast<size_t>(a.chain)].operation ==
                               chains[static_cast<size_t>(b.chain)].operation;
        const bool same_residue = a.chain == b.chain && a.residue == b.residue;
        if (same_copy && !same_residue) links.push_back({a, b, false, connection.type == "metalc"});
      }
  }
  return links;
}

void add_backbone(const std::vector<WorkChain>& chains, std::vector<Link>& links) {
  for (size_t c = 0; c < chains.size(); ++c) {
    const Chain& chain = chains[c].chain;
    if (!chains[c].alive || !is_polymer(chain.type)) continue;
    const bool protein = chain.type == ChainType::protein;
    const ShortName from = protein ? "C" : "O3'", to = protein ? "N" : "P";
    for (size_t r = 0; r + 1 < chain.residues.size(); ++r) {
      const Residue &left = chain.residues[r], &right = chain.residues[r + 1];
      if (right.seq_id - left.seq_id != 1 || left.find(from) == nullptr ||
          right.find(to) == nullptr)
        continue;
      const auto at = [&](size_t residue, ShortName atom) {
        return LinkEnd{static_cast<int32_t>(c), static_cast<int32_t>(residue), atom};
      };
      links.push_back({at(r, from), at(r + 1, to), true, false});
    }
  }
}

namespace {

bool is_allowed(const std::vector<WorkChain>& chains, const Link& link) {
  const WorkChain &a = chains[static_cast<size_t>(link.first.chain)],
                  &b = chains[static_cast<size_t>(link.second.chain)];
  if (!a.alive || !b.alive) return false;
  const bool one_chain = link.first.chain == link.second.chain;
  if (link.is_metal && !one_chain) return false;
  if (is_polymer(a.chain.type) && is_polymer(b.chain.type)) {
    if (!one_chain) return false;
    const int32_t apart =
        residue_of(chains, link.first).seq_id - residue_of(chains, link.second).seq_id;
    if (std::abs(apart) > 1) return false;
  }
  const Atom* const p = residue_of(chains, link.first).find(link.first.atom);
  const Atom* const q = residue_of(chains, link.second).find(link.second.atom);
  if (p == nullptr || q == nullptr) return false;
  if (!p->resolved || !q->resolved) return true;
  float squared = 0;
  for (size_t i = 0; i < 3; ++i)
    squared += (p->position[i] - q->position[i]) * (p->position[i] - q->position[i]);
  return squared < kMaxBond * kMaxBond;
}

/// Bonds of a polymer to a ligand that some copy of the polymer lacks (SI 5.1): the model has to
/// learn them, and a symmetric input must not say which copy is which.
void remove_asymmetric(const std::vector<WorkChain>& chains, std::vector<Link>& links) {
  std::map<std::vector<ShortName>, size_t> copies;  // by the polymer's sequence
  for (const WorkChain& work : chains)
    if (work.alive && is_polymer(work.chain.type)) ++copies[work.chain.sequence];
  const auto polymer_end = [&](const Link& link) -> const LinkEnd* {
    const auto polymer = [&](const LinkEnd& end) {
      return is_polymer(chains[static_cast<size_t>(end.chain)].chain.type);
    };
    const bool first = polymer(link.first), second = polymer(link.second);
    if (first == second) return nullptr;
    return first ? &link.first : &link.second;
  };
  // What is bonded: sequence, residue number, atom, the ligand's component and atom.
  using Kind = std::tuple<std::vector<ShortName>, int32_t, ShortName, ShortName, ShortName>;
  const auto kind_of = [&](const Link& link, const LinkEnd& end) {
    const LinkEnd& other = &end == &link.first ? link.second : link.first;
    return Kind{chains[static_cast<size_t>(end.chain)].chain.sequence,
                residue_of(chains, end).seq_id, end.atom, residue_of(chains, other).code,
                other.atom};
  };
  std::map<Kind, std::set<int32_t>> bonded;  // chains that have such a bond
  for (const Link& link : links)
    if (const LinkEnd* const end = polymer_end(link); end != nullptr)
      bonded[kind_of(link, *end)].insert(end->chain);
  std::erase_if(links, [&](const Link& link) {
    const LinkEnd* const end = polymer_end(link);
    if (end == nullptr) return false;
    const Kind kind = kind_of(link, *end);
    return bonded[kind].size() != copies[std::get<0>(kind)];
  });
}

}  // namespace

void filter_links(const std::vector<WorkChain>& chains, std::vector<Link>& links) {
  std::erase_if(links, [&](const Link& link) { return !is_allowed(chains, link); });
  // Each bond once: _struct_conn repeats the backbone next to modified residues.
  std::set<std::tuple<int32_t, int32_t, ShortName, int32_t, int32_t, ShortName>> seen;
  std::erase_if(links, [&](Link& link) {
    const auto key = [](const LinkEnd& e) { return std::tie(e.chain, e.residue, e.atom); };
    if (key(link.second) < key(link.first)) std::swap(link.first, link.second);
    return !seen.emplace(std::tuple_cat(key(link.first), key(link.second))).second;
  });
  remove_asymmetric(chains, links);
}

void remove_leaving_atoms(std::vector<WorkChain>& chains, const std::vector<Link>& links) {
  // (component, bonded atom) where every copy loses the atoms.
  std::set<std::pair<ShortName, ShortName>> everywhere;
  const auto drop = [](Residue& residue, ShortName bonded) {
    const Component& component = *residue.component;
    const int centre = component.find(bonded);
    for (const auto& [a, b] : component.bonds) {
      if (a != centre && b != centre) continue;
      const ComponentAtom& other = component.atoms[a == centre ? b : a];
      if (!other.leaving) continue;
      std::erase_if(residue.atoms, [&](const Atom& atom) { return atom.name == other.name; });
    }
  };
  for (const Link& link : links)
    for (const LinkEnd& end : {link.first, link.second}) {
      Residue& residue =
          chains[static_cast<size_t>(end.chain)].chain.residues[static_cast<size_t>(end.residue)];
      drop(residue, end.atom);
      if (!link.is_backbone && !is_standard_residue(residue.code))
        everywhere.emplace(residue.code, end.atom);
    }
  if (everywhere.empty()) return;
  for (WorkChain& work : chains)
    for (Residue& residue : work.chain.residues)
      for (const auto& [code, atom] : everywhere)
        if (residue.code == code) drop(residue, atom);
}

}  // namespace megafold
