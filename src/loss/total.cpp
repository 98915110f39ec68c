// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "loss/total.h"

#include <c10/core/GradMode.h>

#include "base/errors.h"
#include "loss/diffusion_mse.h"
#include "loss/distogram_loss.h"
#include "loss/smooth_lddt.h"
#include "model/diffusion_conditioning.h"

namespace megafold {

TrainingLosses training_losses(const TrainingOutput& output, const Batch& batch,
                               const LossWeights& weights) {
  const auto here = output.x_denoised.options();
  const at::Tensor resolved = (batch.atom_resolved_mask * batch.atom_mask).to(here);
  if (resolved.is_cpu() && !(resolved.sum().item<double>() > 0))
    fail<BadInput>("{}: no atom of the sample is resolved, so it has no loss", batch.id);
  const auto of_atoms = [&](const at::Tensor& of_tokens) {
    return of_tokens.index_select(0, batch.atom_to_token).to(here.dtype());
  };
  const at::Tensor is_dna = of_atoms(batch.is_dna), is_rna = of_atoms(batch.is_rna);

  TrainingLosses out;
  const at::Tensor weight =
      diffusion_atom_weights(resolved, is_dna, is_rna, of_atoms(batch.is_ligand));
  const at::Tensor t = output.t_hat;
  const at::Tensor level_weight =
      (t.square() + kSigmaData * kSigmaData) / (t * kSigmaData).square();
  const at::Tensor mse =
      diffusion_mse(output.x_denoised, output.x_true, weight, resolved) * level_weight;
  out.diffusion_mse = mse.detach();
  {
    const c10::NoGradGuard no_grad;
    const at::Tensor c_skip = kSigmaData * kSigmaData / (t.square() + kSigmaData * kSigmaData);
    out.trivial_mse =
        diffusion_mse(output.x_noisy * c_skip.view({-1, 1, 1}), output.x_true, weight, resolved) *
        level_weight;
  }
  at::Tensor diffusion = mse.mean();
  if (weights.smooth_lddt > 0) {
    // The truth's distances are the same in every copy.
    const at::Tensor lddt = smooth_lddt_loss(output.x_denoised, batch.atom_positions.to(here),
                                             resolved, at::maximum(is_dna, is_rna))
                                .mean();
    out.smooth_lddt = lddt.detach();
    diffusion = diffusion + weights.smooth_lddt * lddt;
  } else {
    out.smooth_lddt = at::zeros({}, here);
  }

  const at::Tensor rep = batch.representative_atom.clamp_min(0);
  const at::Tensor rep_resolved =
      resolved.index_select(0, rep) * batch.representative_atom.ge(0) * batch.token_mask.to(here);
  const at::Tensor distogram = distogram_loss(
      output.distogram_logits, batch.atom_positions.to(here).index_select(0, rep), rep_resolved);
  out.distogram = distogram.detach();
  out.total = weights.diffusion * diffusion + weights.distogram * distogram;
  return out;
}

}  // namespace megafold
