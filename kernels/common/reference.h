// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the fp64 references share: elements of any type read and written as double.
#pragma once

#include "kernels/common/number.h"

namespace megafold::kernels {

inline double at(const void* data, DType dtype, int64_t i) {
  return with_type(dtype, [&](auto t) {
    return static_cast<double>(widen(static_cast<const decltype(t)*>(data)[i]));
  });
}

/// Rounds to the nearest of `dtype`.
inline void put(void* data, DType dtype, int64_t i, double value) {
  with_type(dtype, [&](auto t) {
    using T = decltype(t);
    static_cast<T*>(data)[i] = narrow<T>(static_cast<Accumulate<T>>(value));
  });
}

template <class Params>
int64_t no_workspace(const Params&) {
  return 0;
}

}  // namespace megafold::kernels
