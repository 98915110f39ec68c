// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/elements.h"

#include <gemmi/elem.hpp>
#include <string>

namespace megafold {

uint8_t atomic_number(std::string_view symbol) {
  if (symbol.empty() || symbol.size() > 2) return 0;
  const gemmi::Element element(std::string{symbol});
  return static_cast<uint8_t>(element.atomic_number());  // deuterium: 1
}

std::string_view element_symbol(int64_t atomic_number) {
  constexpr int64_t kLast = 118;
  if (atomic_number < 0 || atomic_number > kLast) return {};
  return gemmi::element_name(static_cast<gemmi::El>(atomic_number));
}

float covalent_radius(uint8_t atomic_number) {
  const gemmi::Element element(static_cast<int>(atomic_number));
  if (atomic_number == 0 || element.is_metal()) return 0;
  return element.covalent_r();
}

}  // namespace megafold
