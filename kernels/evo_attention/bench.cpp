// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The CPU kernel on triangle attention: FLOP a second of the products.
#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/evo_attention/evo_attention.h"

namespace {

using namespace megafold::kernels;

constexpr int64_t kHeads = 4, kWidth = 32;

struct Tensors {
  std::vector<float> q, k, v, gate, out, dout, dq, dk, dv, dgate, bias, dbias, lse;
  EvoAttentionBackward params;

  explicit Tensors(int64_t n) : q(static_cast<size_t>(n * n * kHeads * kWidth)) {
    for (size_t i = 0; i < q.size(); ++i) q[i] = static_cast<float>(i * 40503U % 1000) * 2e-3F - 1;
    k = v = gate = out = dout = dq = dk = dv = dgate = q;
    bias.assign(static_cast<size_t>(kHeads * n * n), 0.5F);
    dbias = bias;
    lse.assign(static_cast<size_t>(n * kHeads * n), 0.0F);
    EvoAttentionForward& f = params.forward;
    f.rows = f.queries = f.keys = n;
    f.heads = kHeads;
    f.head_dim = kWidth;
    f.scale = 1 / std::sqrt(static_cast<double>(kWidth));
    f.dtype = DType::f32;
    const TokenStrides strides = {n * n * kHeads * kWidth, n * kHeads * kWidth, kHeads * kWidth,
                                  kWidth};
    f.q = q.data();
    f.k = k.data();
    f.v = v.data();
    f.gate = gate.data();
    f.out = out.data();
    f.bias = bias.data();
    f.lse = lse.data();
    f.q_stride = f.k_stride = f.v_stride = f.gate_stride = f.out_stride = strides;
    f.bias_batch = kHeads * n * n;
    f.bias_head = n * n;
    f.bias_query = n;
    params.dout = dout.data();
    params.dq = dq.data();
    params.dk = dk.data();
    params.dv = dv.data();
    params.dgate = dgate.data();
    params.dbias = dbias.data();
    params.dout_stride = params.dq_stride = params.dk_stride = params.dv_stride =
        params.dgate_stride = strides;
  }
};

void count(benchmark::State& state, double products) {
  const auto n = static_cast<double>(state.range(0));
  state.counters["FLOP/s"] = benchmark::Counter(2 * products * n * n * n * kHeads * kWidth,
                                                benchmark::Counter::kIsIterationInvariantRate);
}

void forward(benchmark::State& state) {
  Tensors t(state.range(0));
  for (auto _ : state) run_on_cpu("evo_attention", evo_attention_forward(), t.params.forward);
  count(state, 2);
}

void backward(benchmark::State& state) {
  Tensors t(state.range(0));
  run_on_cpu("evo_attention", evo_attention_forward(), t.params.forward);
  for (auto _ : state) run_on_cpu("evo_attention", evo_attention_backward(), t.params);
  count(state, 5);
}

BENCHMARK(forward)->Arg(64)->Arg(128)->Arg(256)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(backward)->Arg(64)->Arg(128)->Arg(256)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
