// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/confidence_head.h"

#include <cmath>

namespace megafold {
namespace {

constexpr int64_t kDistanceBins = 39;  // 3.25 .. 50.75 in steps of 1.25, the last open
constexpr int64_t kPlddtBins = 50;

}  // namespace

ConfidenceHead::ConfidenceHead(const Scope& scope, const Conventions& conventions,
                               const ConfidenceSizes& s)
    : norms_single(conventions.confidence_norms_single),
      sums_pairs(conventions.pde_sums_pairs),
      norm_s(norms_single ? LayerNorm(scope / "norm_s", s.c_s) : LayerNorm()),
      pair_from_column(scope / "pair_from_column", s.c_s_inputs, s.pair.c_z),
      pair_from_row(scope / "pair_from_row", s.c_s_inputs, s.pair.c_z),
      distance_bin(scope / "distance_bin", kDistanceBins, s.pair.c_z),
      distance(norms_single ? Linear(scope / "distance", 1, s.pair.c_z) : Linear()),
      pairformer(scope / "pairformer", conventions, s.pair, s.c_s, s.single_heads, s.blocks,
                 s.single_factor),
      norm_pae(scope / "norm_pae", s.pair.c_z),
      norm_pde(scope / "norm_pde", s.pair.c_z),
      norm_plddt(scope / "norm_plddt", s.c_s),
      norm_resolved(scope / "norm_resolved", s.c_s),
      pae(scope / "pae", s.pair.c_z, s.pae_bins, kZeros),
      pde(scope / "pde", s.pair.c_z, s.pde_bins, kZeros),
      plddt(scope.parameter("plddt", {s.max_atoms_per_token, s.c_s, kPlddtBins}, {kZeros})),
      resolved(scope.parameter("resolved", {s.max_atoms_per_token, s.c_s, 2}, {kZeros})),
      lower(scope.buffer("lower_bins", {kDistanceBins}, kZeros)),
      upper(scope.buffer("upper_bins", {kDistanceBins}, kZeros)) {
  lower.copy_(at::arange(kDistanceBins, lower.options()) * 1.25 + 3.25);
  upper.copy_(lower + 1.25);
  upper[kDistanceBins - 1].fill_(norms_single ? 1e6 : std::sqrt(1e9));
}

ConfidenceLogits ConfidenceHead::operator()(const at::Tensor& s_inputs, const at::Tensor& s_trunk,
                                            const at::Tensor& z_trunk, const at::Tensor& x_rep,
                                            const at::Tensor& atom_to_token,
                                            const at::Tensor& atom_in_token,
                                            const at::Tensor& token_mask,
                                            const at::Tensor& pair_mask, Dropout& drop) const {
  const at::Tensor inputs = s_inputs.detach(), x = x_rep.detach();
  const at::Tensor square = (x.unsqueeze(1) - x.unsqueeze(0)).square().sum(-1, /*keepdim=*/true);
  const at::Tensor d = norms_single ? square.sqrt() : square;
  const at::Tensor from = norms_single ? lower : lower.square(),
                   to = norms_single ? upper : upper.square();
  const at::Tensor bins = d.gt(from).logical_and(d.lt(to)).to(d.scalar_type());
  at::Tensor z = z_trunk.detach() + pair_from_column(inputs).unsqueeze(0) +
                 pair_from_row(inputs).unsqueeze(1) + distance_bin(bins);
  if (norms_single) z = z + distance(d);
  at::Tensor s = s_trunk.detach();
  if (norms_single) s = norm_s(s.clamp(-512, 512));
  pairformer(s, z, token_mask, pair_mask, drop);
  // [N, c] x [c, (atoms in a token) bins], then each atom takes its own row.
  const auto per_atom = [&](const at::Tensor& x_NC, const at::Tensor& weight) {
    const at::Tensor all = at::mm(x_NC, weight.permute({1, 0, 2}).reshape({weight.size(1), -1}))
                               .view({-1, weight.size(2)});
    return all.index_select(0, atom_to_token * weight.size(0) + atom_in_token);
  };
  const auto both = [](const at::Tensor& t) { return t + t.transpose(0, 1); };
  return {per_atom(norm_plddt(s), plddt), pae(norm_pae(z)),
          sums_pairs ? pde(norm_pde(both(z))) : both(pde(norm_pde(z))),
          per_atom(norm_resolved(s), resolved)};
}

}  // namespace megafold
