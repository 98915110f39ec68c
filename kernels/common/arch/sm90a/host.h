// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The host's side of a Hopper kernel: checked calls, tensor maps, launches.
#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "kernels/common/types.h"

namespace megafold::kernels::sm90a {

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
  }
}

/// cuTensorMapEncodeTiled of the driver that is loaded: nothing links libcuda.
inline PFN_cuTensorMapEncodeTiled_v12000 tensor_map_encoder() {
  static const auto encoder = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                           cudaEnableDefault, &found),
          "cudaGetDriverEntryPointByVersion(cuTensorMapEncodeTiled)");
    if (found != cudaDriverEntryPointSuccess) {
      throw std::runtime_error(
          "the CUDA driver has no cuTensorMapEncodeTiled: it is older than 12.0");
    }
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(entry);
  }();
  return encoder;
}

/// One dimension of a tensor map: `size` elements, `stride` elements apart (the innermost has 1),
/// of which a box takes `box`.
struct MapDimension {
  int64_t size = 1, stride = 1, box = 1;
};

/// A map of `rank` dimensions, innermost first, of 16- or 32-bit elements. The base and every outer
/// stride must be multiples of 16 bytes. Dimensions of size 1 may have any stride.
template <size_t kRank>
CUtensorMap make_tensor_map(const void* base, CUtensorMapDataType type, int64_t element_bytes,
                            const std::array<MapDimension, kRank>& dimensions,
                            CUtensorMapSwizzle swizzle) {
  static_assert(kRank >= 2 && kRank <= 5);
  std::array<cuuint64_t, kRank> sizes{};
  std::array<cuuint64_t, kRank> strides{};  // of dimensions 1 .., in bytes
  std::array<cuuint32_t, kRank> boxes{}, steps{};
  for (size_t i = 0; i < kRank; ++i) {
    const MapDimension& d = dimensions[i];
    sizes[i] = static_cast<cuuint64_t>(d.size);
    boxes[i] = static_cast<cuuint32_t>(d.box);
    steps[i] = 1;
    // A dimension of size 1 is never stepped along; its stride only has to be valid.
    if (i > 0)
      strides[i - 1] = static_cast<cuuint64_t>(d.size == 1 ? 16 : d.stride * element_bytes);
  }
  CUtensorMap map;
  const CUresult status =
      tensor_map_encoder()(&map, type, kRank, const_cast<void*>(base), sizes.data(), strides.data(),
                           boxes.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                           CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    std::string text = "cuTensorMapEncodeTiled refused (code " + std::to_string(status) + "):";
    for (const MapDimension& d : dimensions) {
      text += " size " + std::to_string(d.size) + " stride " + std::to_string(d.stride) + " box " +
              std::to_string(d.box) + ";";
    }
    throw std::runtime_error(text);
  }
  return map;
}

constexpr size_t kGrantedSharedBytes = 48 * 1024;  // to every kernel, without asking

/// Launches; with `overlap`, the kernel's prologue may run beside the end of the stream's previous
/// kernel (it must call wait_for_earlier_kernels() before it reads what that one writes).
template <class... Args>
void launch(void (*kernel)(Args...), dim3 grid, dim3 block, size_t shared_bytes, Stream stream,
            bool overlap, const Args&... args) {
  const auto check_launch = [&](cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    const char* name = "a kernel";
    cudaFuncGetName(&name, reinterpret_cast<const void*>(kernel));
    check(status, (std::string(what) + " of " + name).c_str());
  };
  if (shared_bytes > kGrantedSharedBytes) {  // asked for on each device, so at each launch
    check_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(shared_bytes)),
                 "shared memory");
  }
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &attribute;
  config.numAttrs = overlap ? 1 : 0;
  check_launch(cudaLaunchKernelEx(&config, kernel, args...), "launch");
}

struct DeviceInfo {
  int index = 0, multiprocessors = 0, capability = 0;  // capability: 90 for sm_90
};
/// Of the current device; asked once per device.
inline const DeviceInfo& device_info() {
  constexpr int kMaxDevices = 64;
  static std::array<DeviceInfo, kMaxDevices> devices = [] {
    std::array<DeviceInfo, kMaxDevices> all{};
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
    for (int i = 0; i < count && i < kMaxDevices; ++i) {
      int major = 0, minor = 0;
      check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i),
            "device attribute");
      check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, i),
            "device attribute");
      check(cudaDeviceGetAttribute(&all[i].multiprocessors, cudaDevAttrMultiProcessorCount, i),
            "device attribute");
      all[i].index = i;
      all[i].capability = 10 * major + minor;
    }
    return all;
  }();
  int current = 0;
  static const DeviceInfo none;
  if (cudaGetDevice(&current) != cudaSuccess || current >= kMaxDevices) return none;
  return devices[current];
}

}  // namespace megafold::kernels::sm90a
