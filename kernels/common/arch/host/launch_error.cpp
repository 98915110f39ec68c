// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/arch/launch_error.h"

#include <string>

#include "base/errors.h"

namespace megafold::kernels::arch {

void fail_launch(const char* kernel, const char* error) {
  throw Device(std::string("cannot start kernel ") + kernel + ": " + error);
}

}  // namespace megafold::kernels::arch
