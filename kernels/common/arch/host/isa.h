// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The instructions of sm80/isa.cuh (at wave 32) and cdna/isa.h (at wave 64), emulated. Matrix
// instructions spell out the register layouts of NVIDIA's PTX manual and AMD's CDNA 2 guide, so the
// compositions in sm80/fragments.h and cdna/fragments.h are executed as they are.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/common/arch/arch.h"
#include "kernels/common/arch/cdna/fragments.h"
#include "kernels/common/arch/host/emulator.h"
#include "kernels/common/arch/host/numbers.h"
#include "kernels/common/arch/sm80/fragments.h"

namespace megafold::kernels::arch::host {

/// An address in shared memory; every access through it is checked.
template <class T>
struct SharedPointer {
  uint32_t offset = 0;
  friend SharedPointer operator+(SharedPointer pointer, int64_t elements) {
    return {static_cast<uint32_t>(pointer.offset + elements * static_cast<int64_t>(sizeof(T)))};
  }
};

/// What both waves share.
template <int wave_size>
struct CommonIsa {
  static constexpr int kWave = wave_size;
  template <class T>
  using Shared = SharedPointer<T>;

  static int thread() { return current_thread(); }
  static int lane() { return current_thread() % kWave; }
  static int wave() { return current_thread() / kWave; }
  static void barrier() { host::barrier(); }

  template <class T>
  static Shared<T> shared(int byte_offset) {
    return {static_cast<uint32_t>(byte_offset)};
  }
  template <int n, class T>
  static Pack<T, n> load(Shared<T> from) {
    Pack<T, n> value;
    shared_read(from.offset, sizeof(value), &value);
    return value;
  }
  template <int n, class T>
  static void store(Shared<T> to, const Pack<T, n>& value) {
    shared_write(to.offset, sizeof(value), &value);
  }

  template <class T>
  static void copy16(Shared<T> to, const T* from, bool valid) {
    copy_async(to.offset, from, valid);
  }
  static void copy_commit() { host::copy_commit(); }
  template <int newest>
  static void copy_wait() {
    host::copy_wait(newest);
  }

  static float shuffle_xor(float value, int mask) {
    struct Argument {
      float in;
      int mask;
      float out;
    } mine{value, mask, 0.0F};
    meet(Meeting::shuffle, &mine, [](void* const* lanes, int) {
      for (int l = 0; l < kWave; ++l) {
        auto* to = static_cast<Argument*>(lanes[l]);
        to->out = static_cast<const Argument*>(lanes[l ^ to->mask])->in;
      }
    });
    return mine.out;
  }

  static float exp2(float x) { return std::exp2(x); }
  static float log2(float x) { return std::log2(x); }
  static float min(float a, float b) { return std::fmin(a, b); }

  static float to_float(float x) { return x; }
  static float to_float(Bf16 x) { return host::to_float(x); }
  static float to_float(F16 x) { return host::to_float(x); }
  template <class T>
  static T from_float(float x) {
    return host::from_float<T>(x);
  }
};

struct Isa32 : CommonIsa<32> {
  template <class T>
  static uint32_t pack(float low, float high) {
    return from_float<T>(low).bits | static_cast<uint32_t>(from_float<T>(high).bits) << 16;
  }
  static float to_tf32(float x) { return round_to_tf32(x); }

  template <class T>
  static void ldmatrix(uint32_t (&to)[4], Shared<T> row) {
    load_matrices<T, false>(to, row);
  }
  template <class T>
  static void ldmatrix_transposed(uint32_t (&to)[4], Shared<T> row) {
    load_matrices<T, true>(to, row);
  }

  /// PTX, mma.m16n8k16: a's register 2 j + r holds row l / 4 + 8 r, columns 8 j + 2 (l % 4) and the
  /// next; b's register j holds rows 8 j + 2 (l % 4) and the next of column l / 4; c's register
  /// 2 r + e holds row l / 4 + 8 r, column 2 (l % 4) + e.
  template <class T>
  static void mma_m16n8k16(float* c, const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    struct Argument {
      float* c;
      const uint32_t *a, *b;
    } mine{c, a, b};
    meet(Meeting::product, &mine, [](void* const* lanes, int) {
      float left[16][16], right[16][8];
      for (int l = 0; l < 32; ++l) {
        const auto& from = *static_cast<const Argument*>(lanes[l]);
        for (int e = 0; e < 2; ++e) {
          const int k = 2 * (l % 4) + e;
          for (int j = 0; j < 2; ++j) {
            left[l / 4][8 * j + k] = half<T>(from.a[2 * j], e);
            left[l / 4 + 8][8 * j + k] = half<T>(from.a[2 * j + 1], e);
            right[8 * j + k][l / 4] = half<T>(from.b[j], e);
          }
        }
      }
      accumulate<16, Argument>(lanes, left, right);
    });
  }

