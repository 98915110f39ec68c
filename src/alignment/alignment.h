// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From the hits of one sequence to its main alignment (SI 2.2): A3M and Stockholm, several files
// after each other, query first, exact duplicates dropped, profile and deletion mean over all rows.
#pragma once

#include <cstdint>
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

/// S rows of L columns. Row 0 is the query.
struct Msa {
  int64_t rows = 0, columns = 0;
  std::vector<uint8_t> classes;      // S, L: 0..31
  std::vector<uint8_t> deletions;    // S, L: letters left out before the column, at most 255
  std::vector<float> profile;        // L, 32: share of rows per class, the gap counted like any
  std::vector<float> deletion_mean;  // L: mean of the raw counts
  std::vector<AlignmentSource> sources;
};

/// The query of an alignment: its first row without gaps, upper case. Throws BadInput.
std::string read_query(const AlignmentText& alignment);

/// Whether a query is that of a chain: the same length and at each place the same class, or an
/// unknown on either side (modified residues are written in several ways).
bool is_query_of(std::string_view query, std::string_view sequence, Alphabet alphabet);

/// Reads the files in the order given. Throws BadInput with file and line: empty, an odd character,
/// a row of another width, a query other than `sequence` (both are shown, the first difference
/// marked). `chain` names the sequence in messages.
Msa make_msa(const std::vector<AlignmentText>& files, std::string_view sequence, Alphabet alphabet,
             std::string_view chain);

/// Part of every alignment's key.
inline constexpr std::string_view kAlignmentRulesVersion = "1";

}  // namespace megafold
