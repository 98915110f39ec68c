// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/input_embedder.h"

namespace megafold {

at::Tensor InputEmbedder::operator()(const AtomFeatures& atoms, const at::Tensor& restype,
                                     const at::Tensor& profile,
                                     const at::Tensor& deletion_mean) const {
  const at::Tensor a = encoder(atoms, encoder.condition(atoms, {}, {}), {}).first.squeeze(0);
  return at::cat({a, restype, profile, deletion_mean.unsqueeze(-1)}, -1);
}

at::Tensor relative_positions(const at::Tensor& asym_id, const at::Tensor& residue_index,
                              const at::Tensor& entity_id, const at::Tensor& sym_id,
                              const at::Tensor& token_index, at::ScalarType dtype) {
  constexpr int64_t kResidues = 32, kChains = 2;  // r_max, s_max
  const auto difference = [](const at::Tensor& x) { return x.unsqueeze(1) - x.unsqueeze(0); };
  const at::Tensor same_chain = difference(asym_id).eq(0);
  const at::Tensor same_residue = same_chain.logical_and(difference(residue_index).eq(0));
  const at::Tensor same_entity = difference(entity_id).eq(0);
  const auto clipped = [&](const at::Tensor& x, int64_t limit, const at::Tensor& where) {
    const at::Tensor bin = (difference(x) + limit).clamp(0, 2 * limit);
    return at::one_hot(bin.masked_fill(where.logical_not(), 2 * limit + 1), 2 * limit + 2);
  };
  return at::cat({clipped(residue_index, kResidues, same_chain),
                  clipped(token_index, kResidues, same_residue),
                  same_entity.to(at::kLong).unsqueeze(-1), clipped(sym_id, kChains, same_entity)},
                 -1)
      .to(dtype);
}

}  // namespace megafold
