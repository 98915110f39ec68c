// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Fragments of a 32-lane warp, made of mma.sync m16n8k16 (16-bit) and m16n8k8 (TF32) and ldmatrix.
// `Isa` is the instructions: PTX (sm80/isa.cuh) or the emulator's (host/isa.h), so the CPU executes
// this very composition.
//
// Element i = 4 j + 2 r + e of lane l = 4 g + t stands at line g + 8 r, step 8 j + 2 t + e. That is
// PTX's own layout of the accumulator and of a 16-bit left operand, and of a right operand read as
// [n][k]. TF32 operands want steps t and t + 4 in a lane where ours are 2 t and 2 t + 1: a sum over
// k does not mind its order, so both operands simply carry their steps permuted.
#pragma once

#include "kernels/common/arch/arch.h"

namespace megafold::kernels::arch::sm80 {

struct Half16Operand {
  uint32_t v[4];  // register 2 j + r holds elements 4 j + 2 r and the next
};

template <class T>
struct OperandOf {
  using Type = Half16Operand;
};
template <>
struct OperandOf<float> {
  using Type = Floats<8>;
};

template <class Isa>
struct Arch : Isa {
  static constexpr int kElements = 8, kLines = 2, kRun = 2, kLineHops = 2;
  using Accumulator = Floats<8>;
  template <class T>
  using Operand = typename OperandOf<T>::Type;
  template <class T>
  using Shared = typename Isa::template Shared<T>;

  /// Which of the lane's lines element i lies on.
  static constexpr int slot(int i) { return (i >> 1) & 1; }
  MEGAFOLD_DEVICE static int line(int slot) { return (Isa::lane() >> 2) + 8 * slot; }
  MEGAFOLD_DEVICE static int step(int i) { return 8 * (i >> 2) + 2 * (Isa::lane() & 3) + (i & 1); }
  static constexpr int line_hop(int hop) { return 1 << hop; }

  /// The operand stored as tile[line][step], rows `stride` elements apart.
  template <class T>
  MEGAFOLD_DEVICE static Operand<T> load_lines(Shared<T> tile, int stride) {
    Operand<T> to;
    const int lane = Isa::lane();
    if constexpr (sizeof(T) == 2) {  // ldmatrix: lane l gives the address of row l % 8, block l / 8
      const int block = lane >> 3;
      Isa::ldmatrix(to.v, tile + (((lane & 7) + 8 * (block & 1)) * stride + 8 * (block >> 1)));
    } else {
      MEGAFOLD_UNROLL
      for (int i = 0; i < 8; i += 2) {
        const auto pair = Isa::template load<2>(tile + (line(slot(i)) * stride + step(i)));
        to.v[i] = Isa::to_tf32(pair.v[0]);
        to.v[i + 1] = Isa::to_tf32(pair.v[1]);
      }
    }
    return to;
  }

  /// The operand stored as tile[step][line].
  template <class T>
  MEGAFOLD_DEVICE static Operand<T> load_steps(Shared<T> tile, int stride) {
    Operand<T> to;
    const int lane = Isa::lane();
    if constexpr (sizeof(T) == 2) {
      const int block = lane >> 3;
      Isa::ldmatrix_transposed(to.v,
                               tile + (((lane & 7) + 8 * (block >> 1)) * stride + 8 * (block & 1)));
    } else {
      MEGAFOLD_UNROLL
      for (int i = 0; i < 8; ++i) {
        const auto one = Isa::template load<1>(tile + (step(i) * stride + line(slot(i))));
        to.v[i] = Isa::to_tf32(one.v[0]);
      }
    }
    return to;
  }

  /// The value that a product sees for an element.
  template <class T>
  MEGAFOLD_DEVICE static float as_operand(T x) {
    if constexpr (sizeof(T) == 2) {
      return Isa::to_float(x);
    } else {
      return Isa::to_tf32(x);
    }
  }

  /// An accumulator as the operand of the next product.
  template <class T>
  MEGAFOLD_DEVICE static Operand<T> convert(const Accumulator& from) {
    Operand<T> to;
    if constexpr (sizeof(T) == 2) {
      MEGAFOLD_UNROLL
      for (int i = 0; i < 4; ++i) {
        to.v[i] = Isa::template pack<T>(from.v[2 * i], from.v[2 * i + 1]);
      }
    } else {
      MEGAFOLD_UNROLL
      for (int i = 0; i < 8; ++i) {
        to.v[i] = Isa::to_tf32(from.v[i]);
      }
    }
    return to;
  }

  template <class T>
  MEGAFOLD_DEVICE static void multiply(Accumulator& c, const Operand<T>& a, const Operand<T>& b) {
    MEGAFOLD_UNROLL
    for (int n = 0; n < 2; ++n) {  // columns 8 n to 8 n + 7 are the right operand's lines of slot n
      if constexpr (sizeof(T) == 2) {
        const uint32_t right[2] = {b.v[n], b.v[2 + n]};
        Isa::template mma_m16n8k16<T>(c.v + 4 * n, a.v, right);
      } else {
        MEGAFOLD_UNROLL
        for (int k = 0; k < 2; ++k) {
          const float left[4] = {a.v[4 * k], a.v[4 * k + 2], a.v[4 * k + 1], a.v[4 * k + 3]};
          const float right[2] = {b.v[4 * k + 2 * n], b.v[4 * k + 2 * n + 1]};
          Isa::mma_m16n8k8_tf32(c.v + 4 * n, left, right);
        }
      }
    }
  }
};

}  // namespace megafold::kernels::arch::sm80
