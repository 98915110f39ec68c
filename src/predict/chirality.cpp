// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/chirality.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/errors.h"

namespace megafold {
namespace {

using Vec = std::array<double, 3>;
constexpr double kDoubleBond = 1.36;  // Angstrom: C=C 1.34, C=N 1.33, C=O 1.22; aromatic 1.39
constexpr size_t kMaxAtoms = 4096;    // of one conformer; a larger one would be a polymer

// Covalent radii, Angstrom (Cordero et al. 2008, rounded up to 0.05); metals bond by coordination,
// which makes no stereocentre here.
double covalent_radius(uint8_t element) {
  switch (element) {
    case 1:
      return 0.35;
    case 5:
      return 0.85;
    case 6:
      return 0.80;
    case 7:
    case 8:
      return 0.75;
    case 9:
      return 0.60;
    case 14:
      return 1.15;
    case 15:
    case 16:
    case 17:
      return 1.10;
    case 34:
    case 35:
      return 1.20;
    case 53:
      return 1.40;
    default:
      return 0;
  }
}

Vec from_to(std::span<const float> xyz, int32_t a, int32_t b) {
  Vec out{};
  for (size_t k = 0; k < 3; ++k)
    out[k] =
        double{xyz[3 * static_cast<size_t>(b) + k]} - double{xyz[3 * static_cast<size_t>(a) + k]};
  return out;
}

double length(const Vec& v) {
  return std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
}

/// Volume spanned by the three bonds, Angstrom^3; its sign is the hand.
double triple_product(std::span<const float> xyz, int32_t atom,
                      const std::array<int32_t, 3>& neighbour) {
  const Vec a = from_to(xyz, atom, neighbour[0]), b = from_to(xyz, atom, neighbour[1]),
            c = from_to(xyz, atom, neighbour[2]);
  return a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) +
         a[2] * (b[0] * c[1] - b[1] * c[0]);
}

/// Classes of atoms that no walk along the bonds tells apart: refines the given ones by the
/// multiset of the neighbours' classes until the number of classes stands still.
std::vector<size_t> bond_classes(const std::vector<std::vector<size_t>>& bonded,
                                 std::vector<size_t> classes) {
  const size_t n = bonded.size();
  for (size_t count = 0;;) {
    std::vector<std::vector<size_t>> keys(n);
    for (size_t i = 0; i < n; ++i) {
      for (const size_t j : bonded[i]) keys[i].push_back(classes[j]);
      std::ranges::sort(keys[i]);
      keys[i].insert(keys[i].begin(), classes[i]);
    }
    std::vector<std::vector<size_t>> distinct = keys;
    std::ranges::sort(distinct);
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    for (size_t i = 0; i < n; ++i)
      classes[i] =
          static_cast<size_t>(std::ranges::lower_bound(distinct, keys[i]) - distinct.begin());
    if (distinct.size() == count) return classes;
    count = distinct.size();
  }
}

/// Those of the conformer that is atoms [first, last).
void find_in_conformer(const Conformers& all, size_t first, size_t last,
                       std::vector<Stereocentre>& out) {
  const size_t n = last - first;
  if (n > kMaxAtoms) return;
  std::vector<std::vector<size_t>> bonded(n);
  std::vector<uint8_t> is_unsaturated(n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j) {
      const size_t a = first + i, b = first + j;
      if (!all.mask[a] || !all.mask[b]) continue;
      const double ra = covalent_radius(all.element[a]), rb = covalent_radius(all.element[b]);
      if (ra == 0 || rb == 0) continue;
      const double d =
          length(from_to(all.position, static_cast<int32_t>(a), static_cast<int32_t>(b)));
      if (!(d > 0.5 && d < ra + rb + 0.2)) continue;
      bonded[i].push_back(j);
      bonded[j].push_back(i);
      if (d < kDoubleBond) is_unsaturated[i] = is_unsaturated[j] = 1;
    }
  }
  // A carbon with a double bond is told from one without: serine's C and CB each carry one oxygen.
  // Other elements are not, so that the oxygens of a carboxylate or a phosphate stay alike.
  std::vector<size_t> classes(n);
  for (size_t i = 0; i < n; ++i)
    classes[i] = 2 * size_t{all.element[first + i]} +
                 (all.element[first + i] == 6 && is_unsaturated[i] ? 1 : 0);
  classes = bond_classes(bonded, std::move(classes));
  for (size_t i = 0; i < n; ++i) {
    const std::vector<size_t>& around = bonded[i];
    const bool inverts = all.element[first + i] == 7 && around.size() == 3;
    if (around.size() < 3 || around.size() > 4 || inverts) continue;
    std::vector<size_t> kinds;
    for (const size_t j : around) kinds.push_back(classes[j]);
    std::ranges::sort(kinds);
    if (std::ranges::adjacent_find(kinds) != kinds.end()) continue;

    Stereocentre centre{.atom = static_cast<int32_t>(first + i)};
    double bonds = 1;
    for (size_t k = 0; k < 3; ++k) {
      centre.neighbour[k] = static_cast<int32_t>(first + around[k]);
      bonds *= length(from_to(all.position, centre.atom, centre.neighbour[k]));
    }
    const double volume = triple_product(all.position, centre.atom, centre.neighbour);
    // A tetrahedron's bonds span 0.77 of the product of their lengths; flat ones 0.
    if (!(std::abs(volume) > 0.4 * bonds)) continue;
    centre.is_positive = volume > 0;
    out.push_back(centre);
  }
}

}  // namespace

std::vector<Stereocentre> find_stereocentres(const Conformers& conformers) {
  const size_t atoms = conformers.mask.size();
  if (conformers.position.size() != 3 * atoms || conformers.element.size() != atoms ||
      conformers.space_uid.size() != atoms) {
    fail<BadInput>(
        "stereocentres: {} masks, but {} coordinates, {} elements and {} conformer numbers", atoms,
        conformers.position.size(), conformers.element.size(), conformers.space_uid.size());
  }
  std::vector<Stereocentre> out;
  for (size_t first = 0; first < atoms;) {
    size_t last = first + 1;
    while (last < atoms && conformers.space_uid[last] == conformers.space_uid[first]) ++last;
    find_in_conformer(conformers, first, last, out);
    first = last;
  }
  return out;
}

int64_t count_wrong_hands(std::span<const Stereocentre> centres, std::span<const float> position) {
  return std::ranges::count_if(centres, [&](const Stereocentre& centre) {
    const double volume = triple_product(position, centre.atom, centre.neighbour);
    return !(centre.is_positive ? volume > 0 : volume < 0);
  });
}

}  // namespace megafold
