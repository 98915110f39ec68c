// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What is known by heart about the 31 standard residues.
#pragma once

#include <cstdint>

#include "structure/short_name.h"

namespace megafold {

struct StandardResidue {
  ShortName code;
  uint8_t restype;           // class of features/schema.h
  ShortName center;          // CA, C1' (SI 2.6)
  ShortName representative;  // CB (GLY CA), C4, C2 (SI 4.4); empty: none (N, DN)
};

/// nullptr where the residue is no standard one.
const StandardResidue* find_standard(ShortName code);

}  // namespace megafold
