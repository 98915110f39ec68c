// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Walking through a text by lines and words, for the readers of this folder.
#pragma once

#include <string_view>
#include <vector>

namespace megafold::internal {

/// Lines without their ends, "\n" or "\r\n", and without trailing blanks; and their numbers.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}
  bool next(std::string_view& line) {
    if (rest_.empty()) return false;
    const size_t end = rest_.find('\n');
    line = rest_.substr(0, end);
    rest_ = end == std::string_view::npos ? std::string_view() : rest_.substr(end + 1);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t'))
      line.remove_suffix(1);
    ++number_;
    return true;
  }
  /// Of the line that next() gave last, 1-based.
  [[nodiscard]] int number() const { return number_; }

 private:
  std::string_view rest_;
  int number_ = 0;
};

inline std::string_view first_word(std::string_view text) {
  return text.substr(0, text.find_first_of(" \t"));
}

/// Cuts the first word, and the blanks around it, off the front of `text`.
inline std::string_view take_word(std::string_view& text) {
  const size_t start = text.find_first_not_of(" \t");
  if (start == std::string_view::npos) return text = {};
  const size_t end = text.find_first_of(" \t", start);
  const std::string_view word = text.substr(start, end - start);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end);
  return word;
}

/// The columns of a table's row, which tabs separate.
inline std::vector<std::string_view> columns_of(std::string_view line) {
  std::vector<std::string_view> out;
  for (;;) {
    const size_t tab = line.find('\t');
    out.push_back(line.substr(0, tab));
    if (tab == std::string_view::npos) return out;
    line.remove_prefix(tab + 1);
  }
}

}  // namespace megafold::internal
