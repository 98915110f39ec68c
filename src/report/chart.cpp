// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/nan.h"
#include "report/html.h"

namespace megafold {
namespace {

// The SVG's own units; the page stretches them to its width (preserveAspectRatio="none").
constexpr double kWidth = 1000, kHeight = 300;
constexpr size_t kMostPoints = 500;  // more than a screen shows; keeps a long run's page small

struct Axis {
  double low = 0, high = 1;
  bool log = false;
  /// 0 at `low`, 1 at `high`; NaN for what the axis cannot show.
  [[nodiscard]] double at(double value) const {
    if (!log) return (value - low) / (high - low);
    return value > 0 ? std::log(value / low) / std::log(high / low) : kNaN;
  }
};

// The axis for some values, clear of the rarest outliers: 0.5 % at each end may be cut off.
Axis fit_axis(std::vector<double> values, bool log, bool from_zero) {
  std::erase_if(values, [&](double v) { return !std::isfinite(v) || (log && v <= 0); });
  if (values.empty()) return {log ? 0.1 : 0.0, 1, log};
  std::sort(values.begin(), values.end());
  const size_t cut = values.size() / 200;
  double low = from_zero ? 0 : values[cut], high = values[values.size() - 1 - cut];
  if (log) {
    if (high / low < 1.2) high *= 1.1, low /= 1.1;
    const double margin = std::pow(high / low, 0.04);
    return {low / margin, high * margin, true};
  }
  if (high - low < 1e-12 * std::max(1.0, std::abs(high))) high = low + 1;
  const double margin = 0.04 * (high - low);
  return {from_zero ? 0 : low - margin, high + margin, false};
}

// Points that are drawn: bins of equally many steps.
struct Bins {
  explicit Bins(size_t points)
      : size(std::max<size_t>(1, (points + kMostPoints - 1) / kMostPoints)),
        count((points + size - 1) / size),
        points_(points) {}
  [[nodiscard]] size_t begin(size_t bin) const { return bin * size; }
  [[nodiscard]] size_t end(size_t bin) const { return std::min(points_, (bin + 1) * size); }
  size_t size, count;

