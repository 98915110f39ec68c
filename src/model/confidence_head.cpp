// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/confidence_head.h"

namespace megafold {
namespace {

constexpr int64_t kDistanceBins = 39;  // 3.25 .. 50.75 in steps of 1.25, the last open
constexpr int64_t kPlddtBins = 50;

}  // namespace

ConfidenceHead::ConfidenceHead(const Scope& scope, const Conventions& conventions,
                               const ConfidenceSizes& s)
    : norm_s(scope / "norm_s", s.c_s),
      pair_from_column(scope / "pair_from_column", s.c_s_inputs, s.pair.c_z),
      pair_from_row(scope / "pair_from_row", s.c_s_inputs, s.pair.c_z),
      distance_bin(scope / "distance_bin", kDistanceBins, s.pair.c_z),
      distance(scope / "distance", 1, s.pair.c_z),
      pairformer(scope / "pairformer", conventions, s.pair, s.c_s, s.single_heads, s.blocks),
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
  upper[kDistanceBins - 1].fill_(1e6);
}

ConfidenceLogits ConfidenceHead::operator()(const at::Tensor& s_inputs, const at::Tensor& s_trunk,
                                            const at::Tensor& z_trunk, const at::Tensor& x_rep,
                                            const at::Tensor& atom_to_token,
                                            const at::Tensor& atom_in_token,
                                            const at::Tensor& token_mask,
                                            const at::Tensor& pair_mask, Dropout& drop) const {
  const at::Tensor inputs = s_inputs.detach(), x = x_rep.detach();
  const at::Tensor d = (x.unsqueeze(1) - x.unsqueeze(0)).square().sum(-1, /*keepdim=*/true).sqrt();
  const at::Tensor bins = d.gt(lower).logical_and(d.lt(upper)).to(d.scalar_type());
  at::Tensor z = z_trunk.detach() + pair_from_column(inputs).unsqueeze(0) +
                 pair_from_row(inputs).unsqueeze(1) + distance_bin(bins) + distance(d);
  at::Tensor s = norm_s(s_trunk.detach().clamp(-512, 512));
  pairformer(s, z, token_mask, pair_mask, drop);
  // [N, c] x [c, (atoms in a token) bins], then each atom takes its own row.
  const auto per_atom = [&](const at::Tensor& x_NC, const at::Tensor& weight) {
    const at::Tensor all = at::mm(x_NC, weight.permute({1, 0, 2}).reshape({weight.size(1), -1}))
                               .view({-1, weight.size(2)});
    return all.index_select(0, atom_to_token * weight.size(0) + atom_in_token);
  };
  return {per_atom(norm_plddt(s), plddt), pae(norm_pae(z)), pde(norm_pde(z + z.transpose(0, 1))),
          per_atom(norm_resolved(s), resolved)};
}

}  // namespace megafold
