// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "report/html.h"

#include <fmt/format.h>

#include <cmath>

namespace megafold {

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string script_json(const nlohmann::json& value) {
  // Bytes that are no UTF-8 (a title from a file in another encoding) become U+FFFD.
  const std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '<') {
      out += "\\u003c";  // also stops "<!--"
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string pretty(double value) {
  if (!std::isfinite(value)) return "\u2013";
  const double size = std::abs(value);
  if (size != 0 && (size < 1e-3 || size >= 1e9)) return fmt::format("{:.2e}", value);
  if (size >= 1000) {
    std::string digits = fmt::format("{:.0f}", value);
    for (size_t at = digits.size(); at > 3 + (value < 0 ? 1U : 0U);) {
      digits.insert(at -= 3, "\u202f");  // a narrow space
    }
    return digits;
  }
  return fmt::format("{:.3g}", value);
}

std::string pretty_seconds(double seconds) {
  if (!std::isfinite(seconds)) return "\u2013";
  if (seconds < 10) return fmt::format("{:.2g} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

}  // namespace megafold
