// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the atom encoders read (Algorithm 5, lines 1 to 6), made once per batch, without gradients.
#pragma once

#include <ATen/ATen.h>

#include <optional>

#include "model/atom_windows.h"
#include "model/conventions.h"

namespace megafold {

/// The atoms of a sample as they come from batch/ (or from a golden case).
struct AtomInputs {
  at::Tensor ref_pos, ref_charge, ref_mask;  // [A, 3], [A], [A]
  at::Tensor ref_element;                    // i64 [A], class of the one-hot
  at::Tensor ref_atom_name_chars;            // i64 [A, 4]
  at::Tensor ref_space_uid, atom_to_token;   // i64 [A]
  at::Tensor atom_mask;                      // [A], or undefined: every atom is real
  int64_t num_tokens = 0;
};

struct AtomFeatures {
  /// [A, 389]: ref_pos 3, arcsinh(charge) 1, ref_mask 1, element 128 (OpenFold 3: 119), name 4
  /// x 64.
  at::Tensor single;
  at::Tensor ref_mask;  // [A, 1]
  /// [W, 32, 128, 5]: the offset in Angstrom 3 (0 between spaces), 1 / (1 + d^2) (0 between
  /// spaces), same reference space 1.
  at::Tensor pair;
  at::Tensor token;        // i64 [A]
  at::Tensor pair_tokens;  // i64 [W * 32 * 128]: token of the query * N + token of the key
  at::Tensor mean_weight;  // [A, 1]: 1 / number of real atoms of its token, 0 where padded
  at::Tensor mask;         // bool [1, A], or undefined: every atom is real
  int64_t num_tokens = 0;
  // Of windows that shift inside (conventions.h): their keys, and the pairs of real atoms among
  // them, [W, 32, 128, 1].
  std::optional<ShiftedKeys> shifted;
  at::Tensor real_pairs;

  [[nodiscard]] at::Tensor keys(const at::Tensor& x) const {
    return shifted ? (*shifted)(x) : key_windows(x);
  }

  /// x_N.. -> x_A.. along dimension -2: each atom gets its token's value.
  [[nodiscard]] at::Tensor to_atoms(const at::Tensor& x) const { return x.index_select(-2, token); }
  /// The mean over each token's real atoms, along dimension -2.
  [[nodiscard]] at::Tensor to_tokens(const at::Tensor& x) const;
  /// x_NNC of pairs of tokens -> [W, 32, 128, C] of pairs of atoms.
  [[nodiscard]] at::Tensor to_atom_pairs(const at::Tensor& x) const;
  /// mask for S samples, bool [S, A], or undefined.
  [[nodiscard]] at::Tensor mask_of(int64_t samples) const {
    return mask.defined() ? mask.expand({samples, mask.size(1)}) : mask;
  }
};

/// Floats in `dtype`. Throws BadInput for arrays that do not fit each other.
AtomFeatures atom_features(const AtomInputs& inputs, const Conventions& conventions,
                           at::ScalarType dtype);

}  // namespace megafold
