// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Crops of a complex to a budget of tokens (SI 2.7; AlphaFold-Multimer's algorithms 1 and 2, the
// first in its corrected form). A crop is chosen from token centres alone, before anything is
// gathered. Tokens are never cut; ligands may be.
#pragma once

#include <cstdint>
#include <vector>

#include "base/philox.h"
#include "batch/structure_view.h"

namespace megafold {

struct CropOptions {
  int64_t tokens = 384;  // budget
  int64_t atoms = 0;     // a second budget; 0: none
  // How often each kind is drawn (SI Table 4, PDB sets); they need not sum to 1.
  double contiguous = 0.2, spatial = 0.4, spatial_interface = 0.4;
  bool needs_label = true;  // false: the whole of an entry without coordinates is a crop too
};

enum class CropKind : uint8_t { whole, contiguous, spatial, spatial_interface };
const char* to_string(CropKind kind);

/// The chain, or the pair of chains, that an element of the sampling table names: rows of the
/// chain_* arrays, -1 for none.
struct PreferredChains {
  int32_t a = -1, b = -1;
  [[nodiscard]] bool contains(int32_t chain) const { return chain == a || chain == b; }
};

struct Crop {
  CropKind kind = CropKind::whole;
  std::vector<int32_t> tokens;  // ascending
};

/// Draws the kind and the crop. A complex within both budgets is taken whole. Throws BadInput when
/// the structure has no resolved token centre: it carries no label.
Crop draw_crop(const StructureView& structure, const CropOptions& options,
               PreferredChains preferred, Random& random);

/// A contiguous piece of each chain, chains in random order; together exactly the budget, resolved
/// or not. A crop without any resolved centre carries no label and is drawn again.
std::vector<int32_t> crop_contiguous(const StructureView& structure, const CropOptions& options,
                                     Random& random);

/// The resolved tokens nearest to a random resolved centre (of the preferred chains where these
/// have one). With `interface`, the centre is one that lies within 15 A of a centre of another
/// chain, of the pair's other chain when two are preferred; where there is none, any. Exact ties
/// go to the lower token.
std::vector<int32_t> crop_spatial(const StructureView& structure, const CropOptions& options,
                                  PreferredChains preferred, bool interface, Random& random);

}  // namespace megafold
