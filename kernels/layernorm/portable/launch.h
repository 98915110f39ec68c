// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From Params to launches. `Start` says where a kernel runs, as in evo_attention/portable/launch.h.
#pragma once

#include <algorithm>

#include "kernels/layernorm/portable/kernels.h"

namespace megafold::kernels::layernorm_portable {

/// A row of more does not fit a warp's registers (eight pieces of 16-bit elements spill).
constexpr int64_t kMostChannels = 1024;

/// Calls f.operator()<lanes, pieces>() for rows of T, on waves of kWave lanes.
template <class T, int kWave, class F>
void with_group(int64_t channels, const F& f) {
  const int64_t chunks = (channels + arch::kChunk<T> - 1) / arch::kChunk<T>;
  if (chunks <= 8) {
    f.template operator()<8, 1>();
  } else if (chunks <= 16) {
    f.template operator()<16, 1>();
  } else if (chunks <= 32) {
    f.template operator()<32, 1>();
  } else if (chunks <= 64) {
    f.template operator()<32, 2>();
  } else if (sizeof(T) == 2 || chunks <= 128) {
    f.template operator()<32, 4>();
  } else if constexpr (sizeof(T) == 4) {
    f.template operator()<kWave, 256 / kWave>();  // eight pieces spill on gfx90a (waves of 64)
  }
}

inline bool moves_16_bytes(const LayerNormForward& p, const void* pointer, int64_t row) {
  const int64_t element = size_of(p.dtype);
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0 && p.channels * element % 16 == 0 &&
         (row * element % 16 == 0 || p.rows <= 1);
}

template <class T, class Start>
void start_forward(const LayerNormForward& p, const Start& start) {
  Args args;
  args.params.forward = p;
  args.aligned = moves_16_bytes(p, p.x, p.x_row) && moves_16_bytes(p, p.y, p.y_row);
  with_group<T, Start::kWave>(p.channels, [&]<int lanes, int pieces>() {
    using Kernel = ForwardKernel<T, lanes, pieces>;
    start.template operator()<Kernel>(args, Kernel::blocks(p.rows, Start::kWave));
  });
}

/// The backward's blocks, 16 rows a group or more where there are many: by the shape alone.
inline int64_t backward_blocks(const LayerNormForward& p) {
  return std::clamp<int64_t>((p.rows + 127) / 128, 1, kMostBlocks);
}
inline int64_t backward_workspace(const LayerNormBackward& b) {
  if (b.dgamma == nullptr && b.dbeta == nullptr) return 0;
  return 2 * backward_blocks(b.forward) * b.forward.channels * 4;
}

template <class T, class Start>
void start_backward(const LayerNormBackward& b, void* workspace, const Start& start) {
  const LayerNormForward& p = b.forward;
  Args args;
  args.params = b;
  args.aligned = moves_16_bytes(p, p.x, p.x_row) && moves_16_bytes(p, b.dy, b.dy_row) &&
                 moves_16_bytes(p, b.dx, b.dx_row);
  args.blocks = backward_blocks(p);
  const bool sums = b.dgamma != nullptr || b.dbeta != nullptr;
  args.partial = sums ? static_cast<float*>(workspace) : nullptr;
  with_group<T, Start::kWave>(p.channels, [&]<int lanes, int pieces>() {
    start.template operator()<BackwardKernel<T, lanes, pieces>>(args, args.blocks);
  });
  if (sums)
    start.template operator()<SumKernel<T>>(args, SumKernel<T>::blocks(p.channels, Start::kWave));
}

}  // namespace megafold::kernels::layernorm_portable
