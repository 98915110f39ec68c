// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Losses of the confidence head (SI 4.3; af3-facts 10.3), mean cross-entropies over the samples'
// predicted structures x [S, A, 3]. Truth x_true [A, 3], resolved [A]; Angstrom throughout. Targets
// have no gradient and are made in blocks of rows: of atoms x atoms nothing is held.
#pragma once

#include <ATen/ATen.h>

#include "model/conventions.h"
#include "model/token_frames.h"

namespace megafold {

/// pLDDT: logits [S, A, 50] against the share of 0.5, 1, 2, 4 A that |d_lm - d_gt_lm| stays under,
/// over partner atoms m (indices i64 [M]; those of partner_mask [M], undefined: all) with d_gt < 30
/// A where m is of a nucleic acid, else 15 A; mean over resolved l. is_nucleotide [A].
at::Tensor plddt_loss(const at::Tensor& logits, const at::Tensor& x, const at::Tensor& x_true,
                      const at::Tensor& resolved, const at::Tensor& is_nucleotide,
                      const at::Tensor& partners, const at::Tensor& partner_mask = {},
                      const Conventions& conventions = {});

/// PAE (algorithms 29 and 30): logits [S, N, N, 64] against the error of token j's atom seen from
/// token i's frame, 64 bins over 0 .. 32 A. A pair counts where both structures have the frame and
/// the truth's atoms of it and of j are resolved. token_atom i64 [N]; token_mask bool [N],
/// undefined: every token is real.
at::Tensor pae_loss(const at::Tensor& logits, const at::Tensor& x, const at::Tensor& x_true,
                    const at::Tensor& resolved, const TokenFrames& frames,
                    const TokenFrames& frames_true, const at::Tensor& token_atom,
                    const at::Tensor& token_mask = {}, const Conventions& conventions = {});

/// PDE: logits [S, N, N, 64] against |d_ij - d_gt_ij| of representative atoms, 64 bins over 0 ..
/// 32 A. token_atom i64 [N]; token_mask bool [N], undefined: every token is real.
at::Tensor pde_loss(const at::Tensor& logits, const at::Tensor& x, const at::Tensor& x_true,
                    const at::Tensor& resolved, const at::Tensor& token_atom,
                    const at::Tensor& token_mask = {}, const Conventions& conventions = {});

/// Experimentally resolved: logits [S, A, 2], class 1 where resolved; mean over the atoms of
/// atom_mask [A], undefined: all.
at::Tensor resolved_loss(const at::Tensor& logits, const at::Tensor& resolved,
                         const at::Tensor& atom_mask = {});

}  // namespace megafold
