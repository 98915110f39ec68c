// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the operators share: torch's stable ABI, and the kernels' names of its types.
#pragma once

#define TORCH_TARGET_VERSION 0x020a000000000000ULL
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#ifdef MEGAFOLD_CUDA
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#endif

#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/common/types.h"

namespace megafold::python {

using torch::stable::Tensor;
using Maybe = std::optional<Tensor>;

#ifdef MEGAFOLD_CUDA
constexpr kernels::Place kPlace = kernels::Place::gpu;
#else
constexpr kernels::Place kPlace = kernels::Place::cpu;
#endif

inline kernels::DType dtype_of(const Tensor& t, const char* name) {
  switch (t.scalar_type()) {
    case torch::headeronly::ScalarType::Half:
      return kernels::DType::f16;
    case torch::headeronly::ScalarType::BFloat16:
      return kernels::DType::bf16;
    case torch::headeronly::ScalarType::Float:
      return kernels::DType::f32;
    case torch::headeronly::ScalarType::Double:
      return kernels::DType::f64;
    default:
      STD_TORCH_CHECK(false, name, " is none of float64, float32, bfloat16, float16");
  }
}

inline std::string shape_of(const Tensor& t) {
  std::string text = "[";
  for (int64_t i = 0; i < t.dim(); ++i) text += (i > 0 ? ", " : "") + std::to_string(t.size(i));
  return text + "]";
}

/// The stream that torch's next operator on t's device would use; null on the CPU.
inline kernels::Stream current_stream([[maybe_unused]] const Tensor& t) {
#ifdef MEGAFOLD_CUDA
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(t.get_device_index(), &stream));
  return stream;
#else
  return nullptr;
#endif
}

/// Launches on the device that is current, with a workspace from torch.
template <class Params>
void launch(const kernels::Implementation<Params>& implementation, const Params& params,
            const Tensor& like) {
  const Tensor workspace =
      torch::stable::new_empty(like, std::vector<int64_t>{implementation.workspace_bytes(params)},
                               torch::headeronly::ScalarType::Byte);
  implementation.launch(params, workspace.data_ptr(), current_stream(like));
}

/// Calls an operator by name; its results stand in the returned stack, which has a place for each
/// argument.
template <class... Arguments>
std::array<StableIValue, sizeof...(Arguments)> call(const char* name, const char* overload,
                                                    const Arguments&... arguments) {
  std::array<StableIValue, sizeof...(Arguments)> stack = {
      torch::stable::detail::from(arguments)...};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, overload, stack.data(), TORCH_ABI_VERSION));
  return stack;
}

/// The first three results of a call.
template <size_t kArguments>
std::tuple<Tensor, Tensor, Tensor> three(const std::array<StableIValue, kArguments>& stack) {
  using torch::stable::detail::to;
  return {to<Tensor>(stack[0]), to<Tensor>(stack[1]), to<Tensor>(stack[2])};
}

}  // namespace megafold::python
