// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The AlphaFold 3 model (Algorithm 1). N tokens, A atoms, S diffusion samples.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "batch/batch.h"
#include "model/confidence_head.h"
#include "model/config.h"
#include "model/parameters.h"
#include "model/sampler.h"

namespace megafold {

struct TrunkOutput {
  at::Tensor s_inputs;  // [N, c_s_inputs]
  at::Tensor s;         // [N, c_s]
  at::Tensor z;         // [N, N, c_z]
};

/// What is known of a batch's atoms.
struct Labels {
  at::Tensor positions;  // [A, 3], Angstrom; 0 where not resolved
  at::Tensor resolved;   // [A], 0 or 1
};

struct TrainOptions {
  uint64_t seed = 0;    // with the batch's id and visit it fixes every draw
  int64_t cycles = 0;   // passes of the trunk; 0: drawn from 1 .. max_cycles
  int64_t samples = 0;  // diffusion samples; 0: the config's
  bool dropout = true;
  NoiseLevels noise{};
  int64_t rollout_steps = 0;  // of the mini-rollout (SI 4.1: 20); 0: none, no confidence
  bool confidence = true;     // the head judges the mini-rollout
  /// Of the trunk's activations (templates, MSA module, Pairformer); empty: that of the weights.
  /// Weights, their gradients and everything else keep the weights' type.
  std::optional<at::ScalarType> trunk_type{};
  bool recompute = false;  // blocks keep their inputs alone for the backward (model/recompute.h)
  /// The labels, given a mini-rollout's x [A, 3] (loss/permutation.h); empty: as the batch has
  /// them.
  std::function<Labels(const Batch&, const at::Tensor& x)> labels{};
};

/// What a training step's losses need (loss/total.h).
struct TrainingOutput {
  at::Tensor distogram_logits;  // [N, N, bins]
  Labels labels;                // those that the losses go by
  at::Tensor x_true;            // [S, A, 3] the truth, each copy in its own place, Angstrom
  at::Tensor x_noisy;           // [S, A, 3]
  at::Tensor x_denoised;        // [S, A, 3]
  at::Tensor t_hat;             // [S] noise level, Angstrom
  int64_t cycles = 0;           // passes of the trunk that were made
  // With a mini-rollout, whose structure is detached from everything:
  at::Tensor x_rollout;                        // [1, A, 3]
  std::optional<ConfidenceLogits> confidence;  // of x_rollout
};

/// One pass of everything on given noise: what a comparison with a peer needs.
struct Denoised {
  TrunkOutput trunk;
  at::Tensor distogram_logits;  // [N, N, bins]
  at::Tensor x_denoised;        // [S, A, 3]
};

struct Samples {
  at::Tensor x;                              // [S, A, 3], Angstrom
  std::vector<ConfidenceLogits> confidence;  // S of them; empty: the model has no such head
  at::Tensor distogram_logits;               // [N, N, bins]
};

struct SampleOptions {
  uint64_t seed = 0;
  int64_t samples = 1;
  int64_t steps = 0;   // 0: the config's
  int64_t cycles = 0;  // 0: the config's max_cycles
};

/// Built on the CPU in f32 from a seed alone; parameters().to() moves it. A batch must be on the
/// model's device (Batch::to); its f32 arrays are cast to the model's dtype. All methods throw
/// BadInput that names the array, the shape expected and the one met.
class Model {
 public:
  Model(const ModelConfig& config, uint64_t seed);
  ~Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;

  [[nodiscard]] const ModelConfig& config() const;
  [[nodiscard]] Parameters& parameters();
  [[nodiscard]] const Parameters& parameters() const;

  /// Trunk with recycling (the gradient flows through the last cycle only), then every diffusion
  /// sample in one pass of the diffusion module. With rollout_steps, and where the truth is to be
  /// named by it (options.labels) or a confidence head to judge it, first one structure by so many
  /// steps of Algorithm 18 from the detached trunk.
  [[nodiscard]] TrainingOutput forward_train(const Batch& batch, const TrainOptions& options) const;

  /// x_noisy [S, A, 3] and t_hat [S], Angstrom; `cycles` passes of the trunk, the gradient through
  /// the last, with the dropout that is given.
  [[nodiscard]] Denoised denoise(const Batch& batch, const at::Tensor& x_noisy,
                                 const at::Tensor& t_hat, int64_t cycles, Dropout drop = {}) const;

  /// Structures by Algorithm 18 and what the confidence head says of each, without gradients.
  [[nodiscard]] Samples sample(const Batch& batch, const SampleOptions& options) const;

  /// The confidence head alone, on x [S, A, 3] and a trunk's output; the gradient reaches the head
  /// and nothing else. Throws Unsupported when the model has none (confidence_blocks = 0).
  [[nodiscard]] std::vector<ConfidenceLogits> confidence(const Batch& batch,
                                                         const TrunkOutput& trunk,
                                                         const at::Tensor& x) const;

 private:
  struct Modules;
  std::unique_ptr<Modules> modules_;
};

}  // namespace megafold
