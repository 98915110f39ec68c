// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From the hits of one sequence to its main alignment (SI 2.2): A3M and Stockholm, several files
// after each other, query first, exact duplicates dropped, profile and deletion mean over all rows;
// and to the rows that may be paired with those of other chains (SI 2.3), with their species.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace megafold {

/// The letters that a sequence may have; decides the classes (features/schema.h).
enum class Alphabet : uint8_t { protein, rna, dna };

/// Class 0..31 of a letter in either case; what the alphabet does not have is UNK, N or DN. B is D,
/// Z is E, U is C, J and O are X in proteins; T and U are one in nucleic acids.
uint8_t restype_of_letter(char letter, Alphabet alphabet);

/// One file's text, unpacked. Its name stands in messages.
struct AlignmentText {
  std::string name;
  std::string text;
};

struct AlignmentSource {
  std::string name;
  int64_t rows_read = 0, rows_kept = 0;
};

/// The species of a row as it stands in its name, padded with blanks: the mnemonic of UniProt
/// ("HUMAN   ") or a taxon's number ("9606    "). Equality alone has a meaning.
using Species = std::array<char, 8>;
inline constexpr Species kNoSpecies = {};

/// Of "tr|A0A146SKV9|A0A146SKV9_FUNHE/1-90" FUNHE; of "UniRef100_A0A146SKV9_8078/" 8078; kNoSpecies
/// of every other name.
Species species_of(std::string_view name);

/// Rows of one species and sequence beyond this many are never paired (af3-facts 4.3).
inline constexpr int kMaxRowsOfSpecies = 600;

/// U rows of L columns in the order of the hits: those that have a species and a letter, at most
/// kMaxRowsOfSpecies of each. The query is none of them.
struct PairingRows {
  int64_t rows = 0;
  std::vector<uint8_t> classes;    // U, L: 0..31
  std::vector<uint8_t> deletions;  // U, L
  std::vector<Species> species;    // U
  std::vector<int32_t> hit;        // U: place among all hits of its files, the first is 1
  std::vector<int32_t> main_row;   // U: the row of the main alignment that is the same, or -1
};

/// S rows of L columns. Row 0 is the query.
struct Msa {
  int64_t rows = 0, columns = 0;
  std::vector<uint8_t> classes;      // S, L: 0..31
  std::vector<uint8_t> deletions;    // S, L: letters left out before the column, at most 255
  std::vector<float> profile;        // L, 32: share of rows per class, the gap counted like any
  std::vector<float> deletion_mean;  // L: mean of the raw counts
  PairingRows pairing;
  std::vector<AlignmentSource> sources;  // of the main alignment, then of the rows to be paired
};

/// The query of an alignment: its first row without gaps, upper case. Throws BadInput.
std::string read_query(const AlignmentText& alignment);

/// The same from the first bytes of the text, where they hold it whole (not of Stockholm, which may
/// have blocks).
std::optional<std::string> read_query_of_start(const AlignmentText& start);

/// Whether a query is that of a chain: the same length and at each place the same class, or an
/// unknown on either side (modified residues are written in several ways).
bool is_query_of(std::string_view query, std::string_view sequence, Alphabet alphabet);

/// Reads the files in the order given; those of `pairing` give rows to be paired, and none where
/// the alphabet is not the proteins'. Without `files` the main alignment is the query alone. Throws
/// BadInput with file and line: empty, an odd character, a row of another width, a query other than
/// `sequence` (both are shown, the first difference marked). `chain` names the sequence in
/// messages.
Msa make_msa(const std::vector<AlignmentText>& files, std::string_view sequence, Alphabet alphabet,
             std::string_view chain, const std::vector<AlignmentText>& pairing = {});

/// Part of every alignment's key.
inline constexpr std::string_view kAlignmentRulesVersion = "2";

}  // namespace megafold
