// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From letters to components, as sequences are written in _entity_poly, FASTA and AlphaFold 3's
// JSON.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "structure/chain_type.h"
#include "structure/short_name.h"

namespace megafold {

/// "ALA" for 'A' in a protein, "DA" in DNA, "A" in RNA; lower case too. An unknown letter is UNK, N
/// or DN. Empty for what is no letter.
ShortName component_of_letter(char letter, ChainType type);

/// A sequence with components in parentheses, "MK(MSE)L"; blanks and line ends are passed over.
/// `where` stands in messages. Throws BadInput: another character, parentheses that do not match.
std::vector<ShortName> read_one_letter_code(std::string_view text, ChainType type,
                                            std::string_view where);

}  // namespace megafold
