// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Charts as HTML that needs no script: an SVG that stretches with the page, and labels in HTML
// beside it, so that text keeps its size on a phone. The page's script adds what the pointer shows.
#pragma once

#include <string>
#include <vector>

namespace megafold {

struct Series {
  std::string name = {};
  std::string color = {};        // a CSS custom property, "--model"
  std::vector<double> y = {};    // one per x; NaN leaves a gap
  std::vector<double> raw = {};  // drawn faintly behind y; empty: none
  bool dashed = false;
};

struct LineChart {
  std::string id = {}, title = {}, note = {};  // note: one sentence under the title
  std::vector<double> x = {};                  // ascending
  std::vector<Series> series = {};
  bool log_y = false;
  bool from_zero = false;  // linear axis that begins at 0
  bool small = false;      // one of several in a row
  std::string unit = {};   // of y, for labels: "s", "%", or empty
};
[[nodiscard]] std::string line_chart(const LineChart& chart);

/// Areas upon each other; y of a series is its own share.
struct StackedChart {
  std::string id = {}, title = {}, note = {}, unit = {};
  std::vector<double> x = {};
  std::vector<Series> series = {};
};
[[nodiscard]] std::string stacked_chart(const StackedChart& chart);

struct Bar {
  double value = 0;        // 0..1; NaN: none
  std::string label = {};  // for the pointer: "LYS 27, chain A"
  std::string color = {};
  int group = 0;          // bars of one chain stand together
  std::string tick = {};  // under the axis; mostly empty
};
struct BarChart {
  std::string id = {}, title = {}, note = {};
  std::vector<Bar> bars = {};
  std::vector<std::string> group_names = {};
};
[[nodiscard]] std::string bar_chart(const BarChart& chart);

/// Mean over the last `window` values up to each place, NaN left out.
[[nodiscard]] std::vector<double> running_mean(const std::vector<double>& y, size_t window);

/// Round numbers (1, 2, 5 x 10^n) within [low, high]: about `count` on a linear axis; on a
/// logarithmic one (both positive) the decades, with 2 and 5 when the range is short.
[[nodiscard]] std::vector<double> round_ticks(double low, double high, int count);
[[nodiscard]] std::vector<double> log_ticks(double low, double high);

}  // namespace megafold
