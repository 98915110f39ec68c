// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What lies in a data folder: entries, and alignments beside them.
//
//   1abc.cif  1abc.cif.gz  1abc.bcif  1abc.bcif.gz     an entry called 1abc, at any depth
//   1abc_A.a3m  1abc_A.a2m  1abc_A.sto (.gz, .zst)     an alignment of its chain A
//   1abc_A/uniref90_hits.sto  1abc_A/mgnify_hits.sto   several, one after the other
//   1abc_A/uniprot_hits.sto  1abc_A.pairing.a3m        hits with a species, to pair chains by
//   1abc_A.m8  1abc_A.hhr  1abc_A/hmm_output.sto       template hits of its chain A
//   components.cif  components.bcif (.gz)              a component dictionary, no entry
//   mine.components.cif (.gz)                          components of your own, laid over it
//   templates/                                         the entries that template hits name
//
// The chain is the author's (auth_asym_id) or the file's (label_asym_id), whichever has the query's
// sequence. An alignment that names no chain of any entry serves every chain whose sequence is its
// query. In a folder, files go in the order UniRef, BFD and ColabFold, MGnify, Rfam, RNAcentral,
// NT, others by name.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace megafold {

struct EntryFile {
  std::string id;
  std::filesystem::path path;
};

/// The files of one alignment, in order.
struct AlignmentFiles {
  std::string name;  // "1abc_A"
  std::vector<std::filesystem::path> paths;
  std::vector<std::filesystem::path> pairing = {};  // hits with a species, for pairing

  /// The file whose query tells the sequence.
  [[nodiscard]] const std::filesystem::path& first() const {
    return paths.empty() ? pairing.front() : paths.front();
  }
  /// All files, those for pairing last.
  [[nodiscard]] std::vector<std::filesystem::path> all() const {
    std::vector<std::filesystem::path> out = paths;
    out.insert(out.end(), pairing.begin(), pairing.end());
    return out;
  }
};

struct DataFolder {
  std::vector<EntryFile> entries;                     // sorted by id
  std::map<std::string, AlignmentFiles> alignments;   // by name
  std::map<std::string, AlignmentFiles> hits;         // template hits, by name
  std::optional<std::filesystem::path> dictionary;    // "components.*"
  std::vector<std::filesystem::path> own_components;  // "*.components.*", sorted
  std::optional<std::filesystem::path> templates;     // "templates/"
};

/// The folder for the alignments of a sequence that is no chain of an entry: a name that no entry
/// claims, so that they serve by their query.
std::string folder_of_sequence(std::string name);

/// Throws BadInput: no such folder, no entry in it, two files of one id, two files that claim one
/// alignment.
DataFolder scan_data_folder(const std::filesystem::path& folder);

}  // namespace megafold
