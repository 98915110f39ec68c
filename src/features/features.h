// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From a cleaned structure, and from an alignment, to the arrays of features/schema.h. Tokens after
// SI 2.6 in OpenFold 3's dialect: a standard residue of a polymer is one token, anything else one
// token per heavy atom, and so is a standard residue that is bonded to something by another bond
// than the backbone's.
#pragma once

#include <string>
#include <vector>

#include "alignment/alignment.h"
#include "features/arrays.h"
#include "structure/structure.h"

namespace megafold {

/// What goes into a record's "meta" beside what the structure itself knows.
struct StructureSource {
  std::string file, ccd_version, rules_version;
};

/// The arrays of kStructureArrays, in that order.
std::vector<NamedArray> structure_arrays(const Structure& structure, const StructureSource& source);

/// The arrays of kAlignmentArrays, in that order. The Msa is moved from.
std::vector<NamedArray> alignment_arrays(Msa&& msa, const std::string& sequence, Alphabet alphabet);

/// A polymer chain's sequence in one-letter code: a modified residue by its parent's letter, X
/// where there is none.
std::string one_letter_sequence(const Chain& chain);

}  // namespace megafold
