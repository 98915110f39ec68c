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
                                                int64_t end) {
  const at::Tensor d =
      (x_true.slice(0, begin, end).unsqueeze(1) - x_true.unsqueeze(0)).square().sum(-1).sqrt();
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

/// CPU: one pass over the list of pairs gives value and gradient. With E = exp(|d - d_gt|) every
/// sigmoid is 1 / (1 + E exp(-c)): one exponential serves all four.
template <class T>
Sums sums_on_cpu(const at::Tensor& x, const at::Tensor& x_true, const at::Tensor& resolved,
                 const at::Tensor& is_nucleotide) {
  const int64_t samples = x.size(0), atoms = x.size(1);
  const at::Tensor truth = x_true.contiguous(), known = resolved.to(x.scalar_type()).contiguous();
  const at::Tensor nucleotide = is_nucleotide.to(x.scalar_type()).contiguous();
  const T* const t = truth.const_data_ptr<T>();
  std::vector<int64_t> first(static_cast<size_t>(atoms) + 1, 0);
  std::vector<int32_t> other;
  std::vector<T> distance;
  for (int64_t l = 0; l < atoms; ++l) {
    const T radius = nucleotide.const_data_ptr<T>()[l] > 0 ? T(kNucleotideRadius) : T(kRadius);
    for (int64_t m = 0; m < atoms && known.const_data_ptr<T>()[l] > 0; ++m) {
      if (m == l || !(known.const_data_ptr<T>()[m] > 0)) continue;
      const T dx = t[3 * l] - t[3 * m], dy = t[3 * l + 1] - t[3 * m + 1];
      const T dz = t[3 * l + 2] - t[3 * m + 2];
      const T d = std::sqrt(dx * dx + dy * dy + dz * dz);
      if (d < radius) other.push_back(static_cast<int32_t>(m)), distance.push_back(d);
    }
    first[static_cast<size_t>(l) + 1] = static_cast<int64_t>(other.size());
  }

  Sums out{at::zeros({samples}, x.options()), at::zeros({samples, atoms, 3}, x.options()),
           at::scalar_tensor(static_cast<double>(other.size()), x.options())};
  const at::Tensor positions = x.contiguous();
  T factor[4];
  for (int c = 0; c < 4; ++c) factor[c] = static_cast<T>(std::exp(-kThresholds[c]));
  at::parallel_for(0, samples, 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      const T* const p = positions.const_data_ptr<T>() + s * atoms * 3;
      T* const g = out.gradient.mutable_data_ptr<T>() + s * atoms * 3;
      double score = 0;
      for (int64_t l = 0; l < atoms; ++l) {
        T row = 0, gx = 0, gy = 0, gz = 0;
        for (int64_t i = first[static_cast<size_t>(l)]; i < first[static_cast<size_t>(l) + 1];
             ++i) {
          const auto m = static_cast<int64_t>(other[static_cast<size_t>(i)]);
          const T dx = p[3 * l] - p[3 * m], dy = p[3 * l + 1] - p[3 * m + 1];
          const T dz = p[3 * l + 2] - p[3 * m + 2];
          const T d = std::sqrt(dx * dx + dy * dy + dz * dz);
          const T error = d - distance[static_cast<size_t>(i)];
          const T e = std::exp(std::abs(error));
          T slope = 0;
          for (const T f : factor) {
            const T sigmoid = 1 / (1 + e * f);
            row += sigmoid;
            slope += sigmoid * (1 - sigmoid);
          }
          // d score / d |error| = -slope; at d = 0 or error = 0 the gradient is 0 (as autograd's).
          const T scale = d > 0 && error != 0 ? (error > 0 ? -slope : slope) / (4 * d) : T(0);
          gx += scale * dx, gy += scale * dy, gz += scale * dz;
          g[3 * m] -= scale * dx, g[3 * m + 1] -= scale * dy, g[3 * m + 2] -= scale * dz;
        }
        score += static_cast<double>(row) / 4;
        g[3 * l] += gx, g[3 * l + 1] += gy, g[3 * l + 2] += gz;
      }
      out.score.mutable_data_ptr<T>()[s] = static_cast<T>(score);
    }
  });
  return out;
}

/// Any device: the same over blocks of rows, by ATen.
Sums sums_by_blocks(const at::Tensor& x, const at::Tensor& x_true, const at::Tensor& resolved,
                    const at::Tensor& is_nucleotide) {
  const c10::NoGradGuard no_grad;
  const int64_t atoms = x.size(1);
  const int64_t rows = std::max<int64_t>(1, kBlockPairs / (x.size(0) * atoms));
  Sums out{at::zeros({x.size(0)}, x.options()), at::zeros_like(x), at::zeros({}, x.options())};
  for (int64_t begin = 0; begin < atoms; begin += rows) {
    const int64_t end = std::min(atoms, begin + rows);
    const auto [pairs, truth] = pairs_of_rows(x_true, resolved, is_nucleotide, begin, end);
    const at::Tensor offset = x.slice(1, begin, end).unsqueeze(2) - x.unsqueeze(1);
    const at::Tensor d = offset.square().sum(-1).sqrt();
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
at::Tensor with_gradient(const at::Tensor& x, const Sums& sums) {
  const at::Tensor scale = 1 / (sums.pairs + kEps);
  return (1 - sums.score * scale) - ((x - x.detach()) * (sums.gradient * scale)).sum({1, 2});
}

}  // namespace

at::Tensor smooth_lddt_pairs(const at::Tensor& x_true, const at::Tensor& resolved,
                             const at::Tensor& is_nucleotide) {
  return pairs_of_rows(x_true, resolved, is_nucleotide, 0, x_true.size(0)).first;
}

at::Tensor smooth_lddt_loss(const at::Tensor& x, const at::Tensor& x_true,
                            const at::Tensor& resolved, const at::Tensor& is_nucleotide) {
  if (!x.is_cpu()) return smooth_lddt_loss_by_blocks(x, x_true, resolved, is_nucleotide);
  if (x.scalar_type() == at::kDouble)
    return with_gradient(
        x, sums_on_cpu<double>(x.detach(), x_true.to(at::kDouble), resolved, is_nucleotide));
  return with_gradient(
      x, sums_on_cpu<float>(x.detach(), x_true.to(at::kFloat), resolved, is_nucleotide));
}

at::Tensor smooth_lddt_loss_by_blocks(const at::Tensor& x, const at::Tensor& x_true,
                                      const at::Tensor& resolved, const at::Tensor& is_nucleotide) {
  return with_gradient(x, sums_by_blocks(x.detach(), x_true, resolved, is_nucleotide));
}

}  // namespace megafold
