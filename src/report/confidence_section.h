// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the model says of its own prediction: pLDDT along the chains and the matrix of predicted
// aligned errors, from predicted_confidences.json.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "predict/entry.h"

namespace megafold {

/// `confidences`: the object that predict/confidence_json.h makes. Throws Corrupt when its lengths
/// are not those of the entry.
[[nodiscard]] std::string confidence_section(const Entry& entry, const nlohmann::json& confidences);

/// A square matrix [n, n] of 0 .. 1 as a picture, "data:image/bmp;base64,...": row 0 on top, dark
/// where small; more than `most` rows are thinned out by means. Values outside are clipped, NaN
/// is 1.
[[nodiscard]] std::string matrix_picture(const std::vector<double>& values, size_t n,
                                         size_t most = 512);

}  // namespace megafold
