// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "loss/smooth_lddt.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <vector>

namespace megafold {
namespace {

constexpr double kRadius = 15, kNucleotideRadius = 30;
constexpr double kThresholds[] = {0.5, 1, 2, 4};
constexpr double kEps = 1e-10;
constexpr int64_t kBlockPairs = 8'000'000;  // pairs of all samples that are held at once

/// Rows begin .. end of smooth_lddt_pairs, and the true distances.
std::pair<at::Tensor, at::Tensor> pairs_of_rows(const at::Tensor& x_true,
                                                const at::Tensor& resolved,
                                                const at::Tensor& is_nucleotide, int64_t begin,
                                                int64_t end, double epsilon) {
  const at::Tensor d = (x_true.slice(0, begin, end).unsqueeze(1) - x_true.unsqueeze(0))
                           .square()
                           .sum(-1)
                           .add(epsilon)
                           .sqrt();
  const at::Tensor radius = (is_nucleotide.slice(0, begin, end).gt(0).to(x_true.scalar_type()) *
                                 (kNucleotideRadius - kRadius) +
                             kRadius)
                                .unsqueeze(1);
  const at::Tensor known = resolved.gt(0);
  at::Tensor pairs = d.lt(radius)
                         .logical_and(known.unsqueeze(0))
                         .logical_and(known.slice(0, begin, end).unsqueeze(1));
  pairs.diagonal(begin).fill_(false);
  return {pairs, d};
}

/// Sum of e over the pairs and its gradient in x, for rows begin .. end of every sample.
struct Sums {
  at::Tensor score;     // [S]
  at::Tensor gradient;  // [S, A, 3]
  at::Tensor pairs;     // their number, a scalar
};

/// A pair l < m that counts: once for each of (l, m) and (m, l).
template <class T>
struct Pair {
  int32_t l, m;
  T distance, count;  // the true distance, Angstrom; 1 or 2
};

constexpr size_t kListedPairs = 4'000'000;  // held at once: 64 MB in f32

/// Fills `pairs` with those of rows `l` and on, row by row, until there are kListedPairs of them or
/// no row is left. Returns the first row that it has not listed.
template <class T>
int64_t list_pairs(const at::Tensor& truth, const at::Tensor& known, const at::Tensor& nucleotide,
                   T epsilon, int64_t l, std::vector<Pair<T>>& pairs) {
  const T* const t = truth.const_data_ptr<T>();
  const bool* const k = known.const_data_ptr<bool>();
  const bool* const n = nucleotide.const_data_ptr<bool>();
  pairs.clear();
  const int64_t atoms = truth.size(0);
  for (; l < atoms && pairs.size() < kListedPairs; ++l) {
    if (!k[l]) continue;
    const T radius_l = n[l] ? T(kNucleotideRadius) : T(kRadius);
    for (int64_t m = l + 1; m < atoms; ++m) {
      const T dx = t[3 * l] - t[3 * m], dy = t[3 * l + 1] - t[3 * m + 1];
      const T dz = t[3 * l + 2] - t[3 * m + 2], square = dx * dx + dy * dy + dz * dz + epsilon;
      if (!k[m] || square >= T(kNucleotideRadius * kNucleotideRadius)) continue;
      const T d = std::sqrt(square), radius_m = n[m] ? T(kNucleotideRadius) : T(kRadius);
      const int count = (d < radius_l ? 1 : 0) + (d < radius_m ? 1 : 0);
      if (count > 0)
        pairs.push_back({static_cast<int32_t>(l), static_cast<int32_t>(m), d, T(count)});
    }
  }
  return l;
}

/// CPU: passes over lists of pairs give value and gradient, in pieces that stay in the cache.
/// With E = exp(|d - d_gt|) every sigmoid is 1 / (1 + E exp(-c)): one exponential serves all four.
template <class T>
Sums sums_on_cpu(const at::Tensor& x, const at::Tensor& x_true, const at::Tensor& resolved,
                 const at::Tensor& is_nucleotide, const SmoothLddtEpsilons& epsilons) {
  const int64_t samples = x.size(0), atoms = x.size(1);
  const T epsilon = static_cast<T>(epsilons.distance);
  const at::Tensor truth = x_true.contiguous(), known = resolved.gt(0).contiguous();
  const at::Tensor nucleotide = is_nucleotide.gt(0).contiguous();
  std::vector<Pair<T>> pairs;
  std::vector<double> scores(static_cast<size_t>(samples));
  double number = 0;
  Sums out{at::zeros({samples}, x.options()), at::zeros({samples, atoms, 3}, x.options()), {}};
  const at::Tensor positions = x.contiguous();
  T factor[4];
  for (int c = 0; c < 4; ++c) factor[c] = static_cast<T>(std::exp(-kThresholds[c]));
  constexpr int64_t kPiece = 8192;
  const auto run = [&](int64_t begin, int64_t end) {
    std::vector<T> error(kPiece), inverse(kPiece), pull(kPiece);
    const at::Tensor exponential = at::empty({kPiece}, x.options());
    T* const e = exponential.mutable_data_ptr<T>();
    for (int64_t s = begin; s < end; ++s) {
      const T* const p = positions.const_data_ptr<T>() + s * atoms * 3;
      T* const g = out.gradient.mutable_data_ptr<T>() + s * atoms * 3;
      double& score = scores[static_cast<size_t>(s)];
      for (size_t first = 0; first < pairs.size(); first += kPiece) {
        const Pair<T>* const piece = pairs.data() + first;
        const auto count = static_cast<int64_t>(std::min<size_t>(kPiece, pairs.size() - first));
        for (int64_t i = 0; i < count; ++i) {
          const T* const a = p + 3 * static_cast<int64_t>(piece[i].l);
          const T* const b = p + 3 * static_cast<int64_t>(piece[i].m);
          const T dx = a[0] - b[0], dy = a[1] - b[1], dz = a[2] - b[2];
          const T d = std::sqrt(dx * dx + dy * dy + dz * dz + epsilon);
          error[i] = d - piece[i].distance;
          e[i] = std::abs(error[i]);
          inverse[i] = d > 0 ? 1 / d : T(0);  // two atoms in one place pull nowhere
        }
        exponential.narrow(0, 0, count).exp_();
        T sum = 0;
        for (int64_t i = 0; i < count; ++i) {
          T value = 0, slope = 0;
          for (const T f : factor) {
            const T sigmoid = 1 / (1 + e[i] * f);
            value += sigmoid;
            slope += sigmoid * (1 - sigmoid);
          }
          sum += piece[i].count * value;
          // d score / d |error| = -slope / 4; none where the distance is exactly right.
          const T sign = error[i] > 0 ? T(-0.25) : error[i] < 0 ? T(0.25) : T(0);
          pull[i] = sign * piece[i].count * slope * inverse[i];
        }
        score += static_cast<double>(sum) / 4;
        for (int64_t i = 0; i < count; ++i) {
          const int64_t l = 3 * static_cast<int64_t>(piece[i].l);
          const int64_t m = 3 * static_cast<int64_t>(piece[i].m);
          for (int64_t axis = 0; axis < 3; ++axis) {
            const T force = pull[i] * (p[l + axis] - p[m + axis]);
            g[l + axis] += force;
            g[m + axis] -= force;
          }
        }
      }
    }
  };
  for (int64_t row = 0; row < atoms;) {
    row = list_pairs<T>(truth, known, nucleotide, epsilon, row, pairs);
    for (const Pair<T>& pair : pairs) number += static_cast<double>(pair.count);
    at::parallel_for(0, samples, 1, run);
  }
  for (int64_t s = 0; s < samples; ++s)
    out.score.mutable_data_ptr<T>()[s] = static_cast<T>(scores[static_cast<size_t>(s)]);
  out.pairs = at::scalar_tensor(number, x.options());
  return out;
}

/// Any device: the same over blocks of rows, by ATen.
Sums sums_by_blocks(const at::Tensor& x, const at::Tensor& x_true, const at::Tensor& resolved,
                    const at::Tensor& is_nucleotide, const SmoothLddtEpsilons& epsilons) {
  const c10::NoGradGuard no_grad;
  const int64_t atoms = x.size(1);
  const int64_t rows = std::max<int64_t>(1, kBlockPairs / (x.size(0) * atoms));
  Sums out{at::zeros({x.size(0)}, x.options()), at::zeros_like(x), at::zeros({}, x.options())};
  for (int64_t begin = 0; begin < atoms; begin += rows) {
    const int64_t end = std::min(atoms, begin + rows);
    const auto [pairs, truth] =
        pairs_of_rows(x_true, resolved, is_nucleotide, begin, end, epsilons.distance);
    const at::Tensor offset = x.slice(1, begin, end).unsqueeze(2) - x.unsqueeze(1);
    const at::Tensor d = offset.square().sum(-1).add(epsilons.distance).sqrt();
    const at::Tensor error = d - truth;
    at::Tensor score = at::zeros_like(error), slope = at::zeros_like(error);
    for (const double c : kThresholds) {
      const at::Tensor sigmoid = at::sigmoid(c - error.abs());
      score += sigmoid;
      slope += sigmoid * (1 - sigmoid);
    }
    const at::Tensor scale = (error.sign() * slope * -0.25 / d).masked_fill(d.eq(0), 0) * pairs;
    const at::Tensor pull = scale.unsqueeze(-1) * offset;
    out.score += (score * pairs).sum({1, 2}) / 4;
    out.gradient.slice(1, begin, end) += pull.sum(2);
    out.gradient -= pull.sum(1);
    out.pairs += pairs.sum();
  }
  return out;
}

/// The gradient is known already: this is the value, plus a zero whose derivative is it.
at::Tensor with_gradient(const at::Tensor& x, const Sums& sums, const at::Tensor& resolved,
                         const SmoothLddtEpsilons& epsilons) {
  at::Tensor pairs = sums.pairs + kEps;
  if (epsilons.mean > 0) {
    const at::Tensor n = resolved.gt(0).sum().to(pairs.scalar_type());
    pairs = sums.pairs + epsilons.mean * (n * (n - 1) + epsilons.mean);
  }
  const at::Tensor scale = 1 / pairs;
  return (1 - sums.score * scale) - ((x - x.detach()) * (sums.gradient * scale)).sum({1, 2});
}

}  // namespace

at::Tensor smooth_lddt_pairs(const at::Tensor& x_true, const at::Tensor& resolved,
                             const at::Tensor& is_nucleotide) {
  return pairs_of_rows(x_true, resolved, is_nucleotide, 0, x_true.size(0), 0).first;
}

at::Tensor smooth_lddt_loss(const at::Tensor& x, const at::Tensor& x_true,
                            const at::Tensor& resolved, const at::Tensor& is_nucleotide,
                            const SmoothLddtEpsilons& epsilons) {
  if (!x.is_cpu()) return smooth_lddt_loss_by_blocks(x, x_true, resolved, is_nucleotide, epsilons);
  if (x.scalar_type() == at::kDouble)
    return with_gradient(
        x,
        sums_on_cpu<double>(x.detach(), x_true.to(at::kDouble), resolved, is_nucleotide, epsilons),
        resolved, epsilons);
  return with_gradient(
      x, sums_on_cpu<float>(x.detach(), x_true.to(at::kFloat), resolved, is_nucleotide, epsilons),
      resolved, epsilons);
}

at::Tensor smooth_lddt_loss_by_blocks(const at::Tensor& x, const at::Tensor& x_true,
                                      const at::Tensor& resolved, const at::Tensor& is_nucleotide,
                                      const SmoothLddtEpsilons& epsilons) {
  return with_gradient(x, sums_by_blocks(x.detach(), x_true, resolved, is_nucleotide, epsilons),
                       resolved, epsilons);
}

}  // namespace megafold
