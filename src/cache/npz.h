// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Arrays as numpy.load reads them: a zip archive of .npy members, stored and not compressed.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "cache/reader.h"

namespace megafold {

/// Publishes the arrays under their names, in the order given. Throws Unsupported where the archive
/// would exceed 4 GiB (the plain zip format's limit).
void write_npz(const std::filesystem::path& path,
               const std::vector<std::pair<std::string, ArrayView>>& arrays);

}  // namespace megafold
