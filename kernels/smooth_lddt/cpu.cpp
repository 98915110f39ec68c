// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The pairs l < m that count are listed once for all samples, and passes over pieces of the list
// that stay in the cache give value and gradient. With E = exp(|d - d_gt|) every sigmoid is
// 1 / (1 + E exp(-c)): one exponential serves all four. A sample is one thread's: the sums are
// taken in the same order on any number of threads.
#include <algorithm>
#include <cmath>

#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/smooth_lddt/implementations.h"

namespace megafold::kernels {
namespace {

/// A pair l < m that counts: once for each of (l, m) and (m, l).
template <class T>
struct Pair {
  int32_t l, m;
  T distance, count;  // the true distance, Angstrom; 1 or 2
};

constexpr size_t kListedPairs = 4'000'000;  // held at once: 64 MB in f32
constexpr size_t kPiece = 8192;

/// Fills `pairs` with those of rows `l` and on, row by row, until there are kListedPairs of them or
/// no row is left. Returns the first row that it has not listed.
template <class T>
int64_t list_pairs(const SmoothLddt& p, int64_t l, std::vector<Pair<T>>& pairs) {
  const T* const t = static_cast<const T*>(p.x_true);
  const T* const radius = static_cast<const T*>(p.radius);
  const T epsilon = static_cast<T>(p.epsilon);
  pairs.clear();
  for (; l < p.atoms && pairs.size() < kListedPairs; ++l) {
    if (!(radius[l] > 0)) continue;
    for (int64_t m = l + 1; m < p.atoms; ++m) {
      const T dx = t[3 * l] - t[3 * m], dy = t[3 * l + 1] - t[3 * m + 1];
      const T dz = t[3 * l + 2] - t[3 * m + 2], square = dx * dx + dy * dy + dz * dz + epsilon;
      const T reach = std::max(radius[l], radius[m]);
      if (!(radius[m] > 0) || square >= reach * reach) continue;
      const T d = std::sqrt(square);
      const int count = (d < radius[l] ? 1 : 0) + (d < radius[m] ? 1 : 0);
      if (count > 0)
        pairs.push_back({static_cast<int32_t>(l), static_cast<int32_t>(m), d, T(count)});
    }
  }
  return l;
}

/// Adds what the listed pairs say of one sample; returns their score.
template <class T>
double add_sample(const std::vector<Pair<T>>& pairs, const T* x, T epsilon, T* gradient) {
  T factor[4];
  for (int c = 0; c < 4; ++c) factor[c] = static_cast<T>(std::exp(-kLddtThresholds[c]));
  std::vector<T> error(kPiece), exponential(kPiece), inverse(kPiece), pull(kPiece);
  double score = 0;
  for (size_t first = 0; first < pairs.size(); first += kPiece) {
    const Pair<T>* const piece = pairs.data() + first;
    const size_t count = std::min(kPiece, pairs.size() - first);
    for (size_t i = 0; i < count; ++i) {
      const T* const a = x + 3 * int64_t{piece[i].l};
      const T* const b = x + 3 * int64_t{piece[i].m};
      const T dx = a[0] - b[0], dy = a[1] - b[1], dz = a[2] - b[2];
      const T d = std::sqrt(dx * dx + dy * dy + dz * dz + epsilon);
      error[i] = d - piece[i].distance;
      // Past 80 A every sigmoid is 0 in f32; the exponential stays within its range.
      exponential[i] = std::min(std::abs(error[i]), T(80));
      inverse[i] = d > 0 ? 1 / d : T(0);  // two atoms in one place pull nowhere
    }
    for (size_t i = 0; i < count; i += simd::kLanes<T>)
      simd::store(&exponential[i], simd::exp(simd::load(&exponential[i])));
    T sum = 0;
    for (size_t i = 0; i < count; ++i) {
      T value = 0, slope = 0;
      for (const T f : factor) {
        const T sigmoid = 1 / (1 + exponential[i] * f);
        value += sigmoid;
        slope += sigmoid * (1 - sigmoid);
      }
      sum += piece[i].count * value;
      // d score / d |error| = -slope / 4; none where the distance is exactly right.
      const T sign = error[i] > 0 ? T(-0.25) : error[i] < 0 ? T(0.25) : T(0);
      pull[i] = sign * piece[i].count * slope * inverse[i];
    }
    score += static_cast<double>(sum) / 4;
    for (size_t i = 0; i < count; ++i) {
      const int64_t l = 3 * int64_t{piece[i].l}, m = 3 * int64_t{piece[i].m};
      for (int64_t axis = 0; axis < 3; ++axis) {
        const T force = pull[i] * (x[l + axis] - x[m + axis]);
        gradient[l + axis] += force;
        gradient[m + axis] -= force;
      }
    }
  }
  return score;
}

template <class T>
void run_in(const SmoothLddt& p) {
  const T* const x = static_cast<const T*>(p.x);
  T* const gradient = static_cast<T*>(p.gradient);
  const int64_t size = 3 * p.atoms;
  std::fill_n(gradient, p.samples * size, T(0));
  std::vector<Pair<T>> pairs;
  std::vector<double> scores(static_cast<size_t>(p.samples));
  double number = 0;
  for (int64_t row = 0; row < p.atoms;) {
    row = list_pairs<T>(p, row, pairs);
    for (const Pair<T>& pair : pairs) number += static_cast<double>(pair.count);
    parallel_for(p.samples, [&](int64_t s) {
      scores[static_cast<size_t>(s)] +=
          add_sample(pairs, x + s * size, static_cast<T>(p.epsilon), gradient + s * size);
    });
  }
  for (int64_t s = 0; s < p.samples; ++s)
    static_cast<T*>(p.score)[s] = static_cast<T>(scores[static_cast<size_t>(s)]);
  *static_cast<T*>(p.pairs) = static_cast<T>(number);
}

void run(const SmoothLddt& p, void*, Stream) {
  p.dtype == DType::f64 ? run_in<double>(p) : run_in<float>(p);
}

}  // namespace

const Implementation<SmoothLddt> kSmoothLddtCpu = {
    "cpu", Place::cpu, smooth_lddt_reasons, [](const SmoothLddt&) -> int64_t { return 0; }, run};

}  // namespace megafold::kernels
