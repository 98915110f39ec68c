// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A person's sequences, searched by other programs (alignment/search.h), as files where `cache
// build` looks for them (cache/inputs.h):
//
//   alignments/1abc_A/uniref90.a3m             of the sequence that the FASTA calls 1abc_A
//   alignments/seq_mine/uniref90.a3m           of one called otherwise: it serves by its query
//   alignments/1abc_A/uniref90.search.json     program, version, database, settings, checksums
//   alignments/1abc_A/pdb.m8                   template hits, which serve by entry and chain alone;
//                                              those of hmmsearch are hmm_output_pdb.sto
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "alignment/search.h"
#include "structure/ccd.h"

namespace megafold {

using SearchProgress =
    std::function<void(size_t done, size_t total, const std::string& text, bool worked)>;

struct MakeAlignmentsOptions {
  std::filesystem::path sequences;  // FASTA
  std::filesystem::path out;        // the data folder
  std::string name;                 // of the files; empty: the database's
  /// The alignment ("uniref90") in a sequence's folder that makes the profile of a template search.
  std::string profile;
  bool force = false;  // searches again where a file is there
  SearchOptions search;
  SearchProgress progress;
};

struct MakeAlignmentsReport {
  size_t made = 0, present = 0;
  std::vector<std::string> failures;  // a line for each sequence or batch that failed
};

/// Searches with every sequence that has no file yet and publishes what is found, one by one. A
/// sequence that fails is named and passed over; where the first one fails, its error ends the
/// work. Throws BadInput: a FASTA that is none, two sequences of one name, a file that another
/// search or another hand made (force replaces it); Interrupted.
MakeAlignmentsReport make_alignments(const MakeAlignmentsOptions& options);

struct AlignHitsOptions {
  std::filesystem::path hits;       // m8 of one or several queries, A3M or Stockholm of one
  std::filesystem::path sequences;  // FASTA of the queries
  std::filesystem::path templates;  // the entries that the hits name
  std::filesystem::path out;        // the data folder
  double timeout = 600;             // seconds of one alignment
  SearchProgress progress;
};

struct AlignHitsReport {
  size_t aligned = 0, laid = 0;    // by Kalign; by the file itself
  std::vector<std::string> notes;  // hits that were left out, with the reason
};

/// Hits that their file does not lay beside the query are aligned with it by Kalign, over the parts
/// that the file names; all are written as alignments/QUERY/NAME.m8 with a CIGAR.
AlignHitsReport align_hits(const AlignHitsOptions& options, const ComponentDictionary& dictionary);

}  // namespace megafold
