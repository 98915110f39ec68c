// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Template hits (SI 2.4): which residues of which chains of the PDB a search program laid beside
// which residues of a query. One table for every program's file:
//
//   m8         MMseqs2 and BLAST, 12 columns with or without a CIGAR as 13th
//   hhr        HHsearch and HHblits
//   Stockholm  hmmsearch -A, hmmalign
//   A3M        the same rows as A3M, or hits in A3M beside their query
//
// Nothing is filtered here: dates, coverage and the pick of four are decided when a sample is read.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "alignment/alignment.h"

namespace megafold {

struct TemplateHit {
  std::string name;   // as the file writes it: "721p_A"
  std::string entry;  // "721p", lower case
  std::string chain;  // "A"; the author's or the file's, as the searched database had it
  double e_value = std::numeric_limits<double>::quiet_NaN();  // NaN where the file gives none
  /// Residues that lie on each other: place in the query, place in the hit's own chain, both from
  /// 0, both ascending. A hit's place counts its whole sequence (SEQRES), resolved or not.
  std::vector<std::array<int32_t, 2>> pairs;
  /// The hit's part of its chain, [first, last), and its letters there in upper case; m8 gives no
  /// letters.
  int32_t first = 0, last = 0;
  std::string letters;
  /// False where the file lays the hit beside something other than the query (`pairs` is empty): it
  /// must be aligned anew.
  bool is_aligned = true;
  /// [first, last) of the query where the file names the part that it laid beside the hit and not
  /// how; {0, 0}: it names none.
  std::array<int32_t, 2> query_part = {0, 0};
  int line = 0;  // where it stands in the file
};

/// The hits in the file's order. `query` is the sequence that was searched with, in letters; all
/// residues are counted in it. A row that is the query itself is no hit, unless it names an entry
/// and a place in it.
/// The format is told by the content. Throws BadInput with file and line: no such format, a missing
/// column, a number that is none, places outside of the query, letters of the query that are
/// others. An empty file has no hits: that is how search programs say so.
std::vector<TemplateHit> read_template_hits(const AlignmentText& file, std::string_view query);

/// A hit that is aligned as a row of m8 with its CIGAR; identity and score are 0.
std::string m8_row(std::string_view query, const TemplateHit& hit);

/// The rows of a Stockholm file of HMMER's as A3M, the query first under `name`; letters in columns
/// that the query does not have are lower case. The query's columns are those of the first row or
/// of the profile's match states; an empty file has no rows. Throws BadInput where neither fits.
std::string rows_beside_query(const AlignmentText& stockholm, std::string_view name,
                              std::string_view query);

namespace internal {
/// "7CNW_A", "pdb|7cnw|A", "7cnw": entry and chain of a name; the chain is "A" where none is given.
void set_entry_and_chain(TemplateHit& hit);
std::vector<TemplateHit> read_m8(const AlignmentText& file, std::string_view query);
std::vector<TemplateHit> read_hhr(const AlignmentText& file, std::string_view query);
std::vector<TemplateHit> read_hit_rows(const AlignmentText& file, std::string_view query);
}  // namespace internal

}  // namespace megafold
