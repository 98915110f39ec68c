// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/errors.h"
#include "base/publish.h"
#include "cache/reader.h"
#include "predict/lddt.h"
#include "predict/write_mmcif.h"
#include "report/page.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// data.cache of the effective config, which the start line of metrics.jsonl has.
std::string cache_of_start(const json& start) {
  const json::json_pointer pointer("/config/data/cache");
  return start.contains(pointer) && start[pointer].is_string() ? start[pointer].get<std::string>()
                                                               : "";
}

}  // namespace

fs::path write_report(const fs::path& run, const fs::path& cache) {
  ReportInput input;
  input.run = run.lexically_normal().string();
  input.history = read_history(run / "metrics.jsonl");
  const fs::path summary = run / "summary.json";
  if (fs::exists(summary)) {
    input.summary = json::parse(read_file(summary), nullptr, /*allow_exceptions=*/false);
    if (!input.summary.is_object()) fail<Corrupt>("{}: not a JSON object", summary.string());
  }
  // What predict has not written yet follows from the metrics.
  json numbers = training_summary(input.history);
  numbers.update(input.summary);
  input.summary = std::move(numbers);
  if (fs::exists(run / "config.yaml")) input.config = read_file(run / "config.yaml");

  const fs::path predicted = run / "predicted.cif";
  const std::string entry_id = input.summary.value("entry", std::string());
  const fs::path cache_folder =
      cache.empty() ? fs::path(cache_of_start(input.history.start)) : cache;
  if (!fs::exists(predicted)) {
    input.missing_structure = fmt::format("{} is not there. megafold predict --run {} makes it.",
                                          predicted.string(), run.string());
  } else if (cache_folder.empty()) {
    input.missing_structure = "the run does not say where its cache is; give --cache DIR.";
  } else {
    const auto record = CacheReader::open(cache_folder)->structure(entry_id);
    input.entry = read_entry(*record);
    const auto position = read_predicted_positions(predicted, *input.entry);
    input.scene = make_scene(
        *input.entry, position,
        lddt(input.entry->position, position, input.entry->resolved, input.entry->residue)
            .per_residue);
  }
  const fs::path confidences = run / "predicted_confidences.json";
  if (input.entry && fs::exists(confidences)) {
    input.confidences = json::parse(read_file(confidences), nullptr, /*allow_exceptions=*/false);
    if (!input.confidences.is_object())
      fail<Corrupt>("{}: not a JSON object", confidences.string());
  }
  const fs::path page = run / "report.html";
  publish(page, report_html(input));
  return page;
}

}  // namespace megafold