  /// PTX, mma.m16n8k8 .tf32: a's register 2 j + r holds row l / 4 + 8 r, column l % 4 + 4 j; b's
  /// register j holds row l % 4 + 4 j of column l / 4; c as above.
  static void mma_m16n8k8_tf32(float* c, const float (&a)[4], const float (&b)[2]) {
    struct Argument {
      float* c;
      const float *a, *b;
    } mine{c, a, b};
    meet(Meeting::product, &mine, [](void* const* lanes, int) {
      float left[16][8], right[8][8];
      for (int l = 0; l < 32; ++l) {
        const auto& from = *static_cast<const Argument*>(lanes[l]);
        for (int j = 0; j < 2; ++j) {
          left[l / 4][l % 4 + 4 * j] = truncate_to_tf32(from.a[2 * j]);
          left[l / 4 + 8][l % 4 + 4 * j] = truncate_to_tf32(from.a[2 * j + 1]);
          right[l % 4 + 4 * j][l / 4] = truncate_to_tf32(from.b[j]);
        }
      }
      accumulate<8, Argument>(lanes, left, right);
    });
  }

 private:
  template <class T>
  static float half(uint32_t word, int e) {
    return host::to_float(T{static_cast<uint16_t>(word >> (16 * e))});
  }

  template <int depth, class Argument>
  static void accumulate(void* const* lanes, const float (&left)[16][depth],
                         const float (&right)[depth][8]) {
    for (int l = 0; l < 32; ++l) {
      float* c = static_cast<const Argument*>(lanes[l])->c;
      for (int i = 0; i < 4; ++i) {
        for (int k = 0; k < depth; ++k) {
          c[i] += left[l / 4 + 8 * (i / 2)][k] * right[k][2 * (l % 4) + i % 2];
        }
      }
    }
  }

  /// PTX, ldmatrix.x4: lane 8 m + r gives the address of row r of matrix m; register m of lane l
  /// gets row l / 4, columns 2 (l % 4) and the next, of matrix m or of its transpose.
  template <class T, bool transposed>
  static void load_matrices(uint32_t (&to)[4], Shared<T> row) {
    struct Argument {
      uint32_t* to;
      uint32_t row;
    } mine{to, row.offset};
    meet(Meeting::load_matrix, &mine, [](void* const* lanes, int first_thread) {
      uint16_t matrix[4][8][8];
      for (int l = 0; l < 32; ++l) {
        shared_read_as(first_thread + l, static_cast<const Argument*>(lanes[l])->row, 16,
                       matrix[l / 8][l % 8]);
      }
      for (int l = 0; l < 32; ++l) {
        for (int m = 0; m < 4; ++m) {
          const int r = l / 4, k = 2 * (l % 4);
          const uint32_t low = transposed ? matrix[m][k][r] : matrix[m][r][k];
          const uint32_t high = transposed ? matrix[m][k + 1][r] : matrix[m][r][k + 1];
          static_cast<const Argument*>(lanes[l])->to[m] = low | high << 16;
        }
      }
    });
  }
};

struct Isa64 : CommonIsa<64> {
  /// CDNA 2, v_mfma_f32_16x16x16: element i of `first` is row l % 16, column 4 (l / 16) + i; of
  /// `second` row 4 (l / 16) + i, column l % 16; of c row 4 (l / 16) + i, column l % 16.
  template <class T>
  static void mfma_16x16x16(float (&c)[4], const Pack<T, 4>& first, const Pack<T, 4>& second) {
    struct Argument {
      float* c;
      const T *first, *second;
    } mine{c, first.v, second.v};
    meet(Meeting::product, &mine, [](void* const* lanes, int) {
      float left[16][16], right[16][16];
      for (int l = 0; l < 64; ++l) {
        const auto& from = *static_cast<const Argument*>(lanes[l]);
        for (int i = 0; i < 4; ++i) {
          left[l % 16][4 * (l / 16) + i] = host::to_float(from.first[i]);
          right[4 * (l / 16) + i][l % 16] = host::to_float(from.second[i]);
        }
      }
      accumulate<16, Argument>(lanes, left, right);
    });
  }

  /// CDNA 2, v_mfma_f32_16x16x4_f32: `first` is row l % 16, column l / 16; `second` row l / 16,
  /// column l % 16; c as above.
  static void mfma_16x16x4_f32(float (&c)[4], float first, float second) {
    struct Argument {
      float* c;
      float first, second;
    } mine{c, first, second};
    meet(Meeting::product, &mine, [](void* const* lanes, int) {
      float left[16][4], right[4][16];
      for (int l = 0; l < 64; ++l) {
        const auto& from = *static_cast<const Argument*>(lanes[l]);
        left[l % 16][l / 16] = from.first;
        right[l / 16][l % 16] = from.second;
      }
      accumulate<4, Argument>(lanes, left, right);
    });
  }

 private:
  template <int depth, class Argument>
  static void accumulate(void* const* lanes, const float (&left)[16][depth],
                         const float (&right)[depth][16]) {
    for (int l = 0; l < 64; ++l) {
      float* c = static_cast<const Argument*>(lanes[l])->c;
      for (int i = 0; i < 4; ++i) {
        for (int k = 0; k < depth; ++k) {
          c[i] += left[4 * (l / 16) + i][k] * right[k][l % 16];
        }
      }
    }
  }
};

/// The back ends: sm80's fragments on an emulated warp, CDNA's on an emulated wave.
using Warp32 = sm80::Arch<Isa32>;
using Wave64 = cdna::Arch<Isa64>;

}  // namespace megafold::kernels::arch::host
