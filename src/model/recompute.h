// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Activation checkpointing: a block of a stack keeps its inputs alone for the backward, which runs
// it once more. A step then holds one block's activations beside one z (and s, m, a) a block, and
// costs one more forward of the stacks. The second run draws what the first drew.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "model/primitives.h"

namespace megafold {

/// While one lives, this thread's blocks are run so (on = true) or as they stand.
class RecomputeMode {
 public:
  explicit RecomputeMode(bool on);
  ~RecomputeMode();
  RecomputeMode(const RecomputeMode&) = delete;
  RecomputeMode& operator=(const RecomputeMode&) = delete;
  static bool is_enabled();

 private:
  bool before_;
};

using BlockFunction =
    std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&, Dropout&)>;

/// block(inputs, drop), of one to three inputs. Whatever else `block` refers to (its weights,
/// masks) has to outlive the backward. Differentiable once, and by backward() alone: gradients of
/// weights go to their grad().
std::vector<at::Tensor> run_block(const std::vector<at::Tensor>& inputs, Dropout& drop,
                                  const BlockFunction& block);

}  // namespace megafold
