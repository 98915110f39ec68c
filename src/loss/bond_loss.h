// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Bond loss (SI eq. 5): mean over bonded pairs of atoms, both resolved, of (d_lm - d_gt_lm)^2.
#pragma once

#include <ATen/ATen.h>

#include "batch/batch.h"
#include "model/conventions.h"

namespace megafold {

/// The pairs that SI eq. 5 means: for each bond between a polymer and a ligand the two atoms that
/// it joins, i64 [B, 2]. A batch tells bonded tokens; of a residue's atoms the bonded one is the
/// nearest in the truth (bonds are under 2.4 A). Where the conventions do not join atoms, every
/// pair of atoms of the two tokens. Pairs with an unresolved end are left out. Looks at values on
/// the host.
at::Tensor bonded_atoms(const Batch& batch, const Conventions& conventions = {});

/// x [S, A, 3], x_true [A, 3], Angstrom; bonds i64 [B, 2], pairs of resolved atoms. Returns the
/// loss of each sample, [S], Angstrom^2; zeros without bonds. `epsilon` joins the squared lengths
/// and the number of bonds (OpenFold 3 1e-8).
at::Tensor bond_loss(const at::Tensor& x, const at::Tensor& x_true, const at::Tensor& bonds,
                     double epsilon = 0);

}  // namespace megafold
