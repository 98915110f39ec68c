// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/device.h"

#include <ATen/ATen.h>

#include "base/errors.h"

namespace megafold {

at::Device parse_device(std::string_view name) {
  if (name == "cpu") return at::kCPU;
  if (name != "cuda") fail<BadInput>("device '{}': cpu and cuda are known", name);
#ifndef MEGAFOLD_CUDA
  fail<Unsupported>("device cuda: this program was built for the CPU alone; build preset cuda");
#else
  if (!at::globalContext().hasCUDA())
    fail<Device>(
        "device cuda: no GPU of the kind that this LibTorch drives; `megafold doctor` says "
        "what this machine has");
  return {at::kCUDA, 0};
#endif
}

}  // namespace megafold
