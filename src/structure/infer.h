// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What a file that the wwPDB did not write leaves out, told from what it holds. Biopython writes
// _atom_site alone, with the author's numbers as label_seq_id and "." for modified residues; PyMOL
// does the same with "?" entities; gemmi writes what it was given. Every inference is noted in
// words, which stand in the record's "meta" and in the build's report.
#pragma once

#include <string>
#include <vector>

#include "structure/links.h"
#include "structure/polymers.h"

namespace megafold {

/// The atomic number of an atom whose symbol is missing: by its component's definition, else by its
/// name. 0 where neither tells.
uint8_t infer_element(ShortName atom, ShortName code);

/// Names of atoms as files had them before 2007 ("O1P", "C5*", thymine's "C5M") become the
/// dictionary's. True where any did.
bool rename_old_atoms(Residue& residue);

/// Whether the bond that makes a polymer joins two residues: C to N within 2 A, O3' to P within
/// 2.2 A. False too where one of the atoms is not resolved.
bool is_chained(const Residue& left, const Residue& right);

/// Marks which residues of a chain without a sequence are its polymer: those that can link and are
/// written as such (ATOM, with a number unless the file declares the chain a polymer: gemmi numbers
/// nothing without a sequence), and others where the polymer's bond holds them (modified residues
/// and caps). A free amino acid among a chain's ligands is none.
std::vector<bool> find_polymer(const std::vector<Residue>& residues, bool is_declared);

/// Numbers from 1 for a polymer without a sequence, in order of appearance: the file's own where
/// they are such. Where they are the author's, or count the residues that are there across a break
/// at which the author's skip some (a converter's), the author's: neighbours that are bonded count
/// on by one whatever the numbers say (insertion codes, skipped numbers), and a break leaves at
/// least one number out.
/// Returns a note, or nothing where the file's numbers are used.
std::string number_polymer(Chain& chain);

/// Whether a sequence fits residues at their own numbers; else moves the residues to where it does
/// (all by one distance, or with the author's numbers). False: the sequence is not theirs.
bool fit_to_sequence(std::vector<Residue>& residues,
                     const std::map<int32_t, std::vector<ShortName>>& sequence);

/// Gives chains without a sequence that are copies of each other (no residue differs, most of the
/// shorter one is in both) one sequence, so that each has what another resolves, and they are one
/// entity.
void unify_copies(std::vector<WorkChain>& chains, std::vector<std::string>& notes);

/// Ligand residues that stand in one chain of the file, in groups that are bonded (glycans).
std::vector<std::vector<Residue>> group_bonded(std::vector<Residue> residues);

/// Covalent bonds of ligands, by distance: at most the sum of the covalent radii + 0.25 A, no
/// metals. For files that name no bond and no entity.
std::vector<Link> infer_links(const std::vector<WorkChain>& chains);

}  // namespace megafold
