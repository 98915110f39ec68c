// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The ONE table of what a cache record holds: name, dtype, shape, unit, source. Deterministic facts
// only: whatever is random (crop, MSA rows, motion of conformers) is drawn in batch/ when a sample
// is visited.
//
// Letters: N tokens, A atoms, C chains (of the first assembly), B bonds between tokens; L residues
// of a sequence, S rows of its alignment. Classes of restype (32): the 20 amino acids ALA .. VAL in
// alphabetical order of their names' one-letter table (ARNDCQEGHILKMFPSTWYV), 20 UNK, 21-25 A G C U
// N, 26-30 DA DG DC DT DN, 31 gap (the order that OpenFold 3 and Protenix share).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "structure/chain_type.h"

namespace megafold {

enum class ArrayType : uint8_t { u8 = 1, i8 = 2, i32 = 3, i64 = 4, f32 = 5 };

struct ArraySpec {
  std::string_view name;
  ArrayType type;
  std::string_view shape;
  std::string_view meaning;
};

inline constexpr int kNumRestypes = 32;
inline constexpr int kRestypeUnknown = 20;
inline constexpr int kRestypeGap = 31;

/// A record of one structure: the first assembly, cleaned, every token, no crop.
inline constexpr std::array kStructureArrays = {
    ArraySpec{"token_residue_index", ArrayType::i32, "N",
              "label_seq_id, 1-based; ligands: author number"},
    ArraySpec{"token_asym_id", ArrayType::i32, "N", "chain copy, 1-based (0 is padding)"},
    ArraySpec{"token_entity_id", ArrayType::i32, "N", "distinct sequence or component, 1-based"},
    ArraySpec{"token_sym_id", ArrayType::i32, "N", "copy within the entity, 1-based"},
    ArraySpec{"token_restype", ArrayType::u8, "N",
              "class 0..31; ligands and modified residues UNK"},
    ArraySpec{"token_chain_type", ArrayType::u8, "N", "ChainType of the token's chain"},
    ArraySpec{"token_chain", ArrayType::i32, "N", "row of the chain_* arrays"},
    ArraySpec{"token_is_atomized", ArrayType::u8, "N",
              "1: one token per heavy atom (ligand, modified)"},
    ArraySpec{"token_msa_column", ArrayType::i32, "N",
              "column in the chain's sequence, 0-based; -1: none"},
    ArraySpec{"token_atom_start", ArrayType::i32, "N",
              "first atom; a token's atoms are consecutive"},
    ArraySpec{"token_atom_count", ArrayType::i32, "N", "number of atoms"},
    ArraySpec{"token_center_atom", ArrayType::i32, "N", "CA, C1', or the atom itself"},
    ArraySpec{"token_representative_atom", ArrayType::i32, "N",
              "CB (GLY CA), C4 or C2 of the base, the atom itself; -1: none (SI 4.4)"},
    ArraySpec{"token_component", ArrayType::u8, "N,8", "CCD code, padded with blanks"},
    ArraySpec{"token_auth_seq_id", ArrayType::i32, "N", "author's residue number"},
    ArraySpec{"token_ins_code", ArrayType::u8, "N", "insertion code, blank for none"},
    ArraySpec{"atom_position", ArrayType::f32, "A,3", "Angstrom; 0 where not resolved"},
    ArraySpec{"atom_resolved", ArrayType::u8, "A", "occupancy > 0 and coordinates present"},
    ArraySpec{"atom_b_factor", ArrayType::f32, "A", "Angstrom^2; 0 where not resolved"},
    ArraySpec{"atom_element", ArrayType::u8, "A", "atomic number Z"},
    ArraySpec{"atom_charge", ArrayType::i8, "A", "formal charge of the component's atom"},
    ArraySpec{"atom_name", ArrayType::u8, "A,4", "characters, padded on the right with blanks"},
    ArraySpec{"atom_ref_position", ArrayType::f32, "A,3",
              "reference conformer, Angstrom, as stored (centring and motion are drawn at read)"},
    ArraySpec{"atom_ref_mask", ArrayType::u8, "A", "1: the conformer has the atom"},
    ArraySpec{"atom_ref_space_uid", ArrayType::i32, "A",
              "one per (chain, residue), 0-based (SI Table 5)"},
    ArraySpec{"atom_conformer_place", ArrayType::i32, "A", "place of the atom in its component"},
    ArraySpec{"token_bond", ArrayType::i32, "B,2",
              "pairs i < j of bonded tokens (SI Table 5, < 2.4 A)"},
    ArraySpec{"chain_asym_id", ArrayType::i32, "C", "as token_asym_id"},
    ArraySpec{"chain_entity_id", ArrayType::i32, "C", "as token_entity_id"},
    ArraySpec{"chain_type", ArrayType::u8, "C", "ChainType"},
    ArraySpec{"chain_token_start", ArrayType::i32, "C",
              "first token; a chain's tokens are consecutive"},
    ArraySpec{"chain_token_count", ArrayType::i32, "C", "number of tokens"},
    ArraySpec{"chain_molecule", ArrayType::i32, "C",
              "chains joined by covalent bonds are one molecule, 0-based (SI 4.2)"},
    ArraySpec{"chain_molecule_entity", ArrayType::i32, "C",
              "the same in molecules that may stand for each other, 0-based"},
    ArraySpec{"chain_molecule_rank", ArrayType::i32, "C",
              "place of the chain in its molecule: chains of one rank correspond in copies"},
    ArraySpec{"residue_permutation", ArrayType::i32, "R",
              "row of the permutation_* arrays; -1: every atom is itself alone"},
    ArraySpec{"permutation_atoms", ArrayType::i32, "P", "atoms of the residue, n"},
    ArraySpec{"permutation_start", ArrayType::i32, "P", "first value"},
    ArraySpec{"permutation_count", ArrayType::i32, "P", "number of permutations, at least 2"},
    ArraySpec{"permutation", ArrayType::i32, "V",
              "count x n values each: the atom that stands for atom k, 0-based in the residue; the "
              "identity first (SI 4.2)"},
    ArraySpec{"residue_conformer", ArrayType::i32, "R",
              "row of the conformer_* arrays; -1: atom_ref_position is the only conformer"},
    ArraySpec{"conformer_atoms", ArrayType::i32, "G", "atoms of the component, n"},
    ArraySpec{"conformer_start", ArrayType::i32, "G", "first row of conformer_position"},
    ArraySpec{"conformer_count", ArrayType::i32, "G", "conformers beside atom_ref_position"},
    ArraySpec{"conformer_position", ArrayType::f32, "F,3",
              "count x n positions for each component, Angstrom; one is drawn at read (SI 2.8)"},
    // A JSON object: id, title, method, release_date (YYYY-MM-DD or null), resolution (A or null),
    // chains [{label (unique), origin (label_asym_id), auth, entity (the file's), type, sequence
    // (one-letter; a modified residue by its parent's letter, X where it has none; null for
    // ligands), alignment (key of the sequence's record, or null; the reader adds it from the
    // index), templates (the same)}], ccd_version, rules_version, source (file name), removed
    // [{what, rule}] (all that cleaning took out), inferred [words] (only where the file left
    // something out).
    ArraySpec{"meta", ArrayType::u8, "bytes", "JSON, UTF-8"},
};

/// A record of one sequence's main alignment (SI 2.2): query first, duplicates dropped; and its U
/// rows that may be paired with those of other chains (SI 2.3), in the order of the hits. Which of
/// them are is told when a sample is read.
inline constexpr std::array kAlignmentArrays = {
    ArraySpec{"msa", ArrayType::u8, "S,L", "class 0..31; row 0 is the query"},
    ArraySpec{"deletion", ArrayType::u8, "S,L", "insertions left of the column, saturating at 255"},
    ArraySpec{"profile", ArrayType::f32, "L,32",
              "distribution over classes, query included, before any cut"},
    ArraySpec{"deletion_mean", ArrayType::f32, "L", "mean of the raw counts"},
    ArraySpec{"pairing_msa", ArrayType::u8, "U,L", "as msa, without the query"},
    ArraySpec{"pairing_deletion", ArrayType::u8, "U,L", "as deletion"},
    ArraySpec{"pairing_species", ArrayType::u8, "U,8",
              "UniProt's mnemonic or the taxon's number, padded with blanks"},
    ArraySpec{"pairing_hit", ArrayType::i32, "U",
              "place among all hits, 1-based: those without a species are not here"},
    ArraySpec{"pairing_main_row", ArrayType::i32, "U", "the row of msa that is the same; -1: none"},
    ArraySpec{"meta", ArrayType::u8, "bytes",
              "JSON: sequence, kind (protein|rna), sources, rows_read, ..."},
};

/// Bits of template_mask.
inline constexpr uint8_t kTemplateBackbone = 1, kTemplateBeta = 2;

/// A record of one sequence's templates (SI 2.4): T candidates, the best first, none left out for
/// its date.
inline constexpr std::array kTemplateArrays = {
    ArraySpec{"template_restype", ArrayType::u8, "T,L",
              "class 0..31; gap where nothing is aligned"},
    ArraySpec{"template_mask", ArrayType::u8, "T,L",
              "1: N, CA and C are there; 2: CB (GLY CA) is; 3: both"},
    ArraySpec{"template_position", ArrayType::f32, "T,L,12",
              "N, CA, C, CB (GLY CA), Angstrom; 0 where missing"},
    ArraySpec{"template_date", ArrayType::i32, "T", "release as YYYYMMDD; 0: not known"},
    ArraySpec{"meta", ArrayType::u8, "bytes",
              "JSON: sequence, candidates [{entry, chain, e_value, release_date, residues}], "
              "left_out {reason: hits}, rules_version"},
};

}  // namespace megafold
