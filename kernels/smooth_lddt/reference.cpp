// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The specification: fp64, written like the equations of smooth_lddt.h.
#include "kernels/common/reference.h"

#include <array>
#include <cmath>

#include "kernels/smooth_lddt/implementations.h"

namespace megafold::kernels {
namespace {

using Point = std::array<double, 3>;

Point point(const SmoothLddt& p, const void* of, int64_t atom) {
  return {at(of, p.dtype, 3 * atom), at(of, p.dtype, 3 * atom + 1), at(of, p.dtype, 3 * atom + 2)};
}

double distance(const Point& a, const Point& b, double epsilon) {
  double square = epsilon;
  for (size_t k = 0; k < 3; ++k) square += (a[k] - b[k]) * (a[k] - b[k]);
  return std::sqrt(square);
}

void run(const SmoothLddt& p, void*, Stream) {
  double pairs = 0;
  for (int64_t s = 0; s < p.samples; ++s) {
    double score = 0;
    std::vector<Point> gradient(static_cast<size_t>(p.atoms), Point{});
    for (int64_t l = 0; l < p.atoms; ++l) {
      for (int64_t m = 0; m < p.atoms; ++m) {
        const double radius = at(p.radius, p.dtype, l);
        if (l == m || !(radius > 0) || !(at(p.radius, p.dtype, m) > 0)) continue;
        const double truth = distance(point(p, p.x_true, l), point(p, p.x_true, m), p.epsilon);
        if (!(truth < radius)) continue;
        pairs += s == 0 ? 1 : 0;
        const Point a = point(p, p.x, s * p.atoms + l), b = point(p, p.x, s * p.atoms + m);
        const double d = distance(a, b, p.epsilon), error = d - truth;
        double slope = 0;  // of e_lm, by d_lm
        for (const double c : kLddtThresholds) {
          const double sigmoid = 1 / (1 + std::exp(std::abs(error) - c));
          score += sigmoid / 4;
          slope -= sigmoid * (1 - sigmoid) / 4 * (error > 0 ? 1 : error < 0 ? -1 : 0);
        }
        if (d == 0) continue;  // two atoms in one place pull nowhere
        for (size_t k = 0; k < 3; ++k) {
          gradient[static_cast<size_t>(l)][k] += slope * (a[k] - b[k]) / d;
          gradient[static_cast<size_t>(m)][k] -= slope * (a[k] - b[k]) / d;
        }
      }
    }
    put(p.score, p.dtype, s, score);
    for (int64_t l = 0; l < p.atoms; ++l)
      for (int64_t k = 0; k < 3; ++k)
        put(p.gradient, p.dtype, 3 * (s * p.atoms + l) + k,
            gradient[static_cast<size_t>(l)][static_cast<size_t>(k)]);
  }
  put(p.pairs, p.dtype, 0, pairs);
}

}  // namespace

const Implementation<SmoothLddt> kSmoothLddtReference = {
    "reference", Place::cpu, smooth_lddt_reasons, no_workspace<SmoothLddt>, run};

}  // namespace megafold::kernels
