// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/automorphisms.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

namespace megafold {
namespace {

using Neighbours = std::vector<std::pair<uint16_t, BondKind>>;  // sorted by atom

/// Colours such that atoms of different colours cannot be mapped onto each other: element and
/// charge, then again and again with the colours around (Weisfeiler and Leman), until nothing
/// splits.
std::vector<uint32_t> colours_of(const Component& component, const std::vector<Neighbours>& near) {
  const size_t n = component.atoms.size();
  std::vector<uint32_t> colour(n);
  for (size_t i = 0; i < n; ++i)
    colour[i] = component.atoms[i].element * 256U + static_cast<uint8_t>(component.atoms[i].charge);
  for (size_t classes = 0;;) {
    using Around = std::vector<std::pair<uint32_t, BondKind>>;
    std::map<std::pair<uint32_t, Around>, uint32_t> names;
    std::vector<std::pair<uint32_t, Around>> seen(n);
    for (size_t i = 0; i < n; ++i) {
      seen[i].first = colour[i];
      for (const auto& [atom, kind] : near[i]) seen[i].second.emplace_back(colour[atom], kind);
      std::sort(seen[i].second.begin(), seen[i].second.end());
      names.emplace(seen[i], 0);
    }
    uint32_t next = 0;
    for (auto& [name, number] : names) number = next++;
    for (size_t i = 0; i < n; ++i) colour[i] = names.at(seen[i]);
    if (names.size() == classes) return colour;
    classes = names.size();
  }
}

class Search {
 public:
  Search(const Component& component, size_t most)
      : most_(most), near_(component.atoms.size()), map_(component.atoms.size(), kNone) {
    for (size_t i = 0; i < component.bonds.size(); ++i) {
      const auto [a, b] = component.bonds[i];
      near_[a].emplace_back(b, component.bond_kinds[i]);
      near_[b].emplace_back(a, component.bond_kinds[i]);
    }
    for (Neighbours& list : near_) std::sort(list.begin(), list.end());
    colour_ = colours_of(component, near_);
    used_.assign(map_.size(), false);
    order_atoms();
  }

  std::vector<std::vector<uint16_t>> run() {
    extend(0);
    std::sort(found_.begin(), found_.end());  // the identity is the least
    return std::move(found_);
  }

 private:
  static constexpr uint16_t kNone = 0xffff;

  /// Each atom after one that it is bonded to: then few images are possible.
  void order_atoms() {
    std::vector<bool> placed(map_.size(), false);
    for (size_t root = 0; root < map_.size(); ++root) {
      if (placed[root]) continue;
      placed[root] = true;
      order_.push_back(static_cast<uint16_t>(root));
      for (size_t at = order_.size() - 1; at < order_.size(); ++at)
        for (const auto& [atom, kind] : near_[order_[at]])
          if (!placed[atom]) {
            placed[atom] = true;
            order_.push_back(atom);
          }
    }
  }

  /// The bonds of `atom` to atoms that are mapped are there between the images, of the same kind.
  /// Both have as many bonds (their colours agree), so none is there too many in the end.
  bool fits(uint16_t atom, uint16_t image) const {
    if (used_[image] || colour_[atom] != colour_[image]) return false;
    return std::all_of(near_[atom].begin(), near_[atom].end(), [&](const auto& bond) {
      const uint16_t other = map_[bond.first];
      return other == kNone || std::binary_search(near_[image].begin(), near_[image].end(),
                                                  std::pair(other, bond.second));
    });
  }

  void extend(size_t at) {
    if (at == order_.size()) {
      found_.push_back(map_);
      return;
    }
    const uint16_t atom = order_[at];
    // The atom itself first, so that the first found is the identity, whatever the limit.
    for (size_t k = 0; k <= map_.size() && found_.size() < most_; ++k) {
      const auto image = k == 0 ? atom : static_cast<uint16_t>(k - 1);
      if ((k > 0 && image == atom) || !fits(atom, image)) continue;
      map_[atom] = image;
      used_[image] = true;
      extend(at + 1);
      map_[atom] = kNone;
      used_[image] = false;
    }
  }

  size_t most_;
  std::vector<Neighbours> near_;
  std::vector<uint32_t> colour_;
  std::vector<uint16_t> order_;
  std::vector<uint16_t> map_;
  std::vector<bool> used_;
  std::vector<std::vector<uint16_t>> found_;
};

}  // namespace

std::vector<std::vector<uint16_t>> automorphisms(const Component& component, size_t most) {
  if (component.bonds.empty()) {
    std::vector<uint16_t> identity(component.atoms.size());
    std::iota(identity.begin(), identity.end(), uint16_t{0});
    return {std::move(identity)};
  }
  return Search(component, most).run();
}

}  // namespace megafold
