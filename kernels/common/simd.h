// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// 256-bit vectors for the CPU kernels, written with the compiler's vector types: AVX2 and FMA where
// the build allows them (MEGAFOLD_CPU_ARCH), correct everywhere. Also a small matrix product.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/common/number.h"

namespace megafold::kernels::simd {

template <class T>
struct Traits;
template <>
struct Traits<float> {
  using Vector = float __attribute__((vector_size(32)));
  using Integers = int32_t __attribute__((vector_size(32)));
};
template <>
struct Traits<double> {
  using Vector = double __attribute__((vector_size(32)));
  using Integers = int64_t __attribute__((vector_size(32)));
};

template <class T>
using Vector = typename Traits<T>::Vector;
template <class T>
constexpr int kLanes = static_cast<int>(32 / sizeof(T));

template <class T>
inline Vector<T> load(const T* p) {
  Vector<T> v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
template <class T>
inline void store(T* p, Vector<T> v) {
  std::memcpy(p, &v, sizeof(v));
}
template <class T>
inline Vector<T> broadcast(T x) {
  return Vector<T>{} + x;
}

/// The larger of each lane; a NaN in `a` stays.
template <class T>
inline Vector<T> max(Vector<T> a, Vector<T> b) {
  return a < b ? b : a;
}

template <class T>
inline T sum(Vector<T> v) {
  // Halves are added together, so that the order is the same for every compiler.
  for (int width = kLanes<T> / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) v[i] += v[i + width];
  }
  return v[0];
}
template <class T>
inline T largest(Vector<T> v) {
  T m = v[0];
  for (int i = 1; i < kLanes<T>; ++i) m = m < v[i] ? v[i] : m;
  return m;
}

/// exp(x) for x <= 88. Below -87.3, where the result would be subnormal, it is 0. Within one
/// unit in the last place (test.cpp). NaN gives NaN.
inline Vector<float> exp(Vector<float> x) {
  using V = Vector<float>;
  using I = Traits<float>::Integers;
  const auto low = x < -87.3F;
  const V clamped = low ? broadcast(-87.3F) : x;
  // x = n ln 2 + r with |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to an integer in the low bits.
  constexpr float kRound = 0x1.8p23F;
  const V shifted = clamped * 0x1.715476p0F + kRound;
  const V n = shifted - kRound;
  const V r = (clamped - n * 0x1.62e400p-1F) - n * 0x1.7f7d1cp-20F;
  // 1 + r + r^2 q(r), q minimax for the relative error on [-ln 2 / 2, ln 2 / 2] (Lawson's method).
  V p = r * 0x1.6a23dp-10F + 0x1.123a2p-7F;
  p = p * r + 0x1.5558f2p-5F;
  p = p * r + 0x1.555492p-3F;
  p = p * r + 0x1.fffffcp-2F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  I bits, whole;
  std::memcpy(&bits, &p, sizeof(p));
  std::memcpy(&whole, &shifted, sizeof(shifted));
  bits += whole << 23;  // times 2^n: the bits above n leave with the shift
  V result;
  std::memcpy(&result, &bits, sizeof(bits));
  return low ? V{} : result;
}

inline Vector<double> exp(Vector<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = std::exp(x[i]);
  return x;
}

/// `count` elements of S, `stride` apart, as T.
template <class T, class S>
inline void convert(const S* from, int64_t stride, int64_t count, T* to) {
  if constexpr (std::is_same_v<T, S>) {
    if (stride == 1) {
      std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
      return;
    }
  }
  if (stride == 1) {
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(widen(from[i]));
  } else {
    for (int64_t i = 0; i < count; ++i) {
      to[i] = static_cast<T>(widen(from[i * stride]));
    }
  }
}

/// C[i, n] = (or +=) sum_k A[i, k] B[k, n] for kRows rows and kVectors vectors of columns, held in
/// registers. A has any strides, B and C have contiguous columns.
template <bool kAdd, int kRows, int kVectors, class T>
inline void block(int64_t depth, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_k,
                  T* c, int64_t c_row) {
  Vector<T> sums[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int n = 0; n < kVectors; ++n) {
      sums[i][n] = kAdd ? load(c + i * c_row + n * kLanes<T>) : Vector<T>{};
    }
  }
  for (int64_t k = 0; k < depth; ++k, a += a_k, b += b_k) {
    Vector<T> columns[kVectors];
    for (int n = 0; n < kVectors; ++n) columns[n] = load(b + n * kLanes<T>);
    for (int i = 0; i < kRows; ++i) {
      const Vector<T> left = broadcast(a[i * a_row]);
      for (int n = 0; n < kVectors; ++n) sums[i][n] += left * columns[n];
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int n = 0; n < kVectors; ++n) store(c + i * c_row + n * kLanes<T>, sums[i][n]);
  }
}

/// The rows of one panel of columns. Six rows of two vectors fill the 16 registers of AVX2 with
/// twelve sums, two columns and one factor.
template <bool kAdd, int kVectors, class T>
inline void panel(int64_t rows, int64_t depth, const T* a, int64_t a_row, int64_t a_k, const T* b,
                  int64_t b_k, T* c, int64_t c_row) {
  int64_t i = 0;
  for (; i + 6 <= rows; i += 6) {
    block<kAdd, 6, kVectors>(depth, a + i * a_row, a_row, a_k, b, b_k, c + i * c_row, c_row);
  }
  a += i * a_row;
  c += i * c_row;
  switch (rows - i) {
    case 5:
      return block<kAdd, 5, kVectors>(depth, a, a_row, a_k, b, b_k, c, c_row);
    case 4:
      return block<kAdd, 4, kVectors>(depth, a, a_row, a_k, b, b_k, c, c_row);
    case 3:
      return block<kAdd, 3, kVectors>(depth, a, a_row, a_k, b, b_k, c, c_row);
    case 2:
      return block<kAdd, 2, kVectors>(depth, a, a_row, a_k, b, b_k, c, c_row);
    case 1:
      return block<kAdd, 1, kVectors>(depth, a, a_row, a_k, b, b_k, c, c_row);
    default:
      return;
  }
}

/// C [rows, columns] = (or +=) A B; `columns` is a multiple of kLanes. The columns n .. of B start
/// at b + (n / width) * b_panel for panels of `width` = 2 kLanes columns: b_panel = 2 kLanes is a
/// plain row-major B.
template <bool kAdd, class T>
inline void product(int64_t rows, int64_t columns, int64_t depth, const T* a, int64_t a_row,
                    int64_t a_k, const T* b, int64_t b_k, int64_t b_panel, T* c, int64_t c_row) {
  constexpr int64_t kWidth = 2 * kLanes<T>;
  int64_t n = 0;
  for (; n + kWidth <= columns; n += kWidth, b += b_panel) {
    panel<kAdd, 2>(rows, depth, a, a_row, a_k, b, b_k, c + n, c_row);
  }
  if (n < columns) panel<kAdd, 1>(rows, depth, a, a_row, a_k, b, b_k, c + n, c_row);
}

}  // namespace megafold::kernels::simd
