// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include <string_view>

namespace megafold {

/// cpu or cuda. Throws BadInput for another name, Unsupported in a build without CUDA, Device where
/// there is no GPU.
at::Device parse_device(std::string_view name);

}  // namespace megafold
