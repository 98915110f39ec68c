// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "loss/confidence_losses.h"

#include "loss/cross_entropy.h"

namespace megafold {
namespace {

constexpr double kEps = 1e-6;

at::Tensor distances(const at::Tensor& x, const at::Tensor& y) {
  return (x.unsqueeze(-2) - y.unsqueeze(-3)).square().sum(-1).sqrt();
}

at::Tensor unit(const at::Tensor& x) {
  return x / x.norm(2, -1, /*keepdim=*/true).clamp_min(1e-8);
}

/// Algorithm 29: x [.., M, 3] in each frame (atoms a, b, c [.., F, 3]) -> [.., F, M, 3].
at::Tensor express_in_frame(const at::Tensor& x, const at::Tensor& a, const at::Tensor& b,
                            const at::Tensor& c) {
  const at::Tensor w1 = unit(a - b), w2 = unit(c - b);
  const at::Tensor e1 = unit(w1 + w2), e2 = unit(w2 - w1);
  const at::Tensor axes = at::stack({e1, e2, at::linalg_cross(e1, e2)}, -1);  // [.., F, 3, 3]
  return at::matmul(x.unsqueeze(-3) - b.unsqueeze(-2), axes);
}

}  // namespace

at::Tensor plddt_loss(const at::Tensor& logits, const at::Tensor& x, const at::Tensor& x_true,
                      const at::Tensor& resolved, const at::Tensor& is_nucleotide,
                      const at::Tensor& partners, const at::Tensor& partner_mask) {
  const at::Tensor d = distances(x, x.index_select(-2, partners));
  const at::Tensor truth = distances(x_true, x_true.index_select(0, partners));
  const at::Tensor radius =
      is_nucleotide.index_select(0, partners).gt(0).to(x_true.scalar_type()) * 15 + 15;
  const at::Tensor atoms = at::arange(x_true.size(0), partners.options());
  at::Tensor counted = truth.lt(radius).logical_and(atoms.unsqueeze(1).ne(partners.unsqueeze(0)));
  if (partner_mask.defined()) counted = counted.logical_and(partner_mask.gt(0));
  const at::Tensor error = (d - truth).abs();
  at::Tensor share = at::zeros_like(error);
  for (const double limit : {0.5, 1.0, 2.0, 4.0}) share = share + error.lt(limit);
  const at::Tensor lddt =
      (share * counted).sum(-1) / 4 / (counted.sum(-1).to(x.scalar_type()) + kEps);
  const int64_t bins = logits.size(-1);
  // The edges are f32 numbers (as both peers make them): a score on an edge falls as theirs does.
  const at::Tensor edges =
      at::linspace(0, 1, bins + 1, x.options().dtype(at::kFloat)).to(x.scalar_type());
  const at::Tensor loss = cross_entropy(logits, bin_between(lddt, edges));
  return ((loss * resolved).sum(-1) / resolved.sum()).mean();
}

at::Tensor pae_loss(const at::Tensor& logits, const at::Tensor& x, const at::Tensor& x_true,
                    const at::Tensor& resolved, const at::Tensor& frames,
                    const at::Tensor& has_frame, const at::Tensor& token_atom,
                    const at::Tensor& token_mask) {
  const auto atom = [&](const at::Tensor& positions, int64_t i) {
    return positions.index_select(-2, frames.select(1, i));
  };
  const auto seen = [&](const at::Tensor& positions) {
    return express_in_frame(positions.index_select(-2, token_atom), atom(positions, 0),
                            atom(positions, 1), atom(positions, 2));
  };
  const at::Tensor known = resolved.gt(0);
  const at::Tensor frame_known =
      known.index_select(0, frames.flatten()).view({-1, 3}).all(1).logical_and(has_frame);
  at::Tensor atom_known = known.index_select(0, token_atom);
  if (token_mask.defined()) atom_known = atom_known.logical_and(token_mask);
  const at::Tensor pairs =
      frame_known.unsqueeze(1).logical_and(atom_known.unsqueeze(0)).to(logits.scalar_type());
  const at::Tensor square = (seen(x) - seen(x_true)).square().sum(-1);
  const int64_t bins = logits.size(-1);
  const at::Tensor edges = at::linspace(0, 32, bins + 1, x.options()).square();
  const at::Tensor loss = cross_entropy(logits, bin_between(square, edges));
  return ((loss * pairs).sum({1, 2}) / (pairs.sum() + kEps)).mean();
}

at::Tensor pde_loss(const at::Tensor& logits, const at::Tensor& x, const at::Tensor& x_true,
                    const at::Tensor& resolved, const at::Tensor& token_atom,
                    const at::Tensor& token_mask) {
  const at::Tensor rep = x.index_select(-2, token_atom);
  const at::Tensor rep_true = x_true.index_select(0, token_atom);
  at::Tensor known = resolved.index_select(0, token_atom);
  if (token_mask.defined()) known = known * token_mask;
  const at::Tensor pairs = known.unsqueeze(1) * known.unsqueeze(0);
  const at::Tensor error = (distances(rep, rep) - distances(rep_true, rep_true)).abs();
  const at::Tensor edges = at::linspace(0, 32, logits.size(-1) + 1, x.options());
  const at::Tensor loss = cross_entropy(logits, bin_between(error, edges));
  return ((loss * pairs).sum({1, 2}) / (pairs.sum() + kEps)).mean();
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
