// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Two structures of one entry as a picture (SVG, needs no script) and as the data of the page's
// viewer.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "predict/entry.h"

namespace megafold {

/// A predicted structure upon the true one, turned so that the longest axis lies across the page.
struct Scene {
  std::vector<float> truth;           // [A, 3], Angstrom, centred
  std::vector<float> predicted;       // [A, 3], superposed on the truth, centred with it
  std::vector<double> residue_score;  // [R], lDDT 0..1, NaN where none
  double rmsd = 0;                    // Angstrom, over the resolved atoms
  std::vector<std::pair<int32_t, int32_t>> bonds;  // atoms, by distance in the truth or prediction
};

/// Superposes and turns. Both [A, 3] in the order of the entry's atoms.
[[nodiscard]] Scene make_scene(const Entry& entry, const std::vector<float>& predicted,
                               std::vector<double> residue_score);

/// The class of an lDDT as in the AlphaFold database's colours: 0 (>= 0.9), 1 (>= 0.7), 2 (>= 0.5),
/// 3 (below), 4 (none).
[[nodiscard]] int score_class(double score);

/// The traces of both structures, drawn back to front. `description` is what a screen reader says.
[[nodiscard]] std::string scene_svg(const Entry& entry, const Scene& scene,
                                    const std::string& description);

/// What report/script.cpp draws: {residues: [[name, number, chain, first, count, trace atom, guide
/// atom, score]], chains: [[name, type]], elements, truth, predicted, resolved, bonds}.
[[nodiscard]] nlohmann::json scene_json(const Entry& entry, const Scene& scene);

}  // namespace megafold
