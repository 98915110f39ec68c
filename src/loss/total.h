// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The loss of a training step (af3-facts 10.1, 10.2, 10.4; SI 3.7.1, 4.4, eq. 15).
#pragma once

#include <ATen/ATen.h>

#include "batch/batch.h"
#include "model/config.h"
#include "model/conventions.h"
#include "model/model.h"

namespace megafold {

struct LossWeights {
  double diffusion = 4;
  double smooth_lddt = 1;  // within the diffusion loss; 0 in the fine-tuning stages
  double distogram = 0.03;
  double bond = 0;  // within the diffusion loss, scaled as the squared error; 1 in fine-tuning
  double confidence = 1e-4;  // of pLDDT, PDE, resolved and `pae` times PAE together
  double pae = 0;            // 1 in the last stage, where diffusion and distogram are 0
};

struct TrainingLosses {
  at::Tensor total;          // scalar, with gradient; the rest is detached
  at::Tensor diffusion_mse;  // [S] lambda(t) * L_mse, before its weight in the total
  at::Tensor trivial_mse;    // [S] the same of D = c_skip * x_noisy on the same draws
  at::Tensor smooth_lddt;    // scalar: 1 - smooth lDDT, mean over the samples
  at::Tensor distogram;      // scalar
  at::Tensor bond;           // scalar, Angstrom^2; undefined where its weight is 0
  /// Scalars; undefined without a mini-rollout, or where the entry's resolution is not within 0.1
  /// .. 4 A (SI 4.3).
  at::Tensor plddt, pae, pde, experimentally_resolved;
};

/// The truth is output.labels (the batch's own where they are undefined). Throws BadInput when no
/// atom of it is resolved.
TrainingLosses training_losses(const TrainingOutput& output, const Batch& batch,
                               const LossWeights& weights, const Conventions& conventions = {});

}  // namespace megafold
