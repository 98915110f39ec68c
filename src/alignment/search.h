// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Searches of sequence databases by other people's programs, as Debian packs them:
//
//   mmseqs      MMseqs2's search       a FASTA or a database of `mmseqs createdb`
//   jackhmmer   HMMER, iterated        a FASTA
//   phmmer      HMMER, one pass        a FASTA
//   nhmmer      HMMER, for RNA         a FASTA, of which one strand is searched
//   hhblits     HH-suite, iterated     a database of HH-suite, by the name before _a3m.ffdata
//
// and of the sequences of the PDB, for templates:
//
//   hmmsearch   HMMER                  a FASTA whose names are 1abc_A
//   hhsearch    HH-suite               a database of HH-suite (pdb70)
//   mmseqs      with `templates`       a FASTA whose names are 1abc_A
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/process.h"

namespace megafold {

struct SearchOptions {
  std::string tool;  // one of search_tools()
  std::filesystem::path database;
  bool templates = false;  // hits for templates; hmmsearch and hhsearch give nothing else
  int threads = 1;
  double e_value = -1;  // hits above it are left out; < 0: as SI 2.2 to 2.4 have it for the tool
  int iterations = 0;   // of mmseqs, jackhmmer, hhblits; 0: likewise
  size_t max_hits = 10000;  // of an alignment
  double timeout = 14400;   // seconds of one run of a program; 0: no limit
};

/// A sequence to search with. `alignment`, the A3M of an earlier search, makes the profile that
/// hmmsearch and hhsearch search with; empty: the sequence alone.
struct SearchQuery {
  std::string name, letters, alignment;
};

const std::vector<std::string>& search_tools();

class Search {
 public:
  /// Throws BadInput: an unknown tool, a program that is missing (with its Debian package), a
  /// database that is not there or has another form.
  explicit Search(SearchOptions options);

  /// As given, the defaults in place.
  [[nodiscard]] const SearchOptions& options() const { return options_; }
  /// What is stored: ".a3m", ".m8", ".sto" or ".hhr".
  [[nodiscard]] std::string suffix() const;
  /// Queries that one run of the program takes: mmseqs reads its database once for all.
  [[nodiscard]] size_t batch_size() const;
  /// Programs that a search runs, and the version that each tells.
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& versions() const {
    return versions_;
  }

  /// One text for each query: an A3M with the query first, or template hits. `folder` is for the
  /// programs' own files and is left as it comes. Throws as run_program(), and BadInput where a
  /// program's output is not what its version should write.
  std::vector<std::string> run(const std::vector<SearchQuery>& queries,
                               const std::filesystem::path& folder) const;

 private:
  std::vector<std::string> run_mmseqs(const std::vector<SearchQuery>& queries,
                                      const std::filesystem::path& folder) const;
  std::string run_hmmer(const SearchQuery& query, const std::filesystem::path& folder) const;
  std::string run_hmmsearch(const SearchQuery& query, const std::filesystem::path& folder) const;
  std::string run_hhsuite(const SearchQuery& query, const std::filesystem::path& folder) const;
  void call(const std::string& program, const std::vector<std::string>& arguments,
            const std::filesystem::path& folder, const std::string& subject) const;

  SearchOptions options_;
  std::vector<std::pair<std::string, std::string>> versions_;
};

/// Two protein sequences laid beside each other by Kalign: pairs of places, from 0, both ascending.
std::vector<std::pair<int32_t, int32_t>> align_by_kalign(const std::string& a, const std::string& b,
                                                         const std::filesystem::path& folder,
                                                         double timeout);

}  // namespace megafold
