// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Fragments of a 64-lane wave, made of MFMA 16x16x16 (16-bit) and 16x16x4 (fp32, exact products).
// `Isa` is the instructions: the compiler's builtins (cdna/isa.h) or the emulator's (host/isa.h).
//
// Element i of lane l stands at line l % 16, step 4 (l / 16) + i. MFMA gives its result's columns
// to lanes where we want lines, so `multiply` swaps the operands: it computes the transpose, whose
// columns are our lines. Then result and operands have one layout, as on sm80.
#pragma once

#include "kernels/common/arch/arch.h"

namespace megafold::kernels::arch::cdna {

template <class Isa>
struct Arch : Isa {
  static constexpr int kElements = 4, kLines = 1, kRun = 4, kLineHops = 2;
  using Accumulator = Floats<4>;
  template <class T>
  using Operand = Pack<T, 4>;
  template <class T>
  using Shared = typename Isa::template Shared<T>;

  static constexpr int slot(int /*i*/) { return 0; }
  MEGAFOLD_DEVICE static int line(int /*slot*/) { return Isa::lane() & 15; }
  MEGAFOLD_DEVICE static int step(int i) { return 4 * (Isa::lane() >> 4) + i; }
  static constexpr int line_hop(int hop) { return 16 << hop; }

  template <class T>
  MEGAFOLD_DEVICE static Operand<T> load_lines(Shared<T> tile, int stride) {
    return Isa::template load<4>(tile + (line(0) * stride + step(0)));
  }
  template <class T>
  MEGAFOLD_DEVICE static Operand<T> load_steps(Shared<T> tile, int stride) {
    Operand<T> to;
    MEGAFOLD_UNROLL
    for (int i = 0; i < 4; ++i) {
      to.v[i] = Isa::template load<1>(tile + (step(i) * stride + line(0))).v[0];
    }
    return to;
  }
  template <class T>
  MEGAFOLD_DEVICE static float as_operand(T x) {
    return Isa::to_float(x);
  }
  template <class T>
  MEGAFOLD_DEVICE static Operand<T> convert(const Accumulator& from) {
    Operand<T> to;
    MEGAFOLD_UNROLL
    for (int i = 0; i < 4; ++i) {
      to.v[i] = Isa::template from_float<T>(from.v[i]);
    }
    return to;
  }
  template <class T>
  MEGAFOLD_DEVICE static void multiply(Accumulator& c, const Operand<T>& a, const Operand<T>& b) {
    if constexpr (sizeof(T) == 2) {
      Isa::template mfma_16x16x16<T>(c.v, b, a);
    } else {
      MEGAFOLD_UNROLL
      for (int k = 0; k < 4; ++k) {
        Isa::mfma_16x16x4_f32(c.v, b.v[k], a.v[k]);
      }
    }
  }
};

}  // namespace megafold::kernels::arch::cdna
