// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace megafold {

/// Atomic number of an element's symbol in any case ("FE", "Fe"); deuterium is 1; 0 where the
/// symbol is unknown ("X" and the like).
uint8_t atomic_number(std::string_view symbol);

/// "Fe" of 26, "X" of 0; empty where no element has the number.
std::string_view element_symbol(int64_t atomic_number);

/// Covalent radius in Angstrom; 0 for metals, whose bonds no distance tells, and for what is
/// unknown.
float covalent_radius(uint8_t atomic_number);

}  // namespace megafold
