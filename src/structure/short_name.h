// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Atom names and component codes: at most 8 characters (the dictionary's longest are 4 and 5), kept
// in one machine word, so that comparing and hashing them is free.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/errors.h"

namespace megafold {

class ShortName {
 public:
  static constexpr size_t kLength = 8;

  constexpr ShortName() = default;
  /// Throws BadInput for more than 8 characters.
  constexpr ShortName(std::string_view text) {  // NOLINT(google-explicit-constructor)
    if (text.size() > kLength) fail<BadInput>("'{}': a name of more than 8 characters", text);
    for (size_t i = 0; i < text.size(); ++i) text_[i] = text[i];
  }
  constexpr ShortName(const char* text)  // NOLINT(google-explicit-constructor)
      : ShortName(std::string_view(text)) {}

  [[nodiscard]] constexpr std::string_view view() const {
    size_t n = 0;
    while (n < kLength && text_[n] != '\0') ++n;
    return {text_.data(), n};
  }
  [[nodiscard]] std::string str() const { return std::string(view()); }
  [[nodiscard]] constexpr uint64_t word() const { return std::bit_cast<uint64_t>(text_); }
  [[nodiscard]] constexpr bool empty() const { return text_[0] == '\0'; }

  constexpr bool operator==(const ShortName& other) const { return word() == other.word(); }
  /// Alphabetical.
  constexpr auto operator<=>(const ShortName& other) const { return text_ <=> other.text_; }

 private:
  std::array<char, kLength> text_{};
};

}  // namespace megafold

template <>
struct std::hash<megafold::ShortName> {
  size_t operator()(const megafold::ShortName& name) const noexcept {
    return name.word() * 0x9E3779B97F4A7C15ULL >> 7;
  }
};
