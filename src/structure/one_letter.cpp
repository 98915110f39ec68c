// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/one_letter.h"

#include <array>
#include <cctype>

#include "base/errors.h"

namespace megafold {
namespace {

/// Amino acids by letter, A to Z; B and Z are ambiguous, J and X unknown.
constexpr std::array<std::string_view, 26> kAminoAcids = {
    "ALA", "ASX", "CYS", "ASP", "GLU", "PHE", "GLY", "HIS", "ILE", "UNK", "LYS", "LEU", "MET",
    "ASN", "PYL", "PRO", "GLN", "ARG", "SER", "THR", "SEC", "VAL", "TRP", "UNK", "TYR", "GLX"};

}  // namespace

ShortName component_of_letter(char letter, ChainType type) {
  const char upper =
      letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A') : letter;
  if (upper < 'A' || upper > 'Z') return {};
  if (type == ChainType::protein) return kAminoAcids[static_cast<size_t>(upper - 'A')];
  const bool is_dna = type == ChainType::dna;
  if (std::string_view(is_dna ? "ACGT" : "ACGU").find(upper) == std::string_view::npos)
    return is_dna ? "DN" : "N";
  const std::string code = is_dna ? std::string{'D', upper} : std::string{upper};
  return std::string_view(code);
}

std::vector<ShortName> read_one_letter_code(std::string_view text, ChainType type,
                                            std::string_view where) {
  std::vector<ShortName> out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char letter = text[i];
    if (std::isspace(static_cast<unsigned char>(letter)) != 0) continue;
    if (letter != '(') {
      out.push_back(component_of_letter(letter, type));
      if (out.back().empty())
        fail<BadInput>("{}: character {} of the sequence, 0x{:02x}, is no letter", where, i + 1,
                       static_cast<unsigned char>(letter));
      continue;
    }
    const size_t close = text.find(')', i);
    const std::string_view code =
        text.substr(i + 1, close == std::string_view::npos ? 0 : close - i - 1);
    if (code.empty() || code.size() > ShortName::kLength)
      fail<BadInput>("{}: '(' at character {} of the sequence begins no component", where, i + 1);
    out.emplace_back(code);
    i = close;
  }
  return out;
}

}  // namespace megafold
