// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/atom_attention.h"

#include "model/atom_windows.h"

namespace megafold {
namespace {

DiffusionTransformer atom_transformer(const Scope& scope, const Conventions& conventions,
                                      const AtomSizes& s) {
  return {scope / "atom_transformer",
          conventions,
          ConditionedAttention::atoms,
          s.blocks,
          s.c_atom,
          s.c_atom,
          s.c_atompair,
          s.heads};
}

}  // namespace

AtomAttentionEncoder::Coordinates::Coordinates(const Scope& scope, const AtomSizes& sizes,
                                               int64_t c_s, int64_t c_z)
    : norm_s(scope / "norm_s", c_s, LayerNorm::scale_only),
      norm_z(scope / "norm_z", c_z, LayerNorm::scale_only),
      single(scope / "single", c_s, sizes.c_atom, kZeros),
      pair(scope / "pair", c_z, sizes.c_atompair, kZeros),
      position(scope / "position", 3, sizes.c_atom) {}

AtomAttentionEncoder::AtomAttentionEncoder(const Scope& scope, const Conventions& conventions,
                                           const AtomSizes& sizes)
    : embed_single(scope / "embed_single", 5 + conventions.num_elements + 4 * 64, sizes.c_atom),
      embed_pair(scope / "embed_pair", 5, sizes.c_atompair),
      pair_from_query(scope / "pair_from_query", sizes.c_atom, sizes.c_atompair),
      pair_from_key(scope / "pair_from_key", sizes.c_atom, sizes.c_atompair),
      pair_mlp{Linear(scope / "pair_mlp" / 0, sizes.c_atompair, sizes.c_atompair, kHe),
               Linear(scope / "pair_mlp" / 1, sizes.c_atompair, sizes.c_atompair, kHe),
               Linear(scope / "pair_mlp" / 2, sizes.c_atompair, sizes.c_atompair, kZeros)},
      transformer(atom_transformer(scope, conventions, sizes)),
      to_token(scope / "to_token", sizes.c_atom, sizes.c_token) {}

AtomAttentionEncoder::AtomAttentionEncoder(const Scope& scope, const Conventions& conventions,
                                           const AtomSizes& sizes, int64_t c_s, int64_t c_z)
    : AtomAttentionEncoder(scope, conventions, sizes) {
  coordinates.emplace(scope, sizes, c_s, c_z);
}

AtomConditioning AtomAttentionEncoder::condition(const AtomFeatures& atoms,
                                                 const at::Tensor& s_trunk,
                                                 const at::Tensor& z) const {
  at::Tensor c = embed_single(atoms.single) * atoms.ref_mask;
  at::Tensor p = embed_pair(atoms.pair);
  if (coordinates) {
    const Coordinates& trunk = *coordinates;
    c = c + atoms.to_atoms(trunk.single(trunk.norm_s(s_trunk)));
    p = p + atoms.to_atom_pairs(trunk.pair(trunk.norm_z(z)));
  }
  const at::Tensor active = c.relu();
  p = p + query_windows(pair_from_query(active)).unsqueeze(2) +
      atoms.keys(pair_from_key(active)).unsqueeze(1);
  at::Tensor update = p;
  for (const Linear& layer : pair_mlp) update = layer(update.relu());
  p = p + update;
  if (atoms.shifted) p = p * atoms.real_pairs;
  return {c.unsqueeze(0), p, transformer.pair_biases(p)};
}

std::pair<at::Tensor, at::Tensor> AtomAttentionEncoder::operator()(
    const AtomFeatures& atoms, const AtomConditioning& condition, const at::Tensor& r) const {
  at::Tensor q = condition.c;
  if (r.defined()) q = q + coordinates->position(r);
  q = transformer(q, condition.c, condition.biases, atoms.mask_of(q.size(0)));
  return {atoms.to_tokens(to_token(q).relu()), q};
}

AtomAttentionDecoder::AtomAttentionDecoder(const Scope& scope, const Conventions& conventions,
                                           const AtomSizes& sizes)
    : from_token(scope / "from_token", sizes.c_token, sizes.c_atom),
      transformer(atom_transformer(scope, conventions, sizes)),
      norm(scope / "norm", sizes.c_atom, LayerNorm::scale_only),
      out(scope / "out", sizes.c_atom, 3, kZeros) {}

at::Tensor AtomAttentionDecoder::operator()(const AtomFeatures& atoms, const at::Tensor& a,
                                            const at::Tensor& q, const at::Tensor& c,
                                            const std::vector<at::Tensor>& biases) const {
  const at::Tensor x = atoms.to_atoms(from_token(a)) + q;
  return out(norm(transformer(x, c, biases, atoms.mask_of(x.size(0)))));
}

}  // namespace megafold
