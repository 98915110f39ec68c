// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From an entry as read to the structure that a model is trained on: the first assembly, cleaned by
// the rules of SI 2.1 and 2.5.4, every residue of the sequence present, every residue holding its
// component's heavy atoms in the dictionary's order.
#pragma once

#include <string>
#include <string_view>

#include "structure/ccd.h"
#include "structure/entry.h"
#include "structure/structure.h"

namespace megafold {

/// Part of every structure's key. Change it with any rule that changes what a record holds.
inline constexpr std::string_view kStructureRulesVersion = "5";

/// Assemblies of more polymer chains are dropped: 1000 is the supplement's bound at evaluation.
inline constexpr size_t kMaxPolymerChains = 1000;

/// Codes of SI Table 9, removed from crystal structures where they are no part of a polymer.
bool is_crystallisation_aid(ShortName code);
/// The 20 amino acids, UNK and the ten nucleotides of SI Table 13.
bool is_standard_residue(ShortName code);

struct Cleaned {
  Structure structure;
  std::string dropped;  // why nothing can be trained on; empty: the entry is kept
};

/// Applies, in this order:
///  1 MSE becomes MET, ASX ASP, GLX GLU; ARG's NH1 is the one nearer to CD
///  2 waters, UNX, UNL out; then crystallisation aids
///  3 polymers told from ligands; the first assembly
///  4 polymer chains of fewer than 4 resolved residues out, and those wholly unknown
///  5 clashing chains out (30 % of the atoms within 1.7 A of the other)
///  6 atoms that the component does not have out
///  7 protein chains whose consecutive CA are more than 10 A apart out
///  8 bonds of the backbone and of _struct_conn
///  9 missing residues and atoms in, unresolved
/// 10 leaving atoms of bonds out
/// Ligand chains that are bound to a polymer chain leave with it. An entry to predict has no
/// resolved residue: 4 is left out, and a bond that 8 would drop is an error.
/// Throws BadInput naming chain and residue where the dictionary lacks a component.
Cleaned clean(FileEntry entry, const ComponentDictionary& dictionary);

}  // namespace megafold
