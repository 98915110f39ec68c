// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What portable kernels are written with: one source, executed by nvcc's sm_80 code, by hipcc's
// gfx90a code and by the emulator on the CPU. README.md beside this file says what a back end must
// provide. A kernel is a function template over `Arch`, the back end:
//
//   template <class Arch, class Config>
//   MEGAFOLD_DEVICE void my_kernel(const Args& args, int64_t block);
//
// Products work on fragments: a 16 x 16 tile spread over a wave (32 or 64 lanes), 256 / kWave
// elements in each lane. Its two coordinates are `line` and `step`:
//
//   left operand  a[m][k]: line m, step k      right operand b[n][k]: line n, step k
//   accumulator   c[m][n]: line m, step n      multiply: c[m][n] += sum_k a[m][k] b[n][k]
//
// Every back end lays out the three alike, so an accumulator becomes an operand of the next product
// in registers: `convert` only changes the type. A lane holds `kLines` lines; along a line its
// elements come in runs of `kRun` consecutive steps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/common/types.h"

#if defined(__HIP__)
#include <hip/hip_runtime.h>
#endif

#if defined(__CUDACC__) || defined(__HIP__)
#define MEGAFOLD_DEVICE __device__ __forceinline__
#define MEGAFOLD_UNROLL _Pragma("unroll")
#define MEGAFOLD_NO_UNROLL _Pragma("unroll 1")
#else
#define MEGAFOLD_DEVICE inline
#define MEGAFOLD_UNROLL
#define MEGAFOLD_NO_UNROLL
#endif

namespace megafold::kernels::arch {

/// Storage of 16-bit floats, the same in memory on every back end.
struct Bf16 {
  static constexpr bool kIsBf16 = true;
  uint16_t bits;
};
struct F16 {
  static constexpr bool kIsBf16 = false;
  uint16_t bits;
};

/// Calls f.operator()<T>() with the element type of a portable kernel: never f64.
template <class F>
void with_element(DType dtype, const F& f) {
  if (dtype == DType::bf16) {
    f.template operator()<Bf16>();
  } else if (dtype == DType::f16) {
    f.template operator()<F16>();
  } else {
    f.template operator()<float>();
  }
}

constexpr int kTile = 16;  // edge of a fragment

/// `n` consecutive elements, moved as one word; n * sizeof(T) is a power of two, at most 16.
template <class T, int n>
struct alignas(n * sizeof(T)) Pack {
  T v[n];
};

template <class T>
constexpr int kChunk = 16 / static_cast<int>(sizeof(T));  // elements of one 16-byte copy

/// A 16 x 16 accumulator's or an fp32 operand's share of a lane.
template <int n>
struct Floats {
  float v[n];
};

/// The largest (or the sum) of `value` over the lanes that hold the same line.
template <class Arch>
MEGAFOLD_DEVICE float max_over_line(float value) {
  MEGAFOLD_UNROLL
  for (int hop = 0; hop < Arch::kLineHops; ++hop) {
    const float other = Arch::shuffle_xor(value, Arch::line_hop(hop));
    value = value > other ? value : other;
  }
  return value;
}
template <class Arch>
MEGAFOLD_DEVICE float sum_over_line(float value) {
  MEGAFOLD_UNROLL
  for (int hop = 0; hop < Arch::kLineHops; ++hop) {
    value += Arch::shuffle_xor(value, Arch::line_hop(hop));
  }
  return value;
}

}  // namespace megafold::kernels::arch
