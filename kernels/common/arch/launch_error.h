// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace megafold::kernels::arch {

/// Throws megafold::Device. Out of line, so that nvcc and hipcc need not read the error library.
[[noreturn]] void fail_launch(const char* kernel, const char* error);

}  // namespace megafold::kernels::arch
