// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/atom_features.h"

#include "base/errors.h"
#include "model/atom_windows.h"
#include "model/primitives.h"

namespace megafold {

at::Tensor AtomFeatures::to_tokens(const at::Tensor& x) const {
  auto shape = x.sizes().vec();
  shape[shape.size() - 2] = num_tokens;
  return at::zeros(shape, x.options()).index_add(-2, token, x * mean_weight);
}

at::Tensor AtomFeatures::to_atom_pairs(const at::Tensor& x) const {
  // embedding() and not index_select(): its backward adds rows in parallel.
  return at::embedding(x.reshape({num_tokens * num_tokens, x.size(-1)}), pair_tokens)
      .view({-1, kWindowQueries, kWindowKeys, x.size(-1)});
}

AtomFeatures atom_features(const AtomInputs& in, const Conventions& conventions,
                           at::ScalarType dtype) {
  constexpr const char* kName = "atom features";
  expect_shape(kName, "ref_pos", in.ref_pos, {-1, 3});
  const int64_t atoms = in.ref_pos.size(0);
  if (atoms == 0) fail<BadInput>("{}: the sample has no atoms", kName);
  expect_shape(kName, "ref_charge", in.ref_charge, {atoms});
  expect_shape(kName, "ref_mask", in.ref_mask, {atoms});
  expect_shape(kName, "ref_element", in.ref_element, {atoms});
  expect_shape(kName, "ref_atom_name_chars", in.ref_atom_name_chars, {atoms, 4});
  expect_shape(kName, "ref_space_uid", in.ref_space_uid, {atoms});
  expect_shape(kName, "atom_to_token", in.atom_to_token, {atoms});
  AtomFeatures out;
  out.num_tokens = in.num_tokens;
  out.token = in.atom_to_token;
  const at::Tensor pos = in.ref_pos.to(dtype), mask = in.ref_mask.to(dtype).unsqueeze(-1);
  const auto one_hot = [&](const at::Tensor& index, int64_t classes) {
    return at::one_hot(index.clamp(0, classes - 1), classes).to(dtype);
  };
  out.single = at::cat({pos, at::asinh(in.ref_charge.to(dtype)).unsqueeze(-1), mask,
                        one_hot(in.ref_element, conventions.num_elements),
                        one_hot(in.ref_atom_name_chars, 64).flatten(1)},
                       -1);
  out.ref_mask = conventions.ref_mask_multiplies ? mask : at::ones_like(mask);

  if (in.atom_mask.defined()) {
    expect_shape(kName, "atom_mask", in.atom_mask, {atoms});
    out.mask = in.atom_mask.gt(0).unsqueeze(0);
  }
  const at::Tensor real = out.mask.defined() ? out.mask.squeeze(0) : out.mask;
  if (!conventions.atom_windows_padded) {
    out.shifted.emplace(atoms, real, pos.device());
    const at::Tensor ones = real.defined() ? real.to(dtype) : at::ones({atoms}, pos.options());
    out.real_pairs = (query_windows(ones).unsqueeze(2) * out.keys(ones).unsqueeze(1)).unsqueeze(-1);
  }
  const at::Tensor inside =
      out.shifted ? out.real_pairs
                  : key_windows(at::ones({atoms}, pos.options())).view({-1, 1, kWindowKeys, 1});
  const at::Tensor place = pos.detach();  // a feature of the pair, not a path for gradients
  const at::Tensor offset = query_windows(place).unsqueeze(2) - out.keys(place).unsqueeze(1);
  at::Tensor same = query_windows(in.ref_space_uid)
                        .unsqueeze(2)
                        .eq(out.keys(in.ref_space_uid).unsqueeze(1))
                        .to(dtype)
                        .unsqueeze(-1);
  if (out.shifted) same = same * inside;
  const at::Tensor square = offset.square().sum(-1, /*keepdim=*/true);
  out.pair = at::cat({offset * same * inside, same / (1 + square), same}, -1);
  out.pair_tokens =
      (query_windows(out.token).unsqueeze(2) * in.num_tokens + out.keys(out.token).unsqueeze(1))
          .flatten();

  at::Tensor weight = at::ones({atoms}, pos.options());
  if (in.atom_mask.defined()) weight = in.atom_mask.to(dtype);
  const at::Tensor count =
      at::zeros({in.num_tokens}, pos.options()).index_add(0, out.token, weight).clamp_min(1);
  out.mean_weight =
      (weight / (count + conventions.token_mean_epsilon).index_select(0, out.token)).unsqueeze(-1);
  return out;
}

}  // namespace megafold
