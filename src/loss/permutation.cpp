// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "loss/permutation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "base/errors.h"
#include "loss/weighted_rigid_align.h"

namespace megafold {
namespace {

constexpr int64_t kSteady = 3;  // resolved centres that fix a superposition
constexpr double kFar = std::numeric_limits<double>::infinity();

using Point = std::array<double, 3>;

double square_distance(const Point& a, const Point& b) {
  double sum = 0;
  for (size_t k = 0; k < 3; ++k) sum += (a[k] - b[k]) * (a[k] - b[k]);
  return sum;
}

/// The truth's molecules beside the part of each that the crop holds.
class Alignment {
 public:
  Alignment(const Symmetry& truth, const at::Tensor& x);
  at::Tensor run();

 private:
  struct Segment {                // of a molecule of the crop
    size_t molecule;              // that it has by the deposited names
    std::vector<int32_t> places;  // within the molecule
    std::vector<int32_t> tokens;  // of the crop, beside them
  };
  struct Anchor {
    size_t molecule;
    int64_t resolved;
  };
  /// assigned[i]: the truth's molecule for segments_[i].
  struct Assignment {
    std::vector<size_t> assigned;
    std::vector<double> squares;  // of the centroids' distances; infinite where nothing is resolved
  };

  [[nodiscard]] int32_t truth_token(size_t molecule, int32_t place) const {
    return truth_.molecules[molecule].tokens[static_cast<size_t>(place)];
  }
  [[nodiscard]] int32_t center(size_t molecule, int32_t place) const {
    return truth_.center_atom[static_cast<size_t>(truth_token(molecule, place))];
  }
  [[nodiscard]] bool center_resolved(size_t molecule, int32_t place) const {
    return truth_.resolved[static_cast<size_t>(center(molecule, place))] != 0;
  }
  /// Of the crop's token: its centre in the prediction.
  [[nodiscard]] int64_t crop_center(int32_t token) const {
    const auto t = static_cast<size_t>(truth_.tokens[static_cast<size_t>(token)]);
    return first_atom_[static_cast<size_t>(token)] + truth_.center_atom[t] - truth_.atom_start[t];
  }
  [[nodiscard]] Point predicted(int64_t atom) const {
    const double* const p = x_.const_data_ptr<double>() + 3 * atom;
    return {p[0], p[1], p[2]};
  }

  void find_segments();
  [[nodiscard]] std::optional<Anchor> anchor_of(bool polymer) const;
  [[nodiscard]] size_t choose_anchor() const;
  /// All the truth's atoms, moved so that `anchor` lies on the segment.
  [[nodiscard]] at::Tensor superposed(size_t anchor, const Segment& on) const;
  [[nodiscard]] Assignment assign(const at::Tensor& truth_positions) const;
  [[nodiscard]] std::vector<size_t> best_assignment() const;
  /// The truth's atoms for the crop's, equivalent atoms in their deposited order.
  [[nodiscard]] at::Tensor atoms_of(const std::vector<size_t>& assigned) const;
  void permute_atoms(at::Tensor& atoms) const;

