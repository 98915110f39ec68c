// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Algorithm 18, SampleDiffusion, Algorithm 19, CentreRandomAugmentation, and the noise levels of
// training and sampling (SI 3.7.1; af3-facts 9).
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "base/philox.h"
#include "model/conventions.h"

namespace megafold {

/// Levels k = 0 .. steps of the sampler, Angstrom, from 16 * 160 down.
std::vector<double> noise_schedule(int64_t steps, const Conventions& conventions);

/// R (x - centre) + shift for each sample. x [S, A, 3] or [A, 3]; weight [A] of the centre's mean,
/// or undefined (every atom counts); rotation [S, 3, 3], shift [S, 3], Angstrom. Returns [S, A, 3].
at::Tensor centre_augment(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rotation,
                          const at::Tensor& shift);

/// Draws for S samples. Each sample has a stream of its own, so its values depend neither on S nor
/// on the number of threads. Tensors on the CPU.
class SampleStreams {
 public:
  SampleStreams(uint64_t seed, uint64_t sample, uint64_t visit, Purpose purpose, int64_t samples);

  /// Standard normal, f32 [S, shape..].
  at::Tensor normal(at::IntArrayRef shape);
  /// Uniform rotations f32 [S, 3, 3] and shifts N(0, 1 A), f32 [S, 3].
  std::pair<at::Tensor, at::Tensor> rigid();

 private:
  std::vector<Random> streams_;
};

/// Levels of training: 16 exp(mean + deviation n) Angstrom, n ~ N(0, 1) (SI 3.7.1: -1.2, 1.5).
struct NoiseLevels {
  double mean = -1.2, deviation = 1.5;
};

/// A training step's draws; level [S] and noise [S, A, 3] are standard normal.
struct TrainingDraws {
  at::Tensor level, rotation, shift, noise;  // rotation and shift as in centre_augment
};

/// The truth as S copies, each in a place of its own, and with noise of its own level (SI 3.7.1).
struct NoisedTruth {
  at::Tensor x_true, x_noisy;  // [S, A, 3], Angstrom; 0 where an atom is not resolved
  at::Tensor t_hat;            // [S], Angstrom
};

/// positions [A, 3], Angstrom; resolved [A], 0 or 1.
NoisedTruth add_training_noise(const at::Tensor& positions, const at::Tensor& resolved,
                               const TrainingDraws& draws, const NoiseLevels& levels = {});

/// One step's draws.
struct SamplerStep {
  at::Tensor rotation, shift, noise;  // [S, 3, 3], [S, 3], [S, A, 3] standard normal
};
struct SamplerSettings {
  double gamma = 0.8, gamma_min = 1.0, noise_scale = 1.003, step_scale = 1.5;
};

/// `start` [S, A, 3] standard normal; `draw(k)` gives step k's draws and `denoise(x, t)` the
/// denoised positions, t [S]. `weight` as in centre_augment. Returns [S, A, 3].
at::Tensor sample_diffusion(
    const std::vector<double>& schedule, const at::Tensor& start, const at::Tensor& weight,
    const std::function<SamplerStep(int64_t step)>& draw,
    const std::function<at::Tensor(const at::Tensor& x, const at::Tensor& t)>& denoise,
    const SamplerSettings& settings = {});

}  // namespace megafold
