// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace megafold {

/// is_protein, is_rna, is_dna, is_ligand of SI Table 5. The numbers stand in cache records.
enum class ChainType : uint8_t { protein = 0, rna = 1, dna = 2, ligand = 3 };

}  // namespace megafold
