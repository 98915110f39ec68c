// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Running a kernel on tensors: its workspace comes from ATen's allocator, its stream is ATen's
// current one.
#pragma once

#include <ATen/ATen.h>

#include "base/errors.h"
#include "kernels/common/types.h"

namespace megafold::ops {

inline kernels::Place place_of(const at::Tensor& t) {
  return t.is_cuda() ? kernels::Place::gpu : kernels::Place::cpu;
}

/// The stream that ATen's next operator on the device would use; null on the CPU.
kernels::Stream current_stream(const at::Device& device);

/// Runs `implementation`; `like` tells the device. Errors of the kernel become Device.
template <class Params>
void launch(const kernels::Implementation<Params>& implementation, const Params& params,
            const at::Tensor& like) {
  const at::Tensor workspace =
      at::empty({implementation.workspace_bytes(params)}, like.options().dtype(at::kByte));
  try {
    implementation.launch(params, workspace.data_ptr(), current_stream(like.device()));
  } catch (const std::runtime_error& error) {
    fail<Device>("{} on {}: {}", implementation.name, like.device().str(), error.what());
  }
}

}  // namespace megafold::ops
