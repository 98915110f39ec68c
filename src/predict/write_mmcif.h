// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A predicted structure as an mmCIF file: the entry's own chains, residues and atoms, in its order
// and with its names and numbers, at predicted places.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "predict/entry.h"

namespace megafold {

/// One sample of the diffusion: becomes one model of the file.
struct PredictedModel {
  std::vector<float> position;  // [A, 3], Angstrom, in the order of the record's atoms
  /// [R], 0..1: what the B-factor column holds, x 100, for each atom of a residue. Empty: zeros.
  /// NaN (nothing to say about the residue) is written as 0.
  std::vector<double> residue_score = {};
  /// [A], 0..100: goes before residue_score. Empty: none.
  std::vector<float> atom_score = {};
};

struct PredictionNote {
  std::string score_meaning;  // of the B-factor column, for the reader of the file; may be empty
  std::string details;        // one line: checkpoint, step, seed
};

/// The file's text. Models are numbered from 1 in the order given. Every atom of the entry is
/// written, those that the experiment did not resolve too, with occupancy 1.
/// Throws BadInput when a model has another number of atoms or residues than the entry, or a
/// coordinate that is not finite (naming the model and the atom).
[[nodiscard]] std::string mmcif_text(const Entry& entry, std::span<const PredictedModel> models,
                                     const PredictionNote& note = {});

/// A cache record's own structure: the resolved atoms with their B-factors, bonds between residues
/// (_struct_conn), and title, method, date and resolution. A bond of two tokens is written between
/// their nearest atoms, since a record does not name the atoms of standard residues in bonds.
/// Throws Corrupt as read_entry().
[[nodiscard]] std::string experimental_mmcif_text(const Record& record);

/// Publishes mmcif_text at `path`: the whole file or none (base/publish.h).
void write_mmcif(const std::filesystem::path& path, const Entry& entry,
                 std::span<const PredictedModel> models, const PredictionNote& note = {});

/// Reads coordinates back: [A, 3] of the model, in the entry's order. Throws BadInput, naming the
/// file and the first difference, when names, order or counts differ from the entry's.
[[nodiscard]] std::vector<float> read_predicted_positions(const std::filesystem::path& path,
                                                          const Entry& entry, int model = 1);

}  // namespace megafold
