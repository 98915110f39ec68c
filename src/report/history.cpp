// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "report/history.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "base/errors.h"
#include "base/nan.h"
#include "base/publish.h"

namespace megafold {
namespace {

using nlohmann::json;

// JSON has no NaN: the trainer writes null.
double number(const json& value) {
  return value.is_number() ? value.get<double>() : kNaN;
}

StepRow step_row(const json& line) {
  StepRow row;
  row.step = line.value("step", int64_t{0});
  row.entry = line.value("entry", std::string());
  for (const auto& [name, value] : line.items()) {
    if (name == "time") {
      row.time = number(value);
    } else if (name == "seconds" && value.is_object()) {
      for (const auto& [part, seconds] : value.items()) row.seconds[part] = number(seconds);
    } else if (name != "step" && (value.is_number() || value.is_null())) {
      row.value[name] = number(value);
    }
  }
  return row;
}

}  // namespace

double StepRow::get(const std::string& name) const {
  const auto found = value.find(name);
  return found == value.end() ? kNaN : found->second;
}

double StepRow::total_seconds() const {
  double sum = 0;
  for (const auto& [part, seconds_here] : seconds) {
    if (std::isfinite(seconds_here)) sum += seconds_here;
  }
  return sum;
}

RunHistory read_history(const std::filesystem::path& metrics) {
  const std::string text = read_file(metrics);
  RunHistory history;
  std::map<int64_t, StepRow> by_step;
  double began = kNaN, last = kNaN;  // of the start that is being read
  double told = kNaN;
  const auto close_start = [&] {
    if (std::isfinite(last - began)) history.train_seconds += last - began;
  };
  size_t line_number = 0;
  for (size_t at = 0; at < text.size();) {
    ++line_number;
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    const bool is_torn = end == text.size();  // no newline: the writer was killed here
    at = end + 1;
    if (line.empty()) continue;
    const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) {
      if (is_torn) break;
      fail<Corrupt>("{}:{}: not a JSON object: '{}'", metrics.string(), line_number,
                    line.substr(0, 60));
    }
    const std::string event = object.value("event", std::string("step"));
    if (event == "start") {
      close_start();
      ++history.num_starts;
      told = kNaN;
      history.start = object;
      began = last = number(object.value("time", json()));
    } else if (event == "step") {
      StepRow row = step_row(object);
      if (std::isfinite(row.time)) {
        if (!std::isfinite(began)) began = row.time - row.total_seconds();
        last = row.time;
      }
      by_step.insert_or_assign(row.step, std::move(row));
    } else if (event == "end") {
      told = number(object.value("train_seconds", json()));
    }
  }
  close_start();
  if (std::isfinite(told)) history.train_seconds = told;  // the trainer's own count, if it ended
  if (by_step.empty()) {
    fail<BadInput>("{}: no training step in it; train first: megafold train CONFIG --run DIR",
                   metrics.string());
  }
  for (auto& [step, row] : by_step) history.steps.push_back(std::move(row));
  return history;
}

double mean_of_last(const RunHistory& history, const std::string& name, size_t window) {
  double sum = 0;
  size_t count = 0;
  for (auto row = history.steps.rbegin(); row != history.steps.rend() && count < window; ++row) {
    const double value = row->get(name);
    if (std::isfinite(value)) sum += value, ++count;
  }
  return count == 0 ? kNaN : sum / static_cast<double>(count);
}

json training_summary(const RunHistory& history) {
  std::set<std::string> entries;
  for (const StepRow& row : history.steps) {
    // A step of several samples names them all: "1ubq,2q2k".
    for (size_t at = 0; at < row.entry.size();) {
      const size_t end = std::min(row.entry.find(',', at), row.entry.size());
      if (end > at) entries.insert(row.entry.substr(at, end - at));
      at = end + 1;
    }
  }
  std::string names;
  for (const std::string& entry : entries) names += (names.empty() ? "" : ",") + entry;
  // Over the same steps: a step counts when it has both numbers.
  double learned = 0, trivial = 0;
  size_t count = 0;
  for (auto row = history.steps.rbegin(); row != history.steps.rend() && count < 100; ++row) {
    const double a = row->get("diffusion_mse"), b = row->get("diffusion_mse_trivial");
    if (std::isfinite(a) && std::isfinite(b)) learned += a, trivial += b, ++count;
  }
  return {{"steps", history.steps.back().step},
          {"train_seconds", history.train_seconds},
          {"entry", names},
          {"diffusion_mse_over_trivial", count == 0 ? kNaN : learned / trivial}};
}

json merge_summary(const std::filesystem::path& path, const json& numbers) {
  json summary = json::object();
  if (std::filesystem::exists(path)) {
    summary = json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
    if (!summary.is_object()) {
      fail<Corrupt>("{}: not a JSON object; remove it and run the command again", path.string());
    }
  }
  summary.update(numbers);
  publish(path, summary.dump(2) + "\n");  // dump writes a NaN as null
  return summary;
}

}  // namespace megafold
