// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "loss/smooth_lddt.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "ops/smooth_lddt.h"

namespace megafold {
namespace {

constexpr double kRadius = 15, kNucleotideRadius = 30;
constexpr double kThresholds[] = {0.5, 1, 2, 4};
constexpr double kEps = 1e-10;
constexpr int64_t kBlockPairs = 8'000'000;  // pairs of all samples that are held at once

/// [A], Angstrom: how far the pairs of an atom reach; 0 where it is not resolved.
at::Tensor pair_radius(const at::Tensor& resolved, const at::Tensor& is_nucleotide,
                       at::ScalarType dtype) {
  const at::Tensor reach = is_nucleotide.gt(0).to(dtype) * (kNucleotideRadius - kRadius) + kRadius;
  return reach * resolved.gt(0);
}

/// Rows begin .. end of smooth_lddt_pairs, and the true distances.
std::pair<at::Tensor, at::Tensor> pairs_of_rows(const at::Tensor& x_true, const at::Tensor& radius,
                                                int64_t begin, int64_t end, double epsilon) {
  const at::Tensor d = (x_true.slice(0, begin, end).unsqueeze(1) - x_true.unsqueeze(0))
                           .square()
                           .sum(-1)
                           .add(epsilon)
                           .sqrt();
  at::Tensor pairs =
      d.lt(radius.slice(0, begin, end).unsqueeze(1)).logical_and(radius.gt(0).unsqueeze(0));
  pairs.diagonal(begin).fill_(false);
  return {pairs, d};
}

/// What ops::smooth_lddt_sums gives, by ATen alone, over blocks of rows.
ops::SmoothLddtSums sums_by_blocks(const at::Tensor& x, const at::Tensor& x_true,
                                   const at::Tensor& radius, double epsilon) {
  const c10::NoGradGuard no_grad;
  const int64_t atoms = x.size(1);
  const int64_t rows = std::max<int64_t>(1, kBlockPairs / (x.size(0) * atoms));
  ops::SmoothLddtSums out{at::zeros({x.size(0)}, x.options()), at::zeros_like(x),
                          at::zeros({}, x.options())};
  for (int64_t begin = 0; begin < atoms; begin += rows) {
    const int64_t end = std::min(atoms, begin + rows);
    const auto [pairs, truth] = pairs_of_rows(x_true, radius, begin, end, epsilon);
    const at::Tensor offset = x.slice(1, begin, end).unsqueeze(2) - x.unsqueeze(1);
    const at::Tensor d = offset.square().sum(-1).add(epsilon).sqrt();
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
at::Tensor with_gradient(const at::Tensor& x, const ops::SmoothLddtSums& sums,
                         const at::Tensor& resolved, const SmoothLddtEpsilons& epsilons) {
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
  return pairs_of_rows(x_true, pair_radius(resolved, is_nucleotide, x_true.scalar_type()), 0,
                       x_true.size(0), 0)
      .first;
}

at::Tensor smooth_lddt_loss(const at::Tensor& x, const at::Tensor& x_true,
                            const at::Tensor& resolved, const at::Tensor& is_nucleotide,
                            const SmoothLddtEpsilons& epsilons) {
  if (!ops::smooth_lddt_has_kernel(x))
    return smooth_lddt_loss_by_blocks(x, x_true, resolved, is_nucleotide, epsilons);
  const at::Tensor radius = pair_radius(resolved, is_nucleotide, x.scalar_type());
  return with_gradient(
      x, ops::smooth_lddt_sums(x, x_true.to(x.scalar_type()), radius, epsilons.distance), resolved,
      epsilons);
}

at::Tensor smooth_lddt_loss_by_blocks(const at::Tensor& x, const at::Tensor& x_true,
                                      const at::Tensor& resolved, const at::Tensor& is_nucleotide,
                                      const SmoothLddtEpsilons& epsilons) {
  const at::Tensor radius = pair_radius(resolved, is_nucleotide, x_true.scalar_type());
  return with_gradient(x, sums_by_blocks(x.detach(), x_true, radius, epsilons.distance), resolved,
                       epsilons);
}

}  // namespace megafold
