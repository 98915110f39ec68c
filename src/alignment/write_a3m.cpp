// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "alignment/write_a3m.h"

#include "base/errors.h"

namespace megafold {

char letter_of_restype(uint8_t restype) {
  constexpr std::string_view kLetters = "ARNDCQEGHILKMFPSTWYVXAGCUNAGCTN-";
  return restype < kLetters.size() ? kLetters[restype] : 'X';
}

std::string a3m_text(std::string_view name, std::span<const uint8_t> classes,
                     std::span<const uint8_t> deletions, int64_t columns) {
  const auto width = static_cast<size_t>(columns);
  if (classes.size() != deletions.size() || width == 0 || classes.size() % width != 0)
    fail<BadInput>("{}: {} classes and {} deletions are no rows of {} columns", name,
                   classes.size(), deletions.size(), columns);
  std::string out;
  for (size_t row = 0; row < classes.size() / width; ++row) {
    out += row == 0 ? fmt::format(">{}\n", name) : fmt::format(">row_{}\n", row);
    for (size_t i = row * width; i < (row + 1) * width; ++i) {
      out.append(deletions[i], 'x');
      out += letter_of_restype(classes[i]);
    }
    out += '\n';
  }
  return out;
}

}  // namespace megafold
