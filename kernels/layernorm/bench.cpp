// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Bytes a second of the CPU kernel beside a plain copy of the same tensor, the ceiling of both.
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/layernorm/layernorm.h"

namespace {

using namespace megafold::kernels;

struct Tensors {
  int64_t rows, channels;
  std::vector<float> x, y, dy, dx, gamma, beta, dgamma, dbeta, mean, rstd;
  LayerNormBackward params;

  Tensors(int64_t n, int64_t c)
      : rows(n * n),
        channels(c),
        x(rows * c),
        y(x),
        dy(x),
        dx(x),
        gamma(c, 1.0F),
        beta(c),
        dgamma(c),
        dbeta(c),
        mean(rows),
        rstd(rows) {
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<float>((i * 2654435761U) % 1000) * 0.001F;
      dy[i] = static_cast<float>((i * 40503U) % 1000) * 0.001F - 0.5F;
    }
    LayerNormForward& f = params.forward;
    f.rows = rows;
    f.channels = c;
    f.x = x.data();
    f.y = y.data();
    f.gamma = gamma.data();
    f.beta = beta.data();
    f.mean = mean.data();
    f.rstd = rstd.data();
    params.dy = dy.data();
    params.dx = dx.data();
    params.dgamma = dgamma.data();
    params.dbeta = dbeta.data();
    f.x_row = f.y_row = params.dy_row = params.dx_row = c;
  }
};

void copy(benchmark::State& state) {
  Tensors t(state.range(0), state.range(1));
  for (auto _ : state) {
    std::memcpy(t.y.data(), t.x.data(), t.x.size() * 4);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * t.x.size() * 8));
}

void forward(benchmark::State& state) {
  Tensors t(state.range(0), state.range(1));
  for (auto _ : state) run_on_cpu("layernorm", layernorm_forward(), t.params.forward);
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * t.x.size() * 8));
}

void backward(benchmark::State& state) {
  Tensors t(state.range(0), state.range(1));
  run_on_cpu("layernorm", layernorm_forward(), t.params.forward);
  for (auto _ : state) run_on_cpu("layernorm", layernorm_backward(), t.params);
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * t.x.size() * 12));
}

BENCHMARK(copy)->Args({128, 128})->Args({256, 128})->UseRealTime();
BENCHMARK(forward)->Args({128, 128})->Args({256, 128})->UseRealTime();
BENCHMARK(backward)->Args({128, 128})->Args({256, 128})->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
