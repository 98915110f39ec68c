// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/sampler.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "model/diffusion_conditioning.h"

namespace megafold {

std::vector<double> noise_schedule(int64_t steps, const Conventions& conventions) {
  constexpr double kMax = 160, kMin = 4e-4, kPower = 7;
  const double from = std::pow(kMax, 1 / kPower), to = std::pow(kMin, 1 / kPower);
  std::vector<double> levels;
  for (int64_t k = 0; k <= steps; ++k) {
    const double part = static_cast<double>(k) / static_cast<double>(steps);
    levels.push_back(kSigmaData * std::pow(from + part * (to - from), kPower));
  }
  if (conventions.schedule_ends_at_zero) levels.back() = 0;
  return levels;
}

at::Tensor centre_augment(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rotation,
                          const at::Tensor& shift) {
  const at::Tensor centre =
      weight.defined()
          ? (x * weight.unsqueeze(-1)).sum(-2, /*keepdim=*/true) / weight.sum().clamp_min(1e-12)
          : x.mean(-2, /*keepdim=*/true);
  return at::matmul(x - centre, rotation.transpose(-1, -2)) + shift.unsqueeze(-2);
}

RigidDraws draw_rigid(Random& random, int64_t samples) {
  RigidDraws out{at::empty({samples, 3, 3}, at::kDouble), at::empty({samples, 3}, at::kDouble)};
  double* const rotation = out.rotation.data_ptr<double>();
  double* const shift = out.shift.data_ptr<double>();
  for (int64_t s = 0; s < samples; ++s) {
    const auto matrix = random.rotation();
    std::copy(matrix.begin(), matrix.end(), rotation + 9 * s);
    for (int64_t i = 0; i < 3; ++i) shift[3 * s + i] = random.normal();
  }
  return out;
}

at::Tensor draw_normal(uint64_t seed, uint64_t sample, uint64_t visit, Purpose purpose,
                       at::IntArrayRef shape) {
  at::Tensor out = at::empty(shape, at::kFloat);
  const int64_t each = shape[0] == 0 ? 0 : out.numel() / shape[0];
  float* const values = out.data_ptr<float>();
  at::parallel_for(0, shape[0], 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      Random random(seed, sample + 0x9E3779B97F4A7C15ULL * static_cast<uint64_t>(s + 1), visit,
                    purpose);
      for (int64_t i = 0; i < each; ++i) values[s * each + i] = static_cast<float>(random.normal());
    }
  });
  return out;
}

at::Tensor sample_diffusion(
    const std::vector<double>& schedule, const at::Tensor& start, const at::Tensor& weight,
    const std::function<SamplerStep(int64_t step)>& draw,
    const std::function<at::Tensor(const at::Tensor& x, const at::Tensor& t)>& denoise,
    const SamplerSettings& settings) {
  at::Tensor x = start * schedule[0];
  for (size_t k = 1; k < schedule.size(); ++k) {
    const SamplerStep step = draw(static_cast<int64_t>(k) - 1);
    x = centre_augment(x, weight, step.rotation, step.shift);
    const double last = schedule[k - 1], level = schedule[k];
    const double t = last * (1 + (level > settings.gamma_min ? settings.gamma : 0));
    const double added = settings.noise_scale * std::sqrt(t * t - last * last);
    const at::Tensor noisy = x + step.noise * added;
    const at::Tensor denoised = denoise(noisy, at::full({x.size(0)}, t, x.options()));
    // The slope is taken at the noisy point (peers; SI line 9 prints x_l).
    x = noisy + (noisy - denoised) * (settings.step_scale * (level - t) / t);
  }
  return x;
}

}  // namespace megafold
