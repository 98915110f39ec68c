// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// State dicts as torch.save writes them: a zip archive of stored members, whose data.pkl is a
// pickle program. It is run by an interpreter that knows the few instructions and names that make
// tensors, dicts and numbers; any other name is refused. Nothing of the file is ever executed.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace megafold {

/// The tensors by name, in the file's order. Nested dicts join their keys with dots; where the file
/// holds a dict "model", "state_dict" or "ema" beside other things, that one alone is read; a
/// common "module." in front is dropped. The tensors are views of the mapped file (do not write).
/// Throws BadInput (no such file, no archive of torch, a name outside the allow-list, which is
/// given) and Corrupt (cut short, a member or a tensor outside its bytes, a malformed pickle).
[[nodiscard]] std::vector<std::pair<std::string, at::Tensor>> read_torch_state(
    const std::filesystem::path& path);

}  // namespace megafold
