// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The instructions of NVIDIA's sm_80 and newer that portable kernels use, as PTX.
#pragma once

#include "kernels/common/arch/arch.h"

namespace megafold::kernels::arch::sm80 {

extern __shared__ __align__(16) unsigned char block_shared[];

struct Isa {
  static constexpr int kWave = 32;
  template <class T>
  using Shared = T*;

  MEGAFOLD_DEVICE static int thread() { return static_cast<int>(threadIdx.x); }
  MEGAFOLD_DEVICE static int lane() { return static_cast<int>(threadIdx.x) & 31; }
  MEGAFOLD_DEVICE static int wave() { return static_cast<int>(threadIdx.x) >> 5; }
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

  /// Starts a copy of 16 bytes; zeros are written and nothing is read when not `valid`.
  template <class T>
  MEGAFOLD_DEVICE static void copy16(T* to, const T* from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(to)), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
  }
  MEGAFOLD_DEVICE static void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
  /// Waits for this thread's own copies, except those of the `newest` last groups.
  template <int newest>
  MEGAFOLD_DEVICE static void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(newest) : "memory");
  }

  MEGAFOLD_DEVICE static float shuffle_xor(float value, int mask) {
    return __shfl_xor_sync(0xffffffffU, value, mask);
  }

  MEGAFOLD_DEVICE static float exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
  MEGAFOLD_DEVICE static float log2(float x) { return __log2f(x); }
  MEGAFOLD_DEVICE static float min(float a, float b) { return fminf(a, b); }

  MEGAFOLD_DEVICE static float to_float(float x) { return x; }
  MEGAFOLD_DEVICE static float to_float(Bf16 x) {
    return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
  }
  MEGAFOLD_DEVICE static float to_float(F16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
  }
  /// Two floats rounded to T, the first in the low half.
  template <class T>
  MEGAFOLD_DEVICE static uint32_t pack(float low, float high) {
    uint32_t y;
    if constexpr (T::kIsBf16) {
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    } else {
      asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    }
    return y;
  }
  template <class T>
  MEGAFOLD_DEVICE static T from_float(float x) {
    if constexpr (sizeof(T) == 4) {
      return x;
    } else {
      return T{static_cast<uint16_t>(pack<T>(x, 0.0F) & 0xffffU)};
    }
  }
  MEGAFOLD_DEVICE static float to_tf32(float x) {
    uint32_t y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
    return __uint_as_float(y);
  }

  template <class T>
  MEGAFOLD_DEVICE static void ldmatrix(uint32_t (&to)[4], const T* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address(row))
                 : "memory");
  }
  template <class T>
  MEGAFOLD_DEVICE static void ldmatrix_transposed(uint32_t (&to)[4], const T* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address(row))
                 : "memory");
  }
  template <class T>
  MEGAFOLD_DEVICE static void mma_m16n8k16(float* c, const uint32_t (&a)[4],
                                           const uint32_t (&b)[2]) {
    if constexpr (T::kIsBf16) {
      asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
          "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else {
      asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
          "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
  }
  MEGAFOLD_DEVICE static void mma_m16n8k8_tf32(float* c, const float (&a)[4], const float (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
  }

 private:
  template <class T>
  MEGAFOLD_DEVICE static uint32_t address(const T* shared) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  }
};

}  // namespace megafold::kernels::arch::sm80
