// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From a checkpoint and an entry of a cache to structures (Algorithm 18 with the averaged weights),
// compared with the truth where it is known.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cache/reader.h"
#include "predict/comparison.h"
#include "predict/confidence.h"
#include "predict/entry.h"

namespace megafold {

struct PredictOptions {
  std::filesystem::path checkpoint;
  std::string entry;
  uint64_t seed = 1;  // fixes every draw: the same seed, device and weights, the same structure
  int64_t samples = 1;
  int64_t steps = 0;   // of the sampler; 0: the model's own (200)
  int64_t cycles = 0;  // passes of the trunk; 0: the model's max_cycles
  std::string device = "cpu";
  bool raw_weights = false;  // the last step's weights in place of their average (EMA)
};

struct PredictedStructure {
  std::vector<float> position;  // [A, 3] in the order of the record's atoms, Angstrom
  Comparison truth;             // how near it is to the entry's
  int64_t wrong_hands = 0;      // stereocentres whose hand is not the reference conformer's
  int64_t draw = 0;             // its place in the order of the draws, from 0
  std::optional<Confidence> confidence;  // none: the model has no confidence head
  double mark = 0;                       // what the samples are ranked by
};

struct Prediction {
  Entry entry;
  std::vector<PredictedStructure> samples;  // best first by their own marks, never by the truth
  int64_t stereocentres = 0;                // of the entry (predict/chirality.h)
  int64_t trained_steps = 0;                // of the checkpoint
  int64_t sampler_steps = 0;
  bool trained_on_this_cache = false;  // the cache's content is that of the training
  double seconds = 0;                  // trunk and sampler
};

/// Throws BadInput (no such entry, checkpoint or device; a structure that is not finite), Corrupt
/// (a damaged checkpoint or record), Unsupported (a part that this build lacks), Device.
///
/// Samples are ranked by AlphaFold 3's ranking score (0 without a confidence head) less the share
/// of stereocentres whose hand is not the reference conformer's: AlphaFold 3 ranks ligands' poses
/// with a penalty for wrong hands too (its paper's Methods). Neither needs the truth, and the
/// second is what tells a sample from its mirror image. Equal ones stay in the order of their
/// draws.
[[nodiscard]] Prediction predict(const CacheReader& cache, const PredictOptions& options);

/// Writes all samples as models of one mmCIF, best first. The B-factor column holds pLDDT; without
/// a confidence head 100 x lDDT by residue where the truth is known. With a confidence head also,
/// for "x.cif", "x_confidences.json" and "x_summary_confidences.json" of the best sample, and
/// "x_ranking_scores.csv" of all, in AlphaFold 3's form (predict/confidence_json.h).
void write_prediction(const std::filesystem::path& path, const Prediction& prediction,
                      const PredictOptions& options);

}  // namespace megafold