 private:
  size_t points_;
};

std::vector<double> bin_means(const std::vector<double>& y, const Bins& bins) {
  std::vector<double> out;
  for (size_t b = 0; b < bins.count; ++b) {
    double sum = 0, n = 0;
    for (size_t i = bins.begin(b); i < bins.end(b); ++i) {
      if (std::isfinite(y[i])) sum += y[i], n += 1;
    }
    out.push_back(n > 0 ? sum / n : kNaN);
  }
  return out;
}

// An SVG path through the points; a point that is NaN lifts the pen.
class Path {
 public:
  void to(double x, double y) {
    if (!std::isfinite(x) || !std::isfinite(y)) {
      pen_down_ = false;
      return;
    }
    // Far outside the plot a coordinate only wastes digits.
    text_ += fmt::format("{}{:.1f} {:.1f}", pen_down_ ? 'L' : 'M', x,
                         std::clamp(y, -kHeight, 2 * kHeight));
    pen_down_ = true;
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
  bool pen_down_ = false;
};

double x_of(const Axis& axis, double value) {
  return kWidth * axis.at(value);
}
double y_of(const Axis& axis, double value) {
  return kHeight * (1 - axis.at(value));
}

std::string legend(const std::vector<Series>& series, bool areas) {
  std::string out = "<ul class=\"legend\">";
  for (const Series& s : series) {
    out += fmt::format("<li><i class=\"{}{}\" style=\"--c:var({})\"></i>{}</li>",
                       areas ? "area" : "line", s.dashed ? " dashed" : "", s.color,
                       escape_html(s.name));
  }
  return out + "</ul>";
}

std::string head(const std::string& id, const char* kind, const std::string& title,
                 const std::string& note, const std::string& legend_html) {
  return fmt::format(
      "<figure class=\"chart {}\" id=\"{}\"><figcaption><h3>{}</h3>{}{}</figcaption>", kind,
      escape_html(id), escape_html(title), note.empty() ? "" : "<p>" + escape_html(note) + "</p>",
      legend_html);
}

// Labels of the axes, in percent of the plot, and the lines of the grid.
struct Frame {
  std::string labels, grid;
  void y_tick(double share, const std::string& text) {
    labels += fmt::format("<span class=\"y\" style=\"top:{:.2f}%\">{}</span>", 100 * (1 - share),
                          escape_html(text));
    grid += fmt::format("<line x1=\"0\" x2=\"{0}\" y1=\"{1:.1f}\" y2=\"{1:.1f}\"/>", kWidth,
                        kHeight * (1 - share));
  }
  void x_tick(double share, const std::string& text) {
    labels += fmt::format("<span class=\"x\" style=\"left:{:.2f}%\">{}</span>", 100 * share,
                          escape_html(text));
  }
};

std::string plot(const std::string& description, const Frame& frame, const std::string& marks) {
  return fmt::format(
      "<div class=\"plot\"><svg viewBox=\"0 0 {} {}\" preserveAspectRatio=\"none\" role=\"img\" "
      "aria-label=\"{}\"><g class=\"grid\">{}</g>{}</svg>{}</div>",
      kWidth, kHeight, escape_html(description), frame.grid, marks, frame.labels);
}

std::string data_for_script(const nlohmann::json& data) {
  return "<script type=\"application/json\">" + script_json(data) + "</script></figure>";
}

// Three digits are what a pointer's label shows.
nlohmann::json rounded(const std::vector<double>& values) {
  nlohmann::json out = nlohmann::json::array();
  for (const double v : values) {
    out.push_back(std::isfinite(v) ? nlohmann::json(std::stod(fmt::format("{:.4g}", v)))
                                   : nlohmann::json());
  }
  return out;
}

Frame step_frame(const Axis& x, const Axis& y, const std::string& unit, bool small) {
  Frame frame;
  const auto ticks = y.log ? log_ticks(y.low, y.high) : round_ticks(y.low, y.high, small ? 3 : 5);
  for (const double t : ticks) frame.y_tick(y.at(t), pretty(t) + (unit.empty() ? "" : " " + unit));
  for (const double t : round_ticks(x.low, x.high, small ? 3 : 6)) frame.x_tick(x.at(t), pretty(t));
  return frame;
}

Axis step_axis(const std::vector<double>& x) {
  if (x.empty()) return {0, 1};
  return {x.front(), x.back() > x.front() ? x.back() : x.front() + 1};
}

}  // namespace

std::vector<double> running_mean(const std::vector<double>& y, size_t window) {
  std::vector<double> out(y.size(), kNaN);
  double sum = 0;
  int64_t n = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    if (std::isfinite(y[i])) sum += y[i], ++n;
    if (i >= window && std::isfinite(y[i - window])) sum -= y[i - window], --n;
    if (n > 0) out[i] = sum / static_cast<double>(n);
  }
  return out;
}

std::vector<double> round_ticks(double low, double high, int count) {
  const double raw = (high - low) / std::max(1, count);
  if (!(raw > 0) || !std::isfinite(raw)) return {};
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double digit = raw / power;  // 1 to 10: the nearest of 1, 2, 5 and 10 by ratio
  const double step = power * (digit < 1.42 ? 1 : digit < 3.17 ? 2 : digit < 7.08 ? 5 : 10);
  std::vector<double> ticks;
  for (double k = std::ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; ++k) {
    ticks.push_back(k == 0 ? 0.0 : k * step);  // never a negative zero
  }
  return ticks;
}

std::vector<double> log_ticks(double low, double high) {
  if (!(low > 0) || !(high > low) || !std::isfinite(high)) return {};
  const double decades = std::log10(high / low);
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / 6)));
  std::vector<double> ticks;
  for (int e = static_cast<int>(std::floor(std::log10(low))); std::pow(10.0, e) <= high; ++e) {
    if (e % stride != 0) continue;
    for (const double m : {1.0, 2.0, 5.0}) {
      if (m > 1 && decades > 2.5) continue;
      const double t = m * std::pow(10.0, e);
      if (t >= low && t <= high) ticks.push_back(t);
    }
  }
  return ticks;
}

