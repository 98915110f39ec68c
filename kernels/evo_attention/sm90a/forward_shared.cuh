// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention forward on Hopper where rows share a bias:
//   out = sigmoid(gate) * softmax(scale q k^T + bias + mask) v.
//
// One persistent CTA per multiprocessor takes items (batch, group of rows, head, block of queries)
// from a counter. Warp roles: three consumer warpgroups, one a row, and one producer warpgroup
// whose warps are 0 hand-out and Q, 1 K and V, 2 bias, 3 mask. Per step a consumer holds one score
// tile of 64 queries x 64 keys in registers:
//
//   S = bias tile (already divided by scale)          16-byte loads: they are wgmma's accumulators
//   S += q k^T                                        wgmma
//   P = 2^(scale log2(e) S) in bf16                   no shift: see below
//   [O | l] += P [v | valid]                          wgmma, P from registers
//
// The mask costs the consumers nothing: warp 3 zeroes the masked rows of v in shared memory and
// puts a column `valid` (1 or 0) of the keys beside v, so the row sum l comes out of the same
// product and a masked key adds nothing to it. Keys past the end arrive as zeros and are masked the
// same way.
//
// No running maximum: fp32 and bf16 reach 2^127, so a row is right whenever its l lies within
// kSmallestSum .. kLargestSum and everything is finite. A tile with a row outside goes to a list,
// and the exact kernel (forward_exact.cuh) does it again from the caller's tensors.
//
// What bounds it: exponentials beside the products; then shared-memory bandwidth (docs/kernels/
// evo_attention.md has the measurements).
#pragma once

#include "kernels/common/arch/sm90a/host.h"
#include "kernels/evo_attention/sm90a/forward_consumer.cuh"
#include "kernels/evo_attention/sm90a/forward_producer.cuh"

namespace megafold::kernels::sm90a {

template <class Shape>
__global__ void __launch_bounds__(ForwardLayout<Shape>::kThreads, 1)
    evo_attention_shared(const __grid_constant__ ForwardArgs args) {
  using Context = ForwardContext<Shape>;
  using L = typename Context::L;
  extern __shared__ __align__(1024) uint8_t shared[];
  const Context context{args, shared,
                        *reinterpret_cast<typename Context::Sync*>(shared + L::kTileBytes)};
  if (threadIdx.x == 0) context.init_barriers();
  __syncthreads();
  allow_next_kernel();
  wait_for_earlier_kernels();
  const int group = static_cast<int>(threadIdx.x / 128);
  if (group == L::kRows) {
    setmaxnreg_decrease<L::kProducerRegisters>();
    const ForwardProducer<Context> producer{context};
    const int warp = static_cast<int>(threadIdx.x / 32 % 4);
    const int lane = static_cast<int>(threadIdx.x % 32);
    if (warp == 0 && lane == 0) producer.produce_queries();
    if (warp == 1 && lane == 0) producer.produce_keys();
    if (warp == 2 && lane == 0) producer.produce_bias();
    if (warp == 3) producer.apply_mask(lane);
  } else {
    setmaxnreg_increase<L::kConsumerRegisters>();
    ForwardConsumer<Context> consumer(context, group);
    consumer.consume();
  }
}

template <class Shape>
void launch_shared(const ForwardArgs& args, int grid, Stream stream) {
  using Context = ForwardContext<Shape>;
  launch(evo_attention_shared<Shape>, dim3(grid), dim3(Context::L::kThreads), Context::kSharedBytes,
         stream, true, args);
}

template <class Shape>
constexpr SharedPlan shared_plan() {
  return {Shape::kRows, Shape::kSubs, launch_shared<Shape>};
}

}  // namespace megafold::kernels::sm90a
