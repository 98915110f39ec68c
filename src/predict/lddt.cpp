// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/lddt.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "base/errors.h"
#include "base/nan.h"

namespace megafold {
namespace {

// Resolved atoms, sorted by the cell that holds them. A cell is at least as wide as the radius, so
// every partner of an atom lies in the 27 cells around its own.
class CellGrid {
 public:
  CellGrid(std::span<const float> xyz, const std::vector<int32_t>& atoms, double width) {
    std::array<double, 3> low{}, high{};
    for (int k = 0; k < 3; ++k) {
      low[k] = high[k] = xyz[static_cast<size_t>(atoms[0]) * 3 + k];
      for (const int32_t atom : atoms) {
        const double x = xyz[static_cast<size_t>(atom) * 3 + k];
        low[k] = std::min(low[k], x), high[k] = std::max(high[k], x);
      }
    }
    // Two atoms a kilometre apart must not ask for a grid of that size: cells grow until their
    // number is at most that of a few per atom.
    const double most = 8.0 * static_cast<double>(atoms.size()) + 64;
    for (;; width *= 2) {
      double cells = 1;
      for (int k = 0; k < 3; ++k) {
        const double count = std::floor((high[k] - low[k]) / width) + 1;
        cells *= count;
        num_[k] = count < most ? static_cast<int64_t>(count) : 0;
      }
      if (cells <= most) break;
    }
    std::vector<int64_t> cell(atoms.size());
    start_.assign(static_cast<size_t>(num_[0] * num_[1] * num_[2]) + 1, 0);
    for (size_t i = 0; i < atoms.size(); ++i) {
      std::array<int64_t, 3> at{};
      for (int k = 0; k < 3; ++k) {
        const double x = xyz[static_cast<size_t>(atoms[i]) * 3 + k];
        at[k] = std::min(static_cast<int64_t>((x - low[k]) / width), num_[k] - 1);
      }
      cell[i] = (at[0] * num_[1] + at[1]) * num_[2] + at[2];
      ++start_[static_cast<size_t>(cell[i]) + 1];
    }
    for (size_t c = 1; c < start_.size(); ++c) start_[c] += start_[c - 1];
    atoms_.resize(atoms.size());
    std::vector<int64_t> next(start_.begin(), start_.end() - 1);
    for (size_t i = 0; i < atoms.size(); ++i) {
      atoms_[static_cast<size_t>(next[static_cast<size_t>(cell[i])]++)] = atoms[i];
    }
  }

  /// Calls f(a, b) once for every unordered pair of atoms in the same or neighbouring cells.
  template <class F>
  void for_each_pair(F&& f) const {
    for (int64_t x = 0; x < num_[0]; ++x) {
      for (int64_t y = 0; y < num_[1]; ++y) {
        for (int64_t z = 0; z < num_[2]; ++z) {
          const auto here = cell(x, y, z);
          for (size_t i = 0; i < here.size(); ++i) {
            for (size_t j = i + 1; j < here.size(); ++j) f(here[i], here[j]);
          }
          // Of the 26 neighbours, the 13 that come later in the order: each pair of cells once.
          for (int d = 14; d < 27; ++d) {
            const int64_t u = x + d / 9 - 1, v = y + d / 3 % 3 - 1, w = z + d % 3 - 1;
            if (u < 0 || u >= num_[0] || v < 0 || v >= num_[1] || w < 0 || w >= num_[2]) continue;
            const auto there = cell(u, v, w);
            for (const int32_t a : here) {
              for (const int32_t b : there) f(a, b);
            }
          }
        }
      }
    }
  }

 private:
  [[nodiscard]] std::span<const int32_t> cell(int64_t x, int64_t y, int64_t z) const {
    const auto c = static_cast<size_t>((x * num_[1] + y) * num_[2] + z);
    return std::span(atoms_).subspan(static_cast<size_t>(start_[c]),
                                     static_cast<size_t>(start_[c + 1] - start_[c]));
  }

  std::array<int64_t, 3> num_{};
  std::vector<int64_t> start_;  // [cells + 1]: where each cell's atoms begin
  std::vector<int32_t> atoms_;
};

double distance_squared(std::span<const float> xyz, int32_t a, int32_t b) {
  double sum = 0;
  for (size_t k = 0; k < 3; ++k) {
    const double d = static_cast<double>(xyz[static_cast<size_t>(a) * 3 + k]) -
                     xyz[static_cast<size_t>(b) * 3 + k];
    sum += d * d;
  }
  return sum;
}

// Pairs counted, and thresholds kept by them (0 to 4 per pair).
struct Tally {
  int64_t pairs = 0, kept = 0;
  void add(int kept_here) { ++pairs, kept += kept_here; }
  [[nodiscard]] double score(size_t num_thresholds) const {
    if (pairs == 0) return kNaN;
    return static_cast<double>(kept) /
           (static_cast<double>(pairs) * static_cast<double>(num_thresholds));
  }
};

}  // namespace

Lddt lddt(std::span<const float> truth, std::span<const float> predicted,
          std::span<const uint8_t> resolved, std::span<const int32_t> residue,
          const LddtOptions& options) {
  const size_t num_atoms = resolved.size();
  if (truth.size() != 3 * num_atoms || predicted.size() != 3 * num_atoms ||
      residue.size() != num_atoms) {
    fail<BadInput>(
        "lDDT: {} atoms have {} true and {} predicted coordinates and {} residue "
        "numbers; expected 3, 3 and 1 per atom",
        num_atoms, truth.size(), predicted.size(), residue.size());
  }
  Lddt result;
  int32_t num_residues = 0;
  std::vector<int32_t> atoms;
  for (size_t a = 0; a < num_atoms; ++a) {
    if (residue[a] < 0) fail<BadInput>("lDDT: atom {} has residue number {}", a, residue[a]);
    num_residues = std::max(num_residues, residue[a] + 1);
    if (!resolved[a]) continue;
    for (size_t k = 0; k < 3; ++k) {
      if (!std::isfinite(truth[3 * a + k])) {
        fail<BadInput>("lDDT: resolved atom {} of the true structure has coordinate {}", a,
                       truth[3 * a + k]);
      }
    }
    atoms.push_back(static_cast<int32_t>(a));
  }

  Tally all;
  std::vector<Tally> by_residue(static_cast<size_t>(num_residues));
  if (!atoms.empty()) {
    const double radius_squared = options.inclusion_radius * options.inclusion_radius;
    CellGrid(truth, atoms, options.inclusion_radius).for_each_pair([&](int32_t a, int32_t b) {
      const auto i = static_cast<size_t>(residue[static_cast<size_t>(a)]);
      const auto j = static_cast<size_t>(residue[static_cast<size_t>(b)]);
      if (i == j) return;
      const double true_squared = distance_squared(truth, a, b);
      if (!(true_squared <= radius_squared)) return;
      const double error =
          std::abs(std::sqrt(distance_squared(predicted, a, b)) - std::sqrt(true_squared));
      int kept = 0;  // a NaN is within no threshold
      for (const double threshold : options.thresholds) kept += error <= threshold ? 1 : 0;
      all.add(kept);
      by_residue[i].add(kept);
      by_residue[j].add(kept);
    });
  }
  result.score = all.score(options.thresholds.size());
  result.num_pairs = all.pairs;
  result.per_residue.reserve(by_residue.size());
  for (const Tally& tally : by_residue) {
    result.per_residue.push_back(tally.score(options.thresholds.size()));
  }
  return result;
}

}  // namespace megafold
