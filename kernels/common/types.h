// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What every kernel's Params are made of. Kernels know no torch: raw pointers, strides in elements,
// a stream, and a workspace that the caller allocates.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace megafold::kernels {

enum class DType : uint8_t { f16, bf16, f32, f64 };

constexpr int64_t size_of(DType dtype) {
  return dtype == DType::f64 ? 8 : dtype == DType::f32 ? 4 : 2;
}
constexpr const char* name_of(DType dtype) {
  constexpr std::array names = {"f16", "bf16", "f32", "f64"};
  return names[static_cast<size_t>(dtype)];
}

/// A cudaStream_t or hipStream_t, without their headers. Null on the CPU and for the default
/// stream.
using Stream = void*;

/// Where the tensors of a call live.
enum class Place : uint8_t { cpu, gpu };

/// Why an implementation cannot take a call; empty: it can.
using Reasons = std::vector<std::string>;

/// One implementation of an operation. An operation's dispatch.cpp holds them in order of
/// preference, and the first one without reasons against it runs.
template <class Params>
struct Implementation {
  const char* name;  // as in reports: "sm90a", "portable", "cpu", "reference"
  Place place;
  Reasons (*supports)(const Params&);
  int64_t (*workspace_bytes)(const Params&);
  void (*launch)(const Params&, void* workspace, Stream);
};

}  // namespace megafold::kernels
