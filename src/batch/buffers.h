// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Memory for the large tensors of a sample. The system zeroes fresh pages when they are first
// touched, which takes longer than unpacking an alignment into them; so buffers go back to a pool
// when the last tensor that uses them is gone, and the next sample gets them warm.
#pragma once

#include <ATen/ATen.h>

namespace megafold {

/// A CPU tensor whose values are whatever was there. Safe to use from several threads.
at::Tensor pooled_tensor(at::IntArrayRef sizes, at::ScalarType type);

}  // namespace megafold
