// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// One pass over x forward, one over x and dy backward, each row while it is in the first-level
// cache. Bound by memory: 2 M C elements move forward, 3 M C backward. dgamma and dbeta are summed
// per block of rows, and the blocks in order, so their bits do not depend on the number of threads.
#include <algorithm>
#include <cmath>

#include "kernels/common/number.h"
#include "kernels/common/parallel.h"
#include "kernels/layernorm/implementations.h"

namespace megafold::kernels {
namespace {

constexpr int64_t kBlockRows = 128;

template <class T, class W>
void forward_block(const LayerNormForward& p, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const int64_t channels = p.channels;
  const A inverse = A(1) / static_cast<A>(channels);
  const W* const gamma = static_cast<const W*>(p.gamma);
  const W* const beta = static_cast<const W*>(p.beta);
  for (int64_t m = begin; m < end; ++m) {
    const T* const x = static_cast<const T*>(p.x) + m * p.x_row;
    T* const y = static_cast<T*>(p.y) + m * p.y_row;
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < channels; ++c) sum += widen(x[c]);
    const A mean = sum * inverse;
    A square = 0;
#pragma omp simd reduction(+ : square)
    for (int64_t c = 0; c < channels; ++c) square += (widen(x[c]) - mean) * (widen(x[c]) - mean);
    const A rstd = A(1) / std::sqrt(square * inverse + static_cast<A>(p.eps));
    if (gamma != nullptr && beta != nullptr) {
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c)
        y[c] = narrow<T>((widen(x[c]) - mean) * rstd * static_cast<A>(widen(gamma[c])) +
                         static_cast<A>(widen(beta[c])));
    } else if (gamma != nullptr) {
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c)
        y[c] = narrow<T>((widen(x[c]) - mean) * rstd * static_cast<A>(widen(gamma[c])));
    } else {
      for (int64_t c = 0; c < channels; ++c)
        y[c] = narrow<T>((widen(x[c]) - mean) * rstd +
                         (beta != nullptr ? static_cast<A>(widen(beta[c])) : A(0)));
    }
    if (p.mean != nullptr) static_cast<A*>(p.mean)[m] = mean;
    if (p.rstd != nullptr) static_cast<A*>(p.rstd)[m] = rstd;
  }
}

/// `partial` takes this block's dgamma [C] and dbeta [C].
template <class T, class W>
void backward_block(const LayerNormBackward& p, int64_t begin, int64_t end,
                    Accumulate<T>* partial) {
  using A = Accumulate<T>;
  const LayerNormForward& f = p.forward;
  const int64_t channels = f.channels;
  const A inverse = A(1) / static_cast<A>(channels);
  const W* const gamma = static_cast<const W*>(f.gamma);
  A* const dgamma = partial;
  A* const dbeta = partial + channels;
  std::fill(partial, partial + 2 * channels, A(0));
  for (int64_t m = begin; m < end; ++m) {
    const T* const x = static_cast<const T*>(f.x) + m * f.x_row;
    const T* const dy = static_cast<const T*>(p.dy) + m * p.dy_row;
    T* const dx = static_cast<T*>(p.dx) + m * p.dx_row;
    const A mean = static_cast<const A*>(f.mean)[m];
    const A rstd = static_cast<const A*>(f.rstd)[m];
    A sum_g = 0, sum_gh = 0;
    const auto row = [&](auto weight) {
#pragma omp simd reduction(+ : sum_g, sum_gh)
      for (int64_t c = 0; c < channels; ++c) {
        const A d = widen(dy[c]);
        const A h = (widen(x[c]) - mean) * rstd;
        const A g = d * weight(c);
        sum_g += g;
        sum_gh += g * h;
        dgamma[c] += d * h;
        dbeta[c] += d;
      }
      const A a = sum_g * inverse, b = sum_gh * inverse;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) {
        const A h = (widen(x[c]) - mean) * rstd;
        dx[c] = narrow<T>(rstd * (widen(dy[c]) * weight(c) - a - h * b));
      }
    };
    if (gamma != nullptr)
      row([gamma](int64_t c) { return static_cast<A>(widen(gamma[c])); });
    else
      row([](int64_t) { return A(1); });
  }
}

void forward(const LayerNormForward& p, void*, Stream) {
  with_type(p.dtype, [&](auto t) {
    with_type(p.weight_dtype, [&](auto w) {
      parallel_blocks(p.rows, kBlockRows, [&](int64_t, int64_t begin, int64_t end) {
        forward_block<decltype(t), decltype(w)>(p, begin, end);
      });
    });
  });
}

int64_t blocks_of(const LayerNormForward& f) {
  return (f.rows + kBlockRows - 1) / kBlockRows;
}

int64_t backward_workspace(const LayerNormBackward& p) {
  return blocks_of(p.forward) * 2 * p.forward.channels * (p.forward.dtype == DType::f64 ? 8 : 4);
}

void backward(const LayerNormBackward& p, void* workspace, Stream) {
  const LayerNormForward& f = p.forward;
  with_type(f.dtype, [&](auto t) {
    with_type(f.weight_dtype, [&](auto w) {
      using T = decltype(t);
      using W = decltype(w);
      using A = Accumulate<T>;
      A* const partials = static_cast<A*>(workspace);
      const int64_t stride = 2 * f.channels;
      parallel_blocks(f.rows, kBlockRows, [&](int64_t b, int64_t begin, int64_t end) {
        backward_block<T, W>(p, begin, end, partials + b * stride);
      });
      // One thread a channel range; every channel adds the blocks in their order.
      parallel_blocks(stride, 64, [&](int64_t, int64_t begin, int64_t end) {
        std::vector<double> sum(static_cast<size_t>(end - begin), 0.0);
        for (int64_t b = 0; b < blocks_of(f); ++b)
          for (int64_t c = begin; c < end; ++c)
            sum[static_cast<size_t>(c - begin)] += static_cast<double>(partials[b * stride + c]);
        for (int64_t c = begin; c < end; ++c) {
          void* const target = c < f.channels ? p.dgamma : p.dbeta;
          if (target == nullptr) continue;
          static_cast<W*>(target)[c % f.channels] =
              narrow<W>(static_cast<Accumulate<W>>(sum[static_cast<size_t>(c - begin)]));
        }
      });
    });
  });
}

}  // namespace

const Implementation<LayerNormForward> kLayerNormForwardCpu = {
    "cpu", Place::cpu, layernorm_reasons, [](const LayerNormForward&) -> int64_t { return 0; },
    forward};
const Implementation<LayerNormBackward> kLayerNormBackwardCpu = {
    "cpu", Place::cpu, layernorm_reasons, backward_workspace, backward};

}  // namespace megafold::kernels
