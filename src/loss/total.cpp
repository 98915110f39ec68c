// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "loss/total.h"

#include <c10/core/GradMode.h>

#include "base/errors.h"
#include "loss/bond_loss.h"
#include "loss/confidence_losses.h"
#include "loss/diffusion_mse.h"
#include "loss/distogram_loss.h"
#include "loss/smooth_lddt.h"
#include "model/diffusion_conditioning.h"
#include "model/token_frames.h"

namespace megafold {
namespace {

constexpr double kBestResolution = 0.1, kWorstResolution = 4;  // Angstrom (SI 4.3)

/// The confidence head's losses on the mini-rollout, against the truth as the batch has it.
at::Tensor confidence_losses(const TrainingOutput& output, const Batch& batch,
                             const at::Tensor& resolved, const at::Tensor& is_nucleotide,
                             const LossWeights& weights, const Conventions& conventions,
                             TrainingLosses& out) {
  const ConfidenceLogits& logits = *output.confidence;
  const at::Tensor &x = output.x_rollout, truth = batch.atom_positions.to(x.options());
  const at::Tensor center = batch.center_atom.clamp_min(0);
  // CA and C1' of standard residues (af3-facts 2, rule 5).
  const at::Tensor partners = resolved.index_select(0, center) * batch.token_mask.to(x.options()) *
                              at::logical_or(batch.is_atomized, batch.is_ligand).logical_not();
  const at::Tensor rep = distance_atoms(batch), real = batch.token_mask.gt(0);
  TokenFrames frames = frames_of(batch, conventions, x[0], batch.atom_mask);
  TokenFrames frames_true = frames_of(batch, conventions, truth, resolved);
  for (TokenFrames* const f : {&frames, &frames_true})
    *f = {f->atoms.to(x.device()), f->has_frame.to(x.device())};
  const auto one = [](const at::Tensor& of_sample) { return of_sample.unsqueeze(0); };
  const at::Tensor plddt = plddt_loss(one(logits.plddt), x, truth, resolved, is_nucleotide, center,
                                      partners, conventions);
  const at::Tensor pae =
      pae_loss(one(logits.pae), x, truth, resolved, frames, frames_true, rep, real, conventions);
  const at::Tensor pde = pde_loss(one(logits.pde), x, truth, resolved, rep, real, conventions);
  const at::Tensor seen =
      resolved_loss(one(logits.resolved), resolved, batch.atom_mask.to(x.options()));
  out.plddt = plddt.detach(), out.pae = pae.detach(), out.pde = pde.detach();
  out.experimentally_resolved = seen.detach();
  return plddt + pde + seen + weights.pae * pae;
}

}  // namespace

TrainingLosses training_losses(const TrainingOutput& output, const Batch& given,
                               const LossWeights& weights, const Conventions& conventions) {
  Batch batch = given;  // handles: nothing is copied
  if (output.labels.positions.defined()) {
    batch.atom_positions = output.labels.positions;
    batch.atom_resolved_mask = output.labels.resolved;
  }
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
  const at::Tensor scale = conventions.level_weight_of_product ? t * kSigmaData : t + kSigmaData;
  const at::Tensor level_weight = (t.square() + kSigmaData * kSigmaData) / scale.square();
  const at::Tensor mse =
      diffusion_mse(output.x_denoised, output.x_true, weight, resolved, conventions.count_epsilon) *
      level_weight;
  out.diffusion_mse = mse.detach();
  {
    const c10::NoGradGuard no_grad;
    const at::Tensor c_skip = kSigmaData * kSigmaData / (t.square() + kSigmaData * kSigmaData);
    out.trivial_mse = diffusion_mse(output.x_noisy * c_skip.view({-1, 1, 1}), output.x_true, weight,
                                    resolved, conventions.count_epsilon) *
                      level_weight;
  }
  at::Tensor diffusion = mse.mean();
  if (weights.smooth_lddt > 0) {
    // The truth's distances are the same in every copy.
    const at::Tensor lddt =
        smooth_lddt_loss(output.x_denoised, batch.atom_positions.to(here), resolved,
                         at::maximum(is_dna, is_rna),
                         {conventions.distance_epsilon, conventions.distance_epsilon})
            .mean();
    out.smooth_lddt = lddt.detach();
    diffusion = diffusion + weights.smooth_lddt * lddt;
  } else {
    out.smooth_lddt = at::zeros({}, here);
  }

  if (weights.bond > 0) {
    const at::Tensor bond =
        bond_loss(output.x_denoised, batch.atom_positions.to(here),
                  bonded_atoms(batch, conventions), conventions.distance_epsilon);
    out.bond = bond.mean().detach();
    diffusion = diffusion + weights.bond * (level_weight * bond).mean();
  }

  const at::Tensor rep = batch.representative_atom.clamp_min(0);
  const at::Tensor rep_resolved =
      resolved.index_select(0, rep) * batch.representative_atom.ge(0) * batch.token_mask.to(here);
  const at::Tensor distogram =
      distogram_loss(output.distogram_logits, batch.atom_positions.to(here).index_select(0, rep),
                     rep_resolved, conventions.count_epsilon);
  out.distogram = distogram.detach();
  // A part that counts nothing (the last stage's) is not differentiated either.
  const auto weighted = [](double factor, const at::Tensor& part) {
    return factor > 0 ? factor * part : 0 * part.detach();
  };
  out.total = weighted(weights.diffusion, diffusion) + weighted(weights.distogram, distogram);
  if (output.confidence && weights.confidence > 0 && batch.resolution >= kBestResolution &&
      batch.resolution <= kWorstResolution)
    out.total = out.total + weights.confidence * confidence_losses(output, batch, resolved,
                                                                   at::maximum(is_dna, is_rna),
                                                                   weights, conventions, out);
  return out;
}

}  // namespace megafold
