// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/clashes.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "structure/cell_grid.h"

namespace megafold {
namespace {

constexpr float kClashRadius = 1.7F;  // Angstrom
constexpr double kClashShare = 0.3;

}  // namespace

std::vector<Clash> find_clashes(const std::vector<WorkChain>& chains,
                                const std::vector<Link>& links) {
  std::vector<CellGrid::Point> points;
  std::vector<uint32_t> chain_of;
  std::vector<size_t> count(chains.size(), 0);
  using Named = std::tuple<int32_t, int32_t, ShortName>;
  std::map<Named, uint32_t> linked;  // atoms with a bond between chains -> index of the point
  for (const Link& link : links)
    if (link.first.chain != link.second.chain)
      for (const LinkEnd& end : {link.first, link.second})
        linked[{end.chain, end.residue, end.atom}] = UINT32_MAX;
  for (size_t c = 0; c < chains.size(); ++c) {
    if (!chains[c].alive) continue;
    const auto& residues = chains[c].chain.residues;
    for (size_t r = 0; r < residues.size(); ++r)
      for (const Atom& atom : residues[r].atoms) {
        if (!atom.resolved) continue;
        if (!linked.empty()) {
          const auto found =
              linked.find({static_cast<int32_t>(c), static_cast<int32_t>(r), atom.name});
          if (found != linked.end()) found->second = static_cast<uint32_t>(points.size());
        }
        points.push_back(atom.position);
        chain_of.push_back(static_cast<uint32_t>(c));
        ++count[c];
      }
  }
  std::set<std::pair<uint32_t, uint32_t>> bonded;
  for (const Link& link : links) {
    if (link.first.chain == link.second.chain) continue;
    const uint32_t a = linked[{link.first.chain, link.first.residue, link.first.atom}];
    const uint32_t b = linked[{link.second.chain, link.second.residue, link.second.atom}];
    if (a != UINT32_MAX && b != UINT32_MAX) bonded.insert({a, b}), bonded.insert({b, a});
  }
  // (chain, other) -> atoms of `chain` that are near `other`.
  std::map<std::pair<uint32_t, uint32_t>, size_t> near;
  const CellGrid grid(points, kClashRadius);
  std::vector<uint32_t> others;
  for (uint32_t i = 0; i < points.size(); ++i) {
    others.clear();
    grid.near(points[i], [&](uint32_t j, float) {
      const uint32_t other = chain_of[j];
      if (other == chain_of[i] || bonded.contains({i, j})) return;
      if (std::find(others.begin(), others.end(), other) == others.end()) others.push_back(other);
    });
    for (const uint32_t other : others) ++near[{chain_of[i], other}];
  }
  std::vector<Clash> clashes;
  std::vector<bool> gone(chains.size(), false);
  for (const auto& [pair, unused] : near) {
    const auto [a, b] = pair;
    if (a > b || gone[a] || gone[b]) continue;
    const double share_a = static_cast<double>(near[{a, b}]) / static_cast<double>(count[a]);
    const double share_b = static_cast<double>(near[{b, a}]) / static_cast<double>(count[b]);
    if (std::max(share_a, share_b) <= kClashShare) continue;
    bool first_goes = share_a > share_b;
    if (share_a == share_b) first_goes = count[a] < count[b];
    const size_t removed = first_goes ? a : b;
    gone[removed] = true;
    clashes.push_back({removed, first_goes ? b : a, std::max(share_a, share_b)});
  }
  return clashes;
}

}  // namespace megafold