std::string line_chart(const LineChart& chart) {
  const Bins bins(chart.x.size());
  std::vector<double> all;
  for (const Series& s : chart.series) {
    all.insert(all.end(), s.y.begin(), s.y.end());
    all.insert(all.end(), s.raw.begin(), s.raw.end());
  }
  const Axis x = step_axis(chart.x), y = fit_axis(all, chart.log_y, chart.from_zero);
  const Frame frame = step_frame(x, y, chart.unit, chart.small);
  std::string faint, marks;
  nlohmann::json data{{"x", nlohmann::json::array()},
                      {"unit", chart.unit},
                      {"log", chart.log_y},
                      {"low", y.low},
                      {"high", y.high},
                      {"series", nlohmann::json::array()},
                      {"first", x.low}};
  const auto bin_x = [&](size_t b) { return chart.x[bins.end(b) - 1]; };
  for (size_t b = 0; b < bins.count; ++b) data["x"].push_back(bin_x(b));
  for (const Series& s : chart.series) {
    if (!s.raw.empty()) {
      Path path;  // through each bin's least and greatest value: nothing that happened is hidden
      for (size_t b = 0; b < bins.count; ++b) {
        double low = kNaN, high = kNaN;
        for (size_t i = bins.begin(b); i < bins.end(b); ++i) {
          low = std::fmin(low, s.raw[i]), high = std::fmax(high, s.raw[i]);
        }
        path.to(x_of(x, bin_x(b)), y_of(y, low));
        if (high > low) path.to(x_of(x, bin_x(b)), y_of(y, high));
      }
      faint +=
          fmt::format("<path class=\"raw\" style=\"--c:var({})\" d=\"{}\"/>", s.color, path.text());
    }
    const auto means = bin_means(s.y, bins);
    Path path;
    for (size_t b = 0; b < bins.count; ++b) path.to(x_of(x, bin_x(b)), y_of(y, means[b]));
    marks += fmt::format("<path class=\"line{}\" style=\"--c:var({})\" d=\"{}\"/>",
                         s.dashed ? " dashed" : "", s.color, path.text());
    data["series"].push_back({{"name", s.name}, {"color", s.color}, {"y", rounded(means)}});
  }
  std::string description = chart.title + ".";
  for (const Series& s : chart.series) {
    const auto last =
        std::find_if(s.y.rbegin(), s.y.rend(), [](double v) { return std::isfinite(v); });
    const auto first =
        std::find_if(s.y.begin(), s.y.end(), [](double v) { return std::isfinite(v); });
    if (first != s.y.end()) {
      description +=
          fmt::format(" {}: {} at first, {} at last.", s.name, pretty(*first), pretty(*last));
    }
  }
  return head(chart.id, chart.small ? "small" : "wide", chart.title, chart.note,
              chart.series.size() > 1 ? legend(chart.series, false) : "") +
         plot(description, frame, faint + marks) + data_for_script(data);
}

