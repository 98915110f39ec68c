// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The specification: fp64, one loop an equation. Not for speed.
#include <cmath>

#include "kernels/common/reference.h"
#include "kernels/layernorm/implementations.h"

namespace megafold::kernels {
namespace {

DType statistics_of(DType dtype) {
  return dtype == DType::f64 ? DType::f64 : DType::f32;
}

struct Statistics {
  double mean, rstd;
};

Statistics statistics(const LayerNormForward& p, int64_t m) {
  double mean = 0, variance = 0;
  for (int64_t c = 0; c < p.channels; ++c) mean += at(p.x, p.dtype, m * p.x_row + c);
  mean /= static_cast<double>(p.channels);
  for (int64_t c = 0; c < p.channels; ++c)
    variance += std::pow(at(p.x, p.dtype, m * p.x_row + c) - mean, 2);
  variance /= static_cast<double>(p.channels);
  return {mean, 1.0 / std::sqrt(variance + p.eps)};
}

void forward(const LayerNormForward& p, void*, Stream) {
  for (int64_t m = 0; m < p.rows; ++m) {
    const auto [mean, rstd] = statistics(p, m);
    for (int64_t c = 0; c < p.channels; ++c) {
      const double gamma = p.gamma != nullptr ? at(p.gamma, p.weight_dtype, c) : 1.0;
      const double beta = p.beta != nullptr ? at(p.beta, p.weight_dtype, c) : 0.0;
      const double x = at(p.x, p.dtype, m * p.x_row + c);
      put(p.y, p.dtype, m * p.y_row + c, (x - mean) * rstd * gamma + beta);
    }
    if (p.mean != nullptr) put(p.mean, statistics_of(p.dtype), m, mean);
    if (p.rstd != nullptr) put(p.rstd, statistics_of(p.dtype), m, rstd);
  }
}

void backward(const LayerNormBackward& p, void*, Stream) {
  const LayerNormForward& f = p.forward;
  const int64_t channels = f.channels;
  std::vector<double> dgamma(channels, 0.0), dbeta(channels, 0.0), g(channels), h(channels);
  for (int64_t m = 0; m < f.rows; ++m) {
    const auto [mean, rstd] = statistics(f, m);
    double sum_g = 0, sum_gh = 0;
    for (int64_t c = 0; c < channels; ++c) {
      const double dy = at(p.dy, f.dtype, m * p.dy_row + c);
      h[c] = (at(f.x, f.dtype, m * f.x_row + c) - mean) * rstd;
      g[c] = dy * (f.gamma != nullptr ? at(f.gamma, f.weight_dtype, c) : 1.0);
      sum_g += g[c];
      sum_gh += g[c] * h[c];
      dgamma[c] += dy * h[c];
      dbeta[c] += dy;
    }
    const auto n = static_cast<double>(channels);
    for (int64_t c = 0; c < channels; ++c)
      put(p.dx, f.dtype, m * p.dx_row + c, rstd * (g[c] - sum_g / n - h[c] * sum_gh / n));
  }
  for (int64_t c = 0; c < channels; ++c) {
    if (p.dgamma != nullptr) put(p.dgamma, f.weight_dtype, c, dgamma[c]);
    if (p.dbeta != nullptr) put(p.dbeta, f.weight_dtype, c, dbeta[c]);
  }
}

}  // namespace

const Implementation<LayerNormForward> kLayerNormForwardReference = {
    "reference", Place::cpu, layernorm_reasons, no_workspace<LayerNormForward>, forward};
const Implementation<LayerNormBackward> kLayerNormBackwardReference = {
    "reference", Place::cpu, layernorm_reasons, no_workspace<LayerNormBackward>, backward};

}  // namespace megafold::kernels
