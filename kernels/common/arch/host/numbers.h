// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Conversions of 16-bit floats and TF32 on the CPU, as the GPUs' instructions do them.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/common/arch/arch.h"
#include "kernels/common/number.h"

namespace megafold::kernels::arch::host {

inline float to_float(float x) {
  return x;
}
inline float to_float(Bf16 x) {
  return widen(std::bit_cast<bf16>(x));
}
inline float to_float(F16 x) {
  return widen(std::bit_cast<f16>(x));
}

/// To nearest, ties to even.
template <class T>
T from_float(float x);
template <>
inline float from_float<float>(float x) {
  return x;
}
template <>
inline Bf16 from_float<Bf16>(float x) {
  return std::bit_cast<Bf16>(narrow<bf16>(x));
}
template <>
inline F16 from_float<F16>(float x) {
  return std::bit_cast<F16>(narrow<f16>(x));
}

/// To nearest, ties away from zero: PTX's cvt.rna.tf32.f32.
inline float round_to_tf32(float x) {
  return std::isfinite(x) ? std::bit_cast<float>((std::bit_cast<uint32_t>(x) + 0x1000U) & ~0x1fffU)
                          : x;
}
/// What a TF32 product does to an operand: the low 13 bits do not count.
inline float truncate_to_tf32(float x) {
  return std::isfinite(x) ? std::bit_cast<float>(std::bit_cast<uint32_t>(x) & ~0x1fffU) : x;
}

}  // namespace megafold::kernels::arch::host
