// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// An alignment's rows as A3M text, for programs that read letters.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace megafold {

/// The letter of a class 0..31 (features/schema.h): '-' for the gap, X or N for what is unknown.
char letter_of_restype(uint8_t restype);

/// One row under its name. A deletion is written as that many 'x', since a cache keeps their number
/// and not their letters; read again (make_msa) the text gives the same classes and deletions.
std::string a3m_row(std::string_view name, std::span<const uint8_t> classes,
                    std::span<const uint8_t> deletions);

/// `classes` and `deletions` are S x L, row 0 the query, which is called `name`; the others are
/// numbered.
std::string a3m_text(std::string_view name, std::span<const uint8_t> classes,
                     std::span<const uint8_t> deletions, int64_t columns);

/// A row's name from which species_of() reads this species (blanks at its end do not count).
std::string name_with_species(std::string_view species, int64_t number);

}  // namespace megafold
