// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// report.html: one page that shows what a run has learned. It holds all that it needs (style,
// script, pictures, data) and asks no network; without a script it still shows everything but the
// turning of the structure.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "predict/entry.h"
#include "report/history.h"
#include "report/molecule.h"

namespace megafold {

struct ReportInput {
  std::string run;  // the folder's name as the person wrote it
  RunHistory history;
  nlohmann::json summary = nlohmann::json::object();
  std::string config;          // the effective config's text; may be empty
  std::optional<Entry> entry;  // with `scene`: the predicted structure
  std::optional<Scene> scene;
  nlohmann::json confidences;     // of the prediction (predict/confidence_json.h); null: none
  std::string missing_structure;  // why there is none: shown in its place
};

[[nodiscard]] std::string report_html(const ReportInput& input);

/// Reads RUN/metrics.jsonl, summary.json, config.yaml and predicted.cif, and the entry from the
/// cache, and publishes RUN/report.html; returns its path. What is missing but metrics.jsonl is
/// said on the page. `cache` empty: the cache that the run's config names.
std::filesystem::path write_report(const std::filesystem::path& run,
                                   const std::filesystem::path& cache = {});

}  // namespace megafold