std::string stacked_chart(const StackedChart& chart) {
  const Bins bins(chart.x.size());
  std::vector<std::vector<double>> means;
  for (const Series& s : chart.series) {
    means.push_back(bin_means(s.y, bins));
    for (double& v : means.back()) v = std::isfinite(v) ? v : 0;
  }
  std::vector<double> total(bins.count), below(bins.count);
  for (const auto& m : means) {
    for (size_t b = 0; b < bins.count; ++b) total[b] += m[b];
  }
  const Axis x = step_axis(chart.x), y = fit_axis(total, false, true);
  const Frame frame = step_frame(x, y, chart.unit, false);
  const auto bin_x = [&](size_t b) { return chart.x[bins.end(b) - 1]; };
  nlohmann::json data{{"x", nlohmann::json::array()},
                      {"unit", chart.unit},
                      {"low", y.low},
                      {"high", y.high},
                      {"stacked", true},
                      {"series", nlohmann::json::array()},
                      {"first", x.low}};
  for (size_t b = 0; b < bins.count; ++b) data["x"].push_back(bin_x(b));
  std::string marks, description = chart.title + ", mean of a step:";
  for (size_t s = 0; s < means.size(); ++s) {
    Path path;
    for (size_t b = 0; b < bins.count; ++b)
      path.to(x_of(x, bin_x(b)), y_of(y, below[b] + means[s][b]));
    for (size_t b = bins.count; b-- > 0;) path.to(x_of(x, bin_x(b)), y_of(y, below[b]));
    double sum = 0;
    for (size_t b = 0; b < bins.count; ++b) below[b] += means[s][b], sum += means[s][b];
    marks += fmt::format("<path class=\"area\" style=\"--c:var({})\" d=\"{}Z\"/>",
                         chart.series[s].color, path.text());
    data["series"].push_back({{"name", chart.series[s].name},
                              {"color", chart.series[s].color},
                              {"y", rounded(means[s])}});
    description +=
        fmt::format(" {} {} {}.", chart.series[s].name,
                    pretty(sum / static_cast<double>(std::max<size_t>(1, bins.count))), chart.unit);
  }
  return head(chart.id, "wide", chart.title, chart.note, legend(chart.series, true)) +
         plot(description, frame, marks) + data_for_script(data);
}

std::string bar_chart(const BarChart& chart) {
  Frame frame;
  for (const double t : {0.0, 0.25, 0.5, 0.75, 1.0}) frame.y_tick(t, fmt::format("{:.2g}", t));
  // Chains are set apart by the width of two bars.
  double slots = 0;
  for (size_t i = 0; i < chart.bars.size(); ++i) {
    slots += i > 0 && chart.bars[i].group != chart.bars[i - 1].group ? 3 : 1;
  }
  const double pitch = kWidth / std::max(1.0, slots);
  double at = 0, sum = 0, n = 0, last_tick = -kWidth;
  std::string marks;
  nlohmann::json data{{"bars", nlohmann::json::array()}};
  for (size_t i = 0; i < chart.bars.size(); ++i) {
    const Bar& bar = chart.bars[i];
    const bool new_group = i == 0 || bar.group != chart.bars[i - 1].group;
    if (i > 0 && new_group) at += 2 * pitch;
    const bool known = std::isfinite(bar.value);
    const double height = known ? std::max(2.0, kHeight * std::clamp(bar.value, 0.0, 1.0)) : 0;
    marks += fmt::format(
        "<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\" "
        "style=\"--c:var({})\"/>",
        at + 0.08 * pitch, kHeight - height, 0.84 * pitch, height, bar.color);
    if (known) sum += bar.value, n += 1;
    // A label takes about 5 % of the width.
    if (!bar.tick.empty() && at - last_tick > 0.05 * kWidth) {
      frame.x_tick((at + pitch / 2) / kWidth, bar.tick);
      last_tick = at;
    }
    data["bars"].push_back({{"x", (at + pitch / 2) / kWidth},
                            {"label", bar.label},
                            {"y", known ? nlohmann::json(bar.value) : nlohmann::json()}});
    at += pitch;
  }
  return head(chart.id, "wide bars", chart.title, chart.note, "") +
         plot(fmt::format("{}: {} residues, mean {}.", chart.title, chart.bars.size(),
                          pretty(n > 0 ? sum / n : kNaN)),
              frame, "<g class=\"bars\">" + marks + "</g>") +
         data_for_script(data);
}

}  // namespace megafold