  const Symmetry& truth_;
  at::Tensor x_;                     // f64 [A, 3]
  at::Tensor positions_;             // f64 [atoms of the truth, 3]
  std::vector<int64_t> first_atom_;  // of the crop's tokens, within the crop
  std::vector<Segment> segments_;
  std::map<int32_t, std::vector<size_t>> copies_;  // molecules by entity
};

Alignment::Alignment(const Symmetry& truth, const at::Tensor& x)
    : truth_(truth), x_(x.detach().to(at::kCPU, at::kDouble).contiguous()) {
  const auto atoms = static_cast<int64_t>(truth.resolved.size());
  positions_ = at::tensor(truth.position, at::kFloat).to(at::kDouble).view({atoms, 3});
  int64_t count = 0;
  for (const int32_t token : truth.tokens) {
    first_atom_.push_back(count);
    count += truth.atom_count.at(static_cast<size_t>(token));
  }
  if (x_.dim() != 2 || x_.size(0) != count || x_.size(1) != 3)
    fail<BadInput>("permutation alignment: the crop has {} atoms, the prediction is [{}]", count,
                   fmt::join(x_.sizes(), ", "));
  if (!x_.isfinite().all().item<bool>())
    fail<BadInput>("permutation alignment: the predicted structure is not finite");
  find_segments();
}

void Alignment::find_segments() {
  constexpr size_t kNone = std::numeric_limits<size_t>::max();
  std::vector<size_t> molecule_of(truth_.atom_start.size(), kNone);
  std::vector<int32_t> place_of(truth_.atom_start.size(), -1);
  for (size_t m = 0; m < truth_.molecules.size(); ++m) {
    const Symmetry::Molecule& molecule = truth_.molecules[m];
    std::vector<size_t>& copies = copies_[molecule.entity];
    for (size_t place = 0; place < molecule.tokens.size(); ++place) {
      const auto token = static_cast<size_t>(molecule.tokens[place]);
      molecule_of.at(token) = m;
      place_of[token] = static_cast<int32_t>(place);
      if (copies.empty()) continue;
      const Symmetry::Molecule& first = truth_.molecules[copies.front()];
      if (first.tokens.size() != molecule.tokens.size() ||
          truth_.atom_count[static_cast<size_t>(first.tokens[place])] != truth_.atom_count[token])
        fail<BadInput>("permutation alignment: copies of entity {} differ at their token {}",
                       molecule.entity, place);
    }
    copies.push_back(m);
  }
  std::map<size_t, size_t> known;
  for (size_t i = 0; i < truth_.tokens.size(); ++i) {
    const auto token = static_cast<size_t>(truth_.tokens[i]);
    if (molecule_of[token] == kNone)
      fail<BadInput>("permutation alignment: token {} of the crop is in no molecule", i);
    const auto [at, added] = known.try_emplace(molecule_of[token], segments_.size());
    if (added) segments_.push_back({molecule_of[token], {}, {}});
    segments_[at->second].places.push_back(place_of[token]);
    segments_[at->second].tokens.push_back(static_cast<int32_t>(i));
  }
}

/// Of the entities in the crop (polymers or the others) those with fewest copies in the truth come
/// first, and of equally many the copy with most resolved centres; the first that fixes a
/// superposition wins.
std::optional<Alignment::Anchor> Alignment::anchor_of(bool polymer) const {
  std::map<size_t, Anchor> by_copies;
  for (const auto& [entity, copies] : copies_) {
    if (truth_.molecules[copies.front()].polymer != polymer) continue;
    if (std::ranges::none_of(segments_, [&, entity = entity](const Segment& segment) {
          return truth_.molecules[segment.molecule].entity == entity;
        }))
      continue;
    size_t seen = 0;
    Anchor best{0, 0};
    for (const size_t molecule : copies) {
      int64_t resolved = 0;
      for (const int32_t token : truth_.molecules[molecule].tokens) {
        const auto atom = truth_.center_atom[static_cast<size_t>(token)];
        resolved += truth_.resolved[static_cast<size_t>(atom)] != 0 ? 1 : 0;
      }
      seen += resolved > 0 ? 1 : 0;
      if (resolved > best.resolved) best = {molecule, resolved};
    }
    if (seen == 0) continue;
    const auto [at, added] = by_copies.try_emplace(seen, best);
    if (!added && best.resolved > at->second.resolved) at->second = best;
  }
  if (by_copies.empty()) return std::nullopt;
  for (const auto& [count, anchor] : by_copies)
    if (anchor.resolved > kSteady) return anchor;
  return by_copies.begin()->second;
}

size_t Alignment::choose_anchor() const {
  const std::optional<Anchor> polymer = anchor_of(true), other = anchor_of(false);
  if (!polymer && !other)
    fail<BadInput>("permutation alignment: no centre of the crop's molecules is resolved");
  if (!polymer) return other->molecule;
  if (polymer->resolved >= kSteady || !other || other->resolved <= kSteady)
    return polymer->molecule;
  return other->molecule;  // equivalent atoms of a ligand make it the worse anchor
}

at::Tensor Alignment::superposed(size_t anchor, const Segment& on) const {
  at::Tensor target = at::zeros_like(positions_),
             weight = at::zeros({positions_.size(0)}, at::kDouble);
  for (size_t k = 0; k < on.places.size(); ++k) {
    if (!center_resolved(anchor, on.places[k])) continue;
    const int64_t atom = center(anchor, on.places[k]);
    weight[atom] = 1;
    target[atom] = x_[crop_center(on.tokens[k])];
  }
  if (!weight.any().item<bool>()) return {};
  return weighted_rigid_align(positions_, target.unsqueeze(0), weight).squeeze(0).contiguous();
}

/// Greedy, an entity at a time: the segment with most resolved centres in the truth chooses first.
Alignment::Assignment Alignment::assign(const at::Tensor& truth_positions) const {
  const double* const t = truth_positions.const_data_ptr<double>();
  Assignment out;
  out.assigned.resize(segments_.size());
  out.squares.resize(segments_.size(), kFar);
  for (const auto& [entity, copies] : copies_) {
    std::vector<std::pair<int64_t, size_t>> order;  // -resolved, segment
    for (size_t i = 0; i < segments_.size(); ++i) {
      if (truth_.molecules[segments_[i].molecule].entity != entity) continue;
      int64_t resolved = 0;
      for (const size_t molecule : copies)
        for (const int32_t place : segments_[i].places)
          resolved += center_resolved(molecule, place) ? 1 : 0;
      order.emplace_back(-resolved, i);
    }
    std::ranges::sort(order);
    std::vector<bool> used(copies.size(), false);
    for (const auto& [ignored, i] : order) {
      const Segment& segment = segments_[i];
      size_t best = copies.size();
      double nearest = kFar;
      for (size_t c = 0; c < copies.size(); ++c) {
        if (used[c]) continue;
        if (best == copies.size()) best = c;  // what is left when nothing is resolved
        Point ours{}, theirs{};
        double count = 0;
        for (size_t k = 0; k < segment.places.size(); ++k) {
          if (!center_resolved(copies[c], segment.places[k])) continue;
          const double* const p =
              t + 3 * static_cast<int64_t>(center(copies[c], segment.places[k]));
          const Point q = predicted(crop_center(segment.tokens[k]));
          for (size_t axis = 0; axis < 3; ++axis) theirs[axis] += p[axis], ours[axis] += q[axis];
          count += 1;
        }
        if (count == 0) continue;
        const double square = square_distance(ours, theirs) / (count * count);
        if (square < nearest) nearest = square, best = c;
      }
      used[best] = true;
      out.assigned[i] = copies[best];
      out.squares[i] = nearest;
    }
  }
  return out;
}

std::vector<size_t> Alignment::best_assignment() const {
  const size_t anchor = choose_anchor();
  std::vector<Assignment> all;
  double farthest = 0;
  for (const Segment& segment : segments_) {
    if (truth_.molecules[segment.molecule].entity != truth_.molecules[anchor].entity) continue;
    const at::Tensor moved = superposed(anchor, segment);
    if (!moved.defined()) continue;  // the anchor is not resolved where this copy was cropped
    all.push_back(assign(moved));
    for (const double square : all.back().squares)
      if (square != kFar) farthest = std::max(farthest, square);
  }
  std::vector<size_t> best;
  double least = kFar;
  for (const Assignment& one : all) {
    double sum = 0;  // a molecule without resolved centres is a little worse than any other
    for (const double square : one.squares) sum += square == kFar ? farthest + 1 : square;
    if (sum < least) least = sum, best = one.assigned;
  }
  if (best.empty())
    for (const Segment& segment : segments_) best.push_back(segment.molecule);
  return best;
}

at::Tensor Alignment::atoms_of(const std::vector<size_t>& assigned) const {
  at::Tensor atoms = at::empty({x_.size(0)}, at::kLong);
  auto* const out = atoms.data_ptr<int64_t>();
  for (size_t i = 0; i < segments_.size(); ++i) {
    for (size_t k = 0; k < segments_[i].places.size(); ++k) {
      const auto token = static_cast<size_t>(truth_token(assigned[i], segments_[i].places[k]));
      const int64_t first = first_atom_[static_cast<size_t>(segments_[i].tokens[k])];
      for (int32_t a = 0; a < truth_.atom_count[token]; ++a)
        out[first + a] = truth_.atom_start[token] + a;
    }
  }
  return atoms;
}

void Alignment::permute_atoms(at::Tensor& atoms) const {
  // The prediction on the truth, by the centres of the tokens.
  const at::Tensor target = positions_.index_select(0, atoms);
  at::Tensor weight = at::zeros({x_.size(0)}, at::kDouble);
  auto* const source = atoms.data_ptr<int64_t>();
  for (size_t i = 0; i < truth_.tokens.size(); ++i) {
    const int64_t atom = crop_center(static_cast<int32_t>(i));
    if (truth_.resolved[static_cast<size_t>(source[atom])] != 0) weight[atom] = 1;
  }
  if (!weight.any().item<bool>()) return;
  const at::Tensor moved =
      weighted_rigid_align(x_, target.unsqueeze(0), weight).squeeze(0).contiguous();
  const double* const x = moved.const_data_ptr<double>();
  const double* const t = positions_.const_data_ptr<double>();

  // The crop's atoms of each component of the truth that they now stand for.
  std::map<int32_t, const Symmetry::Component*> components;
  for (const Symmetry::Component& component : truth_.components)
    components[component.first_atom] = &component;
  std::map<const Symmetry::Component*, std::vector<int64_t>> members;
  for (int64_t a = 0; a < x_.size(0); ++a) {
    auto after = components.upper_bound(static_cast<int32_t>(source[a]));
    if (after == components.begin()) continue;
    const Symmetry::Component* const component = std::prev(after)->second;
    if (source[a] < component->first_atom + component->count) members[component].push_back(a);
  }
  for (const auto& [component, of_crop] : members) {
    const auto count = static_cast<size_t>(component->count);
    size_t best = 0;
    double least = kFar;
    for (size_t p = 0; p * count < component->permutations.size(); ++p) {
      const int32_t* const to = component->permutations.data() + p * count;
      double sum = 0, resolved = 0;
      for (const int64_t a : of_crop) {
        const int64_t atom = component->first_atom + to[source[a] - component->first_atom];
        if (truth_.resolved[static_cast<size_t>(atom)] == 0) continue;
        for (int64_t k = 0; k < 3; ++k) {
          const double d = x[3 * a + k] - t[3 * atom + k];
          sum += d * d;
        }
        resolved += 1;
      }
      if (resolved > 0 && sum / resolved < least) least = sum / resolved, best = p;
    }
    const int32_t* const to = component->permutations.data() + best * count;
    for (const int64_t a : of_crop)
      source[a] = component->first_atom + to[source[a] - component->first_atom];
  }
}

at::Tensor Alignment::run() {
  at::Tensor atoms = atoms_of(best_assignment());
  permute_atoms(atoms);
  return atoms;
}

}  // namespace

bool has_choice(const Symmetry& truth) {
  if (!truth.components.empty()) return true;
  std::map<int32_t, int> copies;
  for (const Symmetry::Molecule& molecule : truth.molecules)
    if (++copies[molecule.entity] > 1) return true;
  return false;
}

at::Tensor align_permutation(const Symmetry& truth, const at::Tensor& x) {
  return Alignment(truth, x).run();
}

Labels permuted_labels(const Batch& batch, const at::Tensor& x) {
  Labels labels{batch.atom_positions, batch.atom_resolved_mask};
  if (!batch.symmetry || !has_choice(*batch.symmetry)) return labels;
  const Symmetry& truth = *batch.symmetry;
  int64_t real = 0;
  for (const int32_t token : truth.tokens) real += truth.atom_count.at(static_cast<size_t>(token));
  const at::Tensor atoms = align_permutation(truth, x.slice(0, 0, real));
  const auto count = static_cast<int64_t>(truth.resolved.size());
  const at::Tensor positions = at::tensor(truth.position, at::kFloat).view({count, 3});
  const at::Tensor resolved = at::tensor(truth.resolved, at::kByte).to(at::kFloat);
  const auto take = [&](const at::Tensor& of_truth, const at::Tensor& like) {
    const at::Tensor chosen = of_truth.index_select(0, atoms).to(like.options());
    return at::cat({chosen, like.slice(0, real)});
  };
  return {take(positions, labels.positions), take(resolved, labels.resolved)};
}

}  // namespace megafold
