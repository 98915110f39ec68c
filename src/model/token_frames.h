// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the confidence head and its losses read of a batch's atoms: frames of tokens (SI 4.3.2;
// af3-facts 2, rules 6 and 7) and an atom's place within its token.
#pragma once

#include <ATen/ATen.h>

#include "batch/batch.h"
#include "model/conventions.h"

namespace megafold {

struct TokenFrames {
  at::Tensor atoms;      // i64 [N, 3]: a, b, c; b is the origin. 0 where there is no frame
  at::Tensor has_frame;  // bool [N]
};

/// Residues: (N, CA, C) and (C1', C3', C4'). Atomized tokens: b is the atom, a and c its nearest
/// and second nearest within the reference conformer; none with fewer than three atoms or within 25
/// degrees of a line. On the CPU; whether atoms are resolved is the caller's to ask. Where the
/// conventions take frames from the structure, nucleotides have (C3', C1', C4') and atomized tokens
/// none as yet: structure_frames() adds them.
[[nodiscard]] TokenFrames token_frames(const Batch& batch, const Conventions& conventions = {});

/// The same for one structure x [A, 3] of which `known` [A] tells the atoms that are there: an
/// atomized token's a and c are the nearest two such atoms of its chain (OpenFold 3's
/// core/utils/atomize_utils.py), and no frame has an atom that is not. `residues` from
/// token_frames; is_atomized and asym_id [N], atom_to_token [A]. On the CPU; looks at values on the
/// host.
[[nodiscard]] TokenFrames structure_frames(const TokenFrames& residues,
                                           const at::Tensor& is_atomized, const at::Tensor& asym_id,
                                           const at::Tensor& atom_to_token, const at::Tensor& x,
                                           const at::Tensor& known);

/// What the conventions take for the frames of the structure x [A, 3] of which `known` [A] tells
/// the atoms that are there: token_frames(), or structure_frames() of it. On the CPU.
[[nodiscard]] TokenFrames frames_of(const Batch& batch, const Conventions& conventions,
                                    const at::Tensor& x, const at::Tensor& known);

/// An atom's place in its token, i64 [A], from atom_to_token (ascending).
[[nodiscard]] at::Tensor atom_in_token(const at::Tensor& atom_to_token, int64_t num_tokens);

/// The atom that stands for a token in distances: the representative one, the centre where there is
/// none (N and DN), i64 [N].
[[nodiscard]] at::Tensor distance_atoms(const Batch& batch);

}  // namespace megafold
