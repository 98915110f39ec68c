// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "loss/bond_loss.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace megafold {

at::Tensor bonded_atoms(const Batch& batch, const Conventions& conventions) {
  const at::Tensor ligand = batch.is_ligand.to(at::kCPU).contiguous();
  const at::Tensor bonds = batch.token_bonds.gt(0).triu(1).nonzero().to(at::kCPU).contiguous();
  const at::Tensor token = batch.atom_to_token.to(at::kCPU, at::kLong).contiguous();
  const at::Tensor known = (batch.atom_resolved_mask * batch.atom_mask).to(at::kCPU, at::kFloat);
  const at::Tensor place = batch.atom_positions.to(at::kCPU, at::kFloat).contiguous();
  const auto* const t = token.const_data_ptr<int64_t>();
  const float* const x = place.const_data_ptr<float>();
  const float* const resolved = known.const_data_ptr<float>();
  const auto atoms_of = [&](int64_t of) {
    std::vector<int64_t> out;
    for (auto a = std::lower_bound(t, t + token.size(0), of) - t; a < token.size(0) && t[a] == of;
         ++a)
      if (resolved[a] > 0) out.push_back(a);
    return out;
  };
  std::vector<int64_t> pairs;
  for (int64_t b = 0; b < bonds.size(0); ++b) {
    const int64_t i = bonds.const_data_ptr<int64_t>()[2 * b];
    const int64_t j = bonds.const_data_ptr<int64_t>()[2 * b + 1];
    if (ligand.const_data_ptr<bool>()[i] == ligand.const_data_ptr<bool>()[j]) continue;
    double nearest = std::numeric_limits<double>::infinity();
    int64_t left = -1, right = -1;
    for (const int64_t l : atoms_of(i)) {
      for (const int64_t m : atoms_of(j)) {
        if (!conventions.bond_joins_atoms) {
          pairs.insert(pairs.end(), {l, m});
          continue;
        }
        double square = 0;
        for (int k = 0; k < 3; ++k) {
          const double d = double{x[3 * l + k]} - double{x[3 * m + k]};
          square += d * d;
        }
        if (square < nearest) nearest = square, left = l, right = m;
      }
    }
    if (left >= 0) pairs.insert(pairs.end(), {left, right});
  }
  return at::tensor(pairs, at::kLong).view({-1, 2}).to(batch.token_bonds.device());
}

at::Tensor bond_loss(const at::Tensor& x, const at::Tensor& x_true, const at::Tensor& bonds,
                     double epsilon) {
  if (bonds.size(0) == 0) return x.sum({1, 2}) * 0;
  const auto lengths = [&](const at::Tensor& positions) {
    const at::Tensor between = positions.index_select(-2, bonds.select(1, 0)) -
                               positions.index_select(-2, bonds.select(1, 1));
    return epsilon == 0 ? between.norm(2, -1) : between.square().sum(-1).add(epsilon).sqrt();
  };
  const double count = static_cast<double>(bonds.size(0)) + epsilon;
  return (lengths(x) - lengths(x_true)).square().sum(-1) / count;
}

}  // namespace megafold
