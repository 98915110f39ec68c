// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "loss/confidence_losses.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <vector>

#include "loss/cross_entropy.h"

namespace megafold {
namespace {

constexpr int64_t kBlockPairs = 2'000'000;  // of all samples, whose offsets are held at once

at::Tensor distances(const at::Tensor& x, const at::Tensor& y, double epsilon) {
  return (x.unsqueeze(-2) - y.unsqueeze(-3)).square().sum(-1).add(epsilon).sqrt();
}

/// The zero vector has no direction: what divides it is 1e-8, or joins its square.
at::Tensor unit(const at::Tensor& x, double epsilon) {
  if (epsilon == 0) return x / x.norm(2, -1, /*keepdim=*/true).clamp_min(1e-8);
  return x / x.square().sum(-1, /*keepdim=*/true).add(epsilon).sqrt();
}

/// Algorithm 29: x [.., M, 3] in each frame (atoms a, b, c [.., F, 3]) -> [.., F, M, 3].
at::Tensor express_in_frame(const at::Tensor& x, const at::Tensor& a, const at::Tensor& b,
                            const at::Tensor& c, double epsilon) {
  const at::Tensor w1 = unit(a - b, epsilon), w2 = unit(c - b, epsilon);
  const at::Tensor e1 = unit(w1 + w2, epsilon), e2 = unit(w2 - w1, epsilon);
  const at::Tensor axes = at::stack({e1, e2, at::linalg_cross(e1, e2)}, -1);  // [.., F, 3, 3]
  return at::matmul(x.unsqueeze(-3) - b.unsqueeze(-2), axes);
}

/// f(begin, end) for blocks of rows, put together along `dim`. `columns`: pairs of a row.
template <class F>
at::Tensor in_blocks(int64_t rows, int64_t columns, int64_t dim, const F& f) {
  const c10::NoGradGuard no_grad;
  const int64_t step = std::max<int64_t>(1, kBlockPairs / std::max<int64_t>(1, columns));
  std::vector<at::Tensor> blocks;
  for (int64_t begin = 0; begin < rows; begin += step)
    blocks.push_back(f(begin, std::min(rows, begin + step)));
  return blocks.size() == 1 ? blocks.front() : at::cat(blocks, dim);
}

}  // namespace

at::Tensor plddt_loss(const at::Tensor& logits, const at::Tensor& x, const at::Tensor& x_true,
                      const at::Tensor& resolved, const at::Tensor& is_nucleotide,
                      const at::Tensor& partners, const at::Tensor& partner_mask,
                      const Conventions& conventions) {
  const double epsilon = conventions.distance_epsilon;
  const at::Tensor partner = x.index_select(-2, partners);
  const at::Tensor partner_true = x_true.index_select(0, partners);
  const at::Tensor radius =
      is_nucleotide.index_select(0, partners).gt(0).to(x_true.scalar_type()) * 15 + 15;
  const at::Tensor atoms = at::arange(x_true.size(0), partners.options());
  const int64_t bins = logits.size(-1);
  const auto bin_of = [&](const at::Tensor& lddt) {
    if (conventions.plddt_nearest_bin) {
      const double width = 1 / static_cast<double>(bins);
      const at::Tensor centers = at::arange(bins, x.options()) * width + width / 2;
      return (lddt.unsqueeze(-1) - centers).abs().argmin(-1);
    }
    // The edges are f32 numbers (as Protenix makes them): a score on an edge falls as its does.
    const at::Tensor edges =
        at::linspace(0, 1, bins + 1, x.options().dtype(at::kFloat)).to(x.scalar_type());
    return bin_between(lddt, edges);
  };
  const at::Tensor target =
      in_blocks(x_true.size(0), x.size(0) * partners.size(0), 1, [&](int64_t begin, int64_t end) {
        const at::Tensor truth = distances(x_true.slice(0, begin, end), partner_true, epsilon);
        at::Tensor counted = truth.lt(radius).logical_and(
            atoms.slice(0, begin, end).unsqueeze(1).ne(partners.unsqueeze(0)));
        if (partner_mask.defined()) counted = counted.logical_and(partner_mask.gt(0));
        const at::Tensor error =
            (distances(x.slice(1, begin, end), partner, epsilon) - truth).abs();
        at::Tensor share = at::zeros_like(error);
        for (const double limit : {0.5, 1.0, 2.0, 4.0}) share += error.lt(limit);
        return bin_of((share * counted).sum(-1) / 4 /
                      (counted.sum(-1).to(x.scalar_type()) + conventions.count_epsilon));
      });
  return ((cross_entropy(logits, target) * resolved).sum(-1) /
          (resolved.sum() + conventions.distance_epsilon))
      .mean();
}

at::Tensor pae_loss(const at::Tensor& logits, const at::Tensor& x, const at::Tensor& x_true,
                    const at::Tensor& resolved, const TokenFrames& frames,
                    const TokenFrames& frames_true, const at::Tensor& token_atom,
                    const at::Tensor& token_mask, const Conventions& conventions) {
  const at::Tensor known = resolved.gt(0);
  const at::Tensor frame_known = known.index_select(0, frames_true.atoms.flatten())
                                     .view({-1, 3})
                                     .all(1)
                                     .logical_and(frames_true.has_frame)
                                     .logical_and(frames.has_frame);
  at::Tensor atom_known = known.index_select(0, token_atom);
  if (token_mask.defined()) atom_known = atom_known.logical_and(token_mask);
  const at::Tensor pairs =
      frame_known.unsqueeze(1).logical_and(atom_known.unsqueeze(0)).to(logits.scalar_type());
  const int64_t bins = logits.size(-1), tokens = token_atom.size(0);
  const at::Tensor edges = at::linspace(0, 32, bins + 1, x.options()).square();
  const at::Tensor target =
      in_blocks(tokens, x.size(0) * tokens, 1, [&](int64_t begin, int64_t end) {
        const auto seen = [&](const at::Tensor& positions, const at::Tensor& of) {
          const auto atom = [&](int64_t i) {
            return positions.index_select(-2, of.slice(0, begin, end).select(1, i));
          };
          return express_in_frame(positions.index_select(-2, token_atom), atom(0), atom(1), atom(2),
                                  conventions.distance_epsilon);
        };
        const at::Tensor square =
            (seen(x, frames.atoms) - seen(x_true, frames_true.atoms)).square().sum(-1);
        return bin_between(square.add(conventions.distance_epsilon), edges);
      });
  return ((cross_entropy(logits, target) * pairs).sum({1, 2}) /
          (pairs.sum() + conventions.count_epsilon))
      .mean();
}

at::Tensor pde_loss(const at::Tensor& logits, const at::Tensor& x, const at::Tensor& x_true,
                    const at::Tensor& resolved, const at::Tensor& token_atom,
                    const at::Tensor& token_mask, const Conventions& conventions) {
  const double epsilon = conventions.distance_epsilon;
  const at::Tensor rep = x.index_select(-2, token_atom);
  const at::Tensor rep_true = x_true.index_select(0, token_atom);
  at::Tensor known = resolved.index_select(0, token_atom);
  if (token_mask.defined()) known = known * token_mask;
  const at::Tensor pairs = known.unsqueeze(1) * known.unsqueeze(0);
  const at::Tensor edges = at::linspace(0, 32, logits.size(-1) + 1, x.options());
  const int64_t tokens = token_atom.size(0);
  const at::Tensor target =
      in_blocks(tokens, x.size(0) * tokens, 1, [&](int64_t begin, int64_t end) {
        return bin_between((distances(rep.slice(1, begin, end), rep, epsilon) -
                            distances(rep_true.slice(0, begin, end), rep_true, epsilon))
                               .abs(),
                           edges);
      });
  return ((cross_entropy(logits, target) * pairs).sum({1, 2}) /
          (pairs.sum() + conventions.count_epsilon))
      .mean();
}

at::Tensor resolved_loss(const at::Tensor& logits, const at::Tensor& resolved,
                         const at::Tensor& atom_mask) {
  const at::Tensor target =
      resolved.gt(0).to(at::kLong).unsqueeze(0).expand({logits.size(0), resolved.size(0)});
  const at::Tensor loss = cross_entropy(logits, target);
  if (!atom_mask.defined()) return loss.mean();
  return ((loss * atom_mask).sum(-1) / atom_mask.sum()).mean();
}

}  // namespace megafold
