// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Other programs' training folders, laid out as `megafold cache build` wants them (cache/inputs.h).
// Files that can be read as they are become symbolic links; what has to be cut is written. Nothing
// of the source is changed, and nothing is dropped without a note.
//
//   openproteinset  pdb/1abc_A/a3m/uniref90_hits.a3m, .../hhr/pdb70_hits.hhr,
//                   uniclust30/NAME/a3m/...,
//                   duplicate_pdb_chains.txt (chains that share the alignments of the line's first)
//   openfold3       alignments/1abc_A/uniref90_hits.sto, .../hmm_output.sto
//   colabfold       NAME.a3m ("#70,66<tab>2,1" first, chains side by side), NAME_env/uniref.a3m,
//                   .../bfd*.a3m, .../pdb70.m8 (several queries in one file), .../pair.a3m
//   protenix        seq_to_pdb_index.json,
//                   mmcif_msa_template/INDEX/{non_pairing,pairing,hmmsearch}.a3m,
//                   indices/*.csv[.gz] (which entries)
//   alphafold3      a JSON file (versions 1 to 4) or a folder of them: jobs, which become entries
//                   without coordinates; alignments, templates and components inside or by path
//   boltz           structures/*.npz, msa/*.npz, manifest.json (or records/*.json): processed
//                   files of either version, which become mmCIF and A3M
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace megafold {

struct ImportOptions {
  std::string from;                   // one of import_sources()
  std::filesystem::path source, out;  // `out` must be missing or empty
  std::filesystem::path structures;   // folder of mmCIF files; empty: those inside of `source`
  bool copy = false;                  // files instead of links
};

struct ImportReport {
  size_t entries = 0, alignments = 0;  // files of entries; sequences with an alignment
  std::vector<std::string> notes;      // what was left out and why
};

const std::vector<std::string>& import_sources();

/// Throws BadInput: an unknown source, a missing folder or table, a file that is not what its place
/// says (named with line), an `out` that holds something.
ImportReport import_folder(const ImportOptions& options);

namespace internal {
/// Puts a file at a place in the new folder: a link to it, or a copy where options.copy says so.
void place_file(const ImportOptions& options, const std::filesystem::path& file,
                const std::filesystem::path& name);
ImportReport import_alphafold3(const ImportOptions& options);
ImportReport import_boltz(const ImportOptions& options);
}  // namespace internal

}  // namespace megafold
