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

NoisedTruth add_training_noise(const at::Tensor& positions, const at::Tensor& resolved,
                               const TrainingDraws& draws, const NoiseLevels& levels) {
  const at::Tensor known = resolved.unsqueeze(-1);
  NoisedTruth out;
  out.t_hat = at::exp(draws.level * levels.deviation + levels.mean) * kSigmaData;
  out.x_true = centre_augment(positions, resolved, draws.rotation, draws.shift) * known;
  // Unresolved atoms are zeros for the network (af3-facts 9.2).
  out.x_noisy = (out.x_true + draws.noise * out.t_hat.view({-1, 1, 1})) * known;
  return out;
}

SampleStreams::SampleStreams(uint64_t seed, uint64_t sample, uint64_t visit, Purpose purpose,
                             int64_t samples) {
  for (int64_t s = 1; s <= samples; ++s)
    streams_.emplace_back(seed, sample + 0x9E3779B97F4A7C15ULL * static_cast<uint64_t>(s), visit,
                          purpose);
}

at::Tensor SampleStreams::normal(at::IntArrayRef shape) {
  const auto samples = static_cast<int64_t>(streams_.size());
  auto full = shape.vec();
  full.insert(full.begin(), samples);
  at::Tensor out = at::empty(full, at::kFloat);
  const int64_t each = samples == 0 ? 0 : out.numel() / samples;
  float* const values = out.data_ptr<float>();
  at::parallel_for(0, samples, 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s)
      for (int64_t i = 0; i < each; ++i)
        values[s * each + i] = static_cast<float>(streams_[static_cast<size_t>(s)].normal());
  });
  return out;
}

std::pair<at::Tensor, at::Tensor> SampleStreams::rigid() {
  const auto samples = static_cast<int64_t>(streams_.size());
  at::Tensor rotation = at::empty({samples, 3, 3}, at::kFloat);
  float* out = rotation.data_ptr<float>();
  for (Random& stream : streams_)
    for (const double value : stream.rotation()) *out++ = static_cast<float>(value);
  return {rotation, normal({3})};
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
    const double gamma = level > settings.gamma_min ? settings.gamma : 0;
    const double t = last * (1 + gamma);
    // sqrt(t^2 - last^2), in a form that no fused multiply-add can make negative.
    const double added = settings.noise_scale * last * std::sqrt(gamma * (2 + gamma));
    const at::Tensor noisy = x + step.noise * added;
    const at::Tensor denoised = denoise(noisy, at::full({x.size(0)}, t, x.options()));
    // The slope is taken at the noisy point (peers; SI line 9 prints x_l).
    x = noisy + (noisy - denoised) * (settings.step_scale * (level - t) / t);
  }
  return x;
}

}  // namespace megafold
