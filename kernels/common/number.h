// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// 16-bit floating-point numbers on the CPU, and the arithmetic type that belongs to each.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "kernels/common/types.h"

namespace megafold::kernels {

using f16 = _Float16;

/// bfloat16: the upper half of a float; rounds to nearest even, keeps NaN a NaN.
struct bf16 {
  uint16_t bits = 0;

  bf16() = default;
  explicit bf16(float value) {
    const auto u = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (u + 0x7FFFU + ((u >> 16) & 1U)) >> 16;
    const uint32_t quiet = (u >> 16) | 0x40U;
    bits = static_cast<uint16_t>((u & 0x7FFFFFFFU) > 0x7F800000U ? quiet : rounded);
  }
  explicit operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

/// What sums of T are taken in: double for double, float for everything else.
template <class T>
using Accumulate = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class T>
inline Accumulate<T> widen(T x) {
  return static_cast<Accumulate<T>>(x);
}
template <class T>
inline T narrow(Accumulate<T> x) {
  return static_cast<T>(x);
}

/// Calls f(T{}) with the C++ type of `dtype`.
template <class F>
decltype(auto) with_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f16:
      return f(f16{});
    case DType::bf16:
      return f(bf16{});
    case DType::f32:
      return f(float{});
    case DType::f64:
      break;
  }
  return f(double{});
}

}  // namespace megafold::kernels
