// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "alignment/write_a3m.h"

#include "base/errors.h"

namespace megafold {

char letter_of_restype(uint8_t restype) {
  constexpr std::string_view kLetters = "ARNDCQEGHILKMFPSTWYVXAGCUNAGCTN-";
  return restype < kLetters.size() ? kLetters[restype] : 'X';
}

std::string a3m_row(std::string_view name, std::span<const uint8_t> classes,
                    std::span<const uint8_t> deletions) {
  std::string out = fmt::format(">{}\n", name);
  for (size_t i = 0; i < classes.size(); ++i) {
    out.append(deletions[i], 'x');
    out += letter_of_restype(classes[i]);
  }
  return out + '\n';
}

std::string a3m_text(std::string_view name, std::span<const uint8_t> classes,
                     std::span<const uint8_t> deletions, int64_t columns) {
  const auto width = static_cast<size_t>(columns);
  if (classes.size() != deletions.size() || width == 0 || classes.size() % width != 0)
    fail<BadInput>("{}: {} classes and {} deletions are no rows of {} columns", name,
                   classes.size(), deletions.size(), columns);
  std::string out;
  for (size_t row = 0; row < classes.size() / width; ++row)
    out += a3m_row(row == 0 ? std::string(name) : fmt::format("row_{}", row),
                   classes.subspan(row * width, width), deletions.subspan(row * width, width));
  return out;
}

std::string name_with_species(std::string_view species, int64_t number) {
  const std::string_view text = species.substr(0, species.find_last_not_of(' ') + 1);
  const bool taxon = text.find_first_not_of("0123456789") == std::string_view::npos;
  const std::string name = fmt::format("R{}", number);
  return taxon ? fmt::format("UniRef100_{}_{}/", name, text)
               : fmt::format("tr|{0}|{0}_{1}/", name, text);
}

}  // namespace megafold
