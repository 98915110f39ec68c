// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Small words of HTML that the parts of a report share.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace megafold {

/// Text made safe for an element's content and for a quoted attribute.
[[nodiscard]] std::string escape_html(std::string_view text);

/// JSON for a <script type="application/json">: no "</" that could end the element, and null for
/// what is not finite.
[[nodiscard]] std::string script_json(const nlohmann::json& value);

/// A number as a person reads it: three significant digits, no trailing zeros, thousands set apart;
/// an en dash when it is not finite.
[[nodiscard]] std::string pretty(double value);

/// "4 min 40 s", "2 h 05 min", "0.8 s".
[[nodiscard]] std::string pretty_seconds(double seconds);

}  // namespace megafold
