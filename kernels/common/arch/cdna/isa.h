// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The instructions of AMD's CDNA 2 (gfx90a) that portable kernels use, as compiler builtins. There
// is no asynchronous copy into the LDS on it: copy16 moves through registers at once, and commit
// and wait are empty.
#pragma once

#include <hip/hip_runtime.h>

#include "kernels/common/arch/arch.h"

namespace megafold::kernels::arch::cdna {

extern __shared__ __align__(16) unsigned char block_shared[];

struct Isa {
  static constexpr int kWave = 64;
  template <class T>
  using Shared = T*;
  typedef float Float4 __attribute__((ext_vector_type(4)));
  typedef short Short4 __attribute__((ext_vector_type(4)));
  typedef _Float16 Half4 __attribute__((ext_vector_type(4)));
  typedef uint32_t Word4 __attribute__((ext_vector_type(4)));

  MEGAFOLD_DEVICE static int thread() { return static_cast<int>(threadIdx.x); }
  MEGAFOLD_DEVICE static int lane() { return static_cast<int>(threadIdx.x) & 63; }
  MEGAFOLD_DEVICE static int wave() { return static_cast<int>(threadIdx.x) >> 6; }
  MEGAFOLD_DEVICE static void barrier() { __syncthreads(); }

  template <class T>
  MEGAFOLD_DEVICE static Shared<T> shared(int byte_offset) {
    return reinterpret_cast<T*>(block_shared + byte_offset);
  }
  template <int n, class T>
  MEGAFOLD_DEVICE static Pack<T, n> load(const T* from) {
    return *reinterpret_cast<const Pack<T, n>*>(from);
  }
  template <int n, class T>
  MEGAFOLD_DEVICE static void store(T* to, const Pack<T, n>& value) {
    *reinterpret_cast<Pack<T, n>*>(to) = value;
  }

  template <class T>
  MEGAFOLD_DEVICE static void copy16(T* to, const T* from, bool valid) {
    Word4 chunk = {0, 0, 0, 0};
    if (valid) {
      chunk = *reinterpret_cast<const Word4*>(from);
    }
    *reinterpret_cast<Word4*>(to) = chunk;
  }
  MEGAFOLD_DEVICE static void copy_commit() {}
  template <int newest>
  MEGAFOLD_DEVICE static void copy_wait() {}

  MEGAFOLD_DEVICE static float shuffle_xor(float value, int mask) {
    return __shfl_xor(value, mask, 64);
  }

  MEGAFOLD_DEVICE static float exp2(float x) { return __builtin_exp2f(x); }
  MEGAFOLD_DEVICE static float log2(float x) { return __builtin_log2f(x); }
  MEGAFOLD_DEVICE static float min(float a, float b) { return __builtin_fminf(a, b); }

  MEGAFOLD_DEVICE static float to_float(float x) { return x; }
  MEGAFOLD_DEVICE static float to_float(Bf16 x) {
    return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
  }
  MEGAFOLD_DEVICE static float to_float(F16 x) {
    return static_cast<float>(__builtin_bit_cast(_Float16, x.bits));
  }
  template <class T>
  MEGAFOLD_DEVICE static T from_float(float x) {
    if constexpr (sizeof(T) == 4) {
      return x;
    } else if constexpr (T::kIsBf16) {  // gfx90a has no conversion: to nearest, ties to even
      const uint32_t bits = __float_as_uint(x);
      const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
      const uint32_t quiet = (bits >> 16) | 0x40U;
      return T{static_cast<uint16_t>((bits & 0x7fffffffU) > 0x7f800000U ? quiet : rounded)};
    } else {
      return T{__builtin_bit_cast(uint16_t, static_cast<_Float16>(x))};
    }
  }

  /// d[m][n] = sum_k first[m][k] second[k][n] + c[m][n]; see the CDNA 2 instruction set guide.
  template <class T>
  MEGAFOLD_DEVICE static void mfma_16x16x16(float (&c)[4], const Pack<T, 4>& first,
                                            const Pack<T, 4>& second) {
    Float4 sum = {c[0], c[1], c[2], c[3]};
    if constexpr (T::kIsBf16) {
      sum = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(
          __builtin_bit_cast(Short4, first), __builtin_bit_cast(Short4, second), sum, 0, 0, 0);
    } else {
      sum = __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(Half4, first),
                                                  __builtin_bit_cast(Half4, second), sum, 0, 0, 0);
    }
    MEGAFOLD_UNROLL
    for (int i = 0; i < 4; ++i) {
      c[i] = sum[i];
    }
  }
  MEGAFOLD_DEVICE static void mfma_16x16x4_f32(float (&c)[4], float first, float second) {
    Float4 sum = {c[0], c[1], c[2], c[3]};
    sum = __builtin_amdgcn_mfma_f32_16x16x4f32(first, second, sum, 0, 0, 0);
    MEGAFOLD_UNROLL
    for (int i = 0; i < 4; ++i) {
      c[i] = sum[i];
    }
  }
};

}  // namespace megafold::kernels::arch::cdna
