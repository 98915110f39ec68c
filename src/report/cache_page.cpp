// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "report/cache_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

#include "report/assets.h"
#include "report/chart.h"
#include "report/html.h"

namespace megafold {
namespace {

constexpr size_t kMostRows = 1000;  // of a table
constexpr size_t kMostDots = 3000;  // of the map

constexpr std::array kTypeNames = {"protein", "RNA", "DNA", "ligand"};
constexpr std::array kTypeColors = {"--p1", "--p2", "--p3", "--p4"};

std::string count(uint64_t n) {
  return pretty(static_cast<double>(n));
}

/// "1 entry", "6 entries".
std::string counted(uint64_t n, const char* one, const char* many) {
  return count(n) + " " + (n == 1 ? one : many);
}

std::string tile(const std::string& id, const std::string& name, const std::string& value,
                 const std::string& unit, const std::string& note, const char* note_class = "") {
  return fmt::format(
      "<div class=\"tile card\" id=\"{}\"><span>{}</span><strong>{}<small>{}</small></strong>"
      "<em class=\"{}\">{}</em></div>",
      id, name, value, unit, note_class, note);
}

std::string overview(const CachePageInput& input) {
  const BuildReport& report = input.report;
  const size_t kept = report.count(Verdict::kept), dropped = report.count(Verdict::dropped),
               failed = report.count(Verdict::failed), all = report.entries.size();
  std::string out = "<section aria-label=\"Verdicts\"><div class=\"verdicts\" role=\"img\" ";
  out +=
      fmt::format("aria-label=\"{} entries kept, {} dropped, {} failed\">", kept, dropped, failed);
  const auto share = [&](const char* name, size_t n) {
    if (n > 0) out += fmt::format("<i class=\"{}\" style=\"flex-grow:{}\"></i>", name, n);
  };
  share("kept", kept), share("dropped", dropped), share("failed", failed);
  out += "</div><div class=\"tiles row\" id=\"numbers\">";
  const auto percent = [&](size_t n) {
    return all == 0 ? 0.0 : 100 * static_cast<double>(n) / static_cast<double>(all);
  };
  out += tile("tile-kept", "<b class=\"badge kept\">kept</b>", count(kept), "entries",
              fmt::format("{:.3g} % of {}", percent(kept), count(all)));
  out += tile("tile-dropped", "<b class=\"badge dropped\">dropped</b>", count(dropped), "entries",
              dropped == 0 ? "no rule left one out" : "by a rule; see below");
  out += tile("tile-failed", "<b class=\"badge failed\">failed</b>", count(failed), "entries",
              failed == 0 ? "every file could be read" : "with file and line, below",
              failed == 0 ? "met" : "unmet");
  const double ratio =
      static_cast<double>(report.stored_bytes) / static_cast<double>(report.input_bytes);
  out += tile("tile-size", "On disk", pretty(static_cast<double>(report.stored_bytes) / 1e6), "MB",
              fmt::format("{} of the input files\u2019 {} MB",
                          std::isfinite(ratio) ? fmt::format("{:.2f}", ratio) : "\u2013",
                          pretty(static_cast<double>(report.input_bytes) / 1e6)));
  const auto reused =
      static_cast<size_t>(std::count_if(report.entries.begin(), report.entries.end(),
                                        [](const EntryReport& entry) { return entry.reused; }));
  out += tile("tile-time", "Built in", pretty_seconds(report.seconds), "",
              reused == 0 ? pretty_seconds(report.cpu_seconds) + " of processor time"
                          : counted(reused, "entry was", "entries were") + " there already");
  return out + "</div></section>";
}

/// A reason without its place and numbers: what the reasons of one rule share.
std::string rule_of(const std::string& reason) {
  std::string text = reason;
  if (const size_t at = text.find(": "); at != std::string::npos && at + 2 < text.size() &&
                                         text.substr(0, at).find(' ') == std::string::npos)
    text = text.substr(at + 2);
  std::string out;
  for (const char c : text) {
    const bool digit = std::isdigit(static_cast<unsigned char>(c)) != 0;
    if (!digit)
      out += c;
    else if (out.empty() || !out.ends_with("\u2026"))
      out += "\u2026";
  }
  return out;
}

std::string left_out(const CachePageInput& input) {
  std::vector<const EntryReport*> entries;
  for (const Verdict verdict : {Verdict::failed, Verdict::dropped})
    for (const EntryReport& entry : input.report.entries)
      if (entry.verdict == verdict) entries.push_back(&entry);
  if (entries.empty()) return "";
  std::string out =
      "<section aria-labelledby=\"h-left-out\"><h2 id=\"h-left-out\">Left out</h2><p "
      "class=\"lead\">Failed entries first. Nothing stands in for them: a run sees the kept ones "
      "alone. A failed entry is tried again when its file, the dictionary or the rules change.</p>";
  std::map<std::string, size_t> rules;
  for (const EntryReport* entry : entries) ++rules[rule_of(entry->reason)];
  if (entries.size() > 8 && rules.size() > 1) {
    std::vector<std::pair<size_t, std::string>> order;
    for (const auto& [rule, n] : rules) order.emplace_back(n, rule);
    std::sort(order.rbegin(), order.rend());
    order.resize(std::min<size_t>(12, order.size()));
    out += "<div class=\"chart reasons\"><h3>Why</h3>";
    for (const auto& [n, rule] : order)
      out += fmt::format(
          "<div><span>{}</span><i style=\"width:{:.1f}%\"></i><b>{}</b></div>", escape_html(rule),
          100 * static_cast<double>(n) / static_cast<double>(order[0].first), count(n));
    out += "</div>";
  }
  out +=
      "<div class=\"card scroll\"><table id=\"left-out\"><thead><tr><th scope=\"col\">Entry</th>"
      "<th scope=\"col\">Verdict</th><th scope=\"col\">Why, and where</th></tr></thead><tbody>";
  for (size_t i = 0; i < std::min(kMostRows, entries.size()); ++i) {
    const EntryReport& entry = *entries[i];
    const auto verdict = name_of(entry.verdict);
    out += fmt::format(
        "<tr><th scope=\"row\" title=\"{}\">{}</th><td><b class=\"badge {}\">{}</b></td><td "
        "class=\"words\">{}</td></tr>",
        escape_html(entry.file), escape_html(entry.id), verdict, verdict,
        escape_html(entry.reason));
  }
  out += "</tbody></table></div>";
  if (entries.size() > kMostRows)
    out += fmt::format("<p class=\"more\">{} more stand in report.json.</p>",
                       count(entries.size() - kMostRows));
  return out + "</section>";
}

struct Bin {
  std::string label, words;  // under the bar, for the pointer
  size_t n = 0;
};

/// Bars of a histogram in HTML: no script, text keeps its size.
std::string histogram(const std::string& id, const std::string& title, const std::string& note,
                      const std::vector<Bin>& bins, const char* color) {
  size_t most = 1;
  for (const Bin& bin : bins) most = std::max(most, bin.n);
  std::string out = fmt::format(
      "<div class=\"chart half\" id=\"{}\"><h3>{}</h3><p class=\"note\">{}</p><div "
      "class=\"columns\" style=\"--c:var({})\">",
      id, title, note, color);
  for (const Bin& bin : bins)
    out += fmt::format(
        "<div title=\"{}\"><b>{}</b><i style=\"height:{:.1f}%\"></i><span>{}</span></div>",
        escape_html(bin.words), bin.n > 0 ? count(bin.n) : "",
        100 * static_cast<double>(bin.n) / static_cast<double>(most), bin.label);
  return out + "</div></div>";
}

/// Bins 1, 2, 5, 10, ... over the values, empty ends cut.
std::vector<Bin> bins_of(const std::vector<int64_t>& values, const char* what) {
  std::vector<int64_t> edges;
  for (int64_t decade = 1; decade <= 100'000'000; decade *= 10)
    for (const int64_t step : {1, 2, 5}) edges.push_back(step * decade);
  std::vector<Bin> bins;
  for (size_t i = 0; i + 1 < edges.size(); ++i)
    bins.push_back({count(static_cast<uint64_t>(edges[i])),
                    fmt::format("{} to {} {}", edges[i], edges[i + 1] - 1, what), 0});
  for (const int64_t value : values) {
    if (value < 1) continue;
    const auto above = std::upper_bound(edges.begin(), edges.end(), value);
    const auto bin = static_cast<size_t>(above - edges.begin()) - 1;
    ++bins[std::min(bin, bins.size() - 1)].n;
  }
  const auto filled = [](const Bin& bin) { return bin.n > 0; };
  bins.erase(std::find_if(bins.rbegin(), bins.rend(), filled).base(), bins.end());
  bins.erase(bins.begin(), std::find_if(bins.begin(), bins.end(), filled));
  return bins;
}

std::string size_text(uint64_t bytes) {
  const auto n = static_cast<double>(bytes);
  return n < 1e6 ? pretty(n / 1e3) + " kB" : pretty(n / 1e6) + " MB";
}

int64_t deepest(const EntryReport& entry) {
  int64_t out = 0;
  for (const auto& [label, rows] : entry.rows) out = std::max(out, rows);
  return out;
}

/// Each entry a dot: tokens across, the deepest alignment's rows up, both by decades.
std::string map_of_entries(const std::vector<const EntryReport*>& kept) {
  double tokens = 10, rows = 10;
  for (const EntryReport* entry : kept) {
    tokens = std::max(tokens, static_cast<double>(entry->tokens));
    rows = std::max(rows, static_cast<double>(deepest(*entry)));
  }
  const double left = 1, right = std::ceil(std::log10(tokens * 1.05)),
               top = std::ceil(std::log10(rows * 1.05));
  const size_t step = 1 + kept.size() / kMostDots;
  std::string out = fmt::format(
      "<div class=\"chart\" id=\"map\"><h3>Every kept entry</h3><p class=\"note\">Tokens, and rows "
      "of its deepest alignment; at the bottom, entries without one.{} The pointer names "
      "them.</p><div class=\"plot dots\" role=\"img\" aria-label=\"{} entries by their tokens and "
      "the depth of their alignments\">",
      step > 1 ? fmt::format(" One in {} is drawn.", step) : "", kept.size());
  const auto across = [&](double decade) { return 100 * (decade - left) / (right - left); };
  for (int decade = 1; decade <= static_cast<int>(right); ++decade)
    out += fmt::format("<span class=\"x\" style=\"left:{:.2f}%\">{}</span>", across(decade),
                       pretty(std::pow(10, decade)));
  constexpr double kFloor = 0.08;  // room for those without an alignment
  const auto up = [&](int64_t n) {
    return n < 1 ? 0.03 : kFloor + (1 - kFloor) * std::log10(static_cast<double>(n)) / top;
  };
  out += "<span class=\"y\" style=\"top:97%\">none</span>";
  for (int decade = 0; decade <= static_cast<int>(top); ++decade) {
    const double at = 100 * (1 - up(static_cast<int64_t>(std::pow(10, decade))));
    out += fmt::format(
        "<span class=\"y\" style=\"top:{0:.2f}%\">{1}</span><hr style=\"top:{0:.2f}%\">", at,
        pretty(std::pow(10, decade)));
  }
  for (size_t i = 0; i < kept.size(); i += step) {
    const EntryReport& entry = *kept[i];
    const auto& of = entry.tokens_of;
    const auto type = static_cast<size_t>(std::max_element(of.begin(), of.end()) - of.begin());
    out += fmt::format(
        "<i style=\"left:{:.2f}%;top:{:.2f}%;--c:var({})\" title=\"{}: {} tokens, {}\"></i>",
        across(std::log10(static_cast<double>(std::max<int64_t>(10, entry.tokens)))),
        100 * (1 - up(deepest(entry))), kTypeColors.at(type), escape_html(entry.id),
        count(static_cast<uint64_t>(entry.tokens)),
        entry.rows.empty() ? std::string("no alignment")
                           : counted(static_cast<uint64_t>(deepest(entry)), "row", "rows"));
  }
  out += "</div><ul class=\"legend\">";
  for (size_t t = 0; t < kTypeNames.size(); ++t)
    out += fmt::format("<li><i style=\"--c:var({})\"></i>mostly {}</li>", kTypeColors[t],
                       kTypeNames[t]);
  return out + "</ul></div>";
}

std::string kept_section(const std::vector<const EntryReport*>& kept) {
  std::vector<int64_t> tokens, rows;
  int64_t polymers = 0, aligned = 0, templated = 0;
  for (const EntryReport* entry : kept) {
    tokens.push_back(entry->tokens);
    polymers += entry->polymers;
    aligned += static_cast<int64_t>(entry->rows.size());
    templated += entry->templates;
    for (const auto& [label, n] : entry->rows) rows.push_back(n);
  }
  std::vector<Bin> depth = bins_of(rows, "rows");
  depth.insert(depth.begin(), {"none", "chains of polymers without an alignment",
                               static_cast<size_t>(std::max<int64_t>(0, polymers - aligned))});
  return "<section aria-labelledby=\"h-kept\"><h2 id=\"h-kept\">Kept</h2><p class=\"lead\">" +
         fmt::format(
             "{}; {} of {} have an alignment, {} have templates.",
             counted(kept.size(), "entry", "entries"), count(static_cast<uint64_t>(aligned)),
             counted(static_cast<uint64_t>(polymers), "chain of a polymer", "chains of polymers"),
             count(static_cast<uint64_t>(templated))) +
         "</p><div class=\"charts\">" + map_of_entries(kept) +
         histogram("sizes", "Sizes", "Entries by their tokens, from the number under a bar on.",
                   bins_of(tokens, "tokens"), "--p1") +
         histogram("depths", "Alignments\u2019 depth",
                   "Chains of polymers by the rows of their alignment, from the number under a bar "
                   "on; the query is a row.",
                   depth, "--p2") +
         "</div></section>";
}

std::string entry_row(const EntryReport& entry, int64_t most_tokens) {
  std::string bar;
  for (size_t t = 0; t < kTypeNames.size(); ++t)
    if (entry.tokens_of[t] > 0)
      bar += fmt::format(
          "<i style=\"width:{:.2f}%;background:var({})\" title=\"{} tokens of {}\"></i>",
          100 * static_cast<double>(entry.tokens_of[t]) / static_cast<double>(most_tokens),
          kTypeColors[t], entry.tokens_of[t], kTypeNames[t]);
  std::string depths;
  for (const auto& [label, n] : entry.rows)
    depths += fmt::format("{}{}: {}", depths.empty() ? "" : ", ", label, n);
  return fmt::format(
      "<tr><th scope=\"row\" title=\"{}\">{}</th><td class=\"bar\"><div>{}</div></td>"
      "<td data-v=\"{}\">{}</td><td data-v=\"{}\">{}</td><td data-v=\"{}\" title=\"{}\">{}</td>"
      "<td data-v=\"{}\">{}</td><td data-v=\"{}\">{}</td></tr>",
      escape_html(entry.file), escape_html(entry.id), bar, entry.tokens,
      count(static_cast<uint64_t>(entry.tokens)), entry.chains,
      count(static_cast<uint64_t>(entry.chains)), deepest(entry), escape_html(depths),
      entry.polymers == 0 ? "\u2013"
      : entry.rows.empty()
          ? fmt::format("none of {}", entry.polymers)
          : fmt::format("{} ({} of {})", count(static_cast<uint64_t>(deepest(entry))),
                        entry.rows.size(), entry.polymers),
      entry.bytes, size_text(entry.bytes), entry.seconds,
      entry.reused ? "was there" : pretty_seconds(entry.seconds));
}

std::string entries_section(const std::vector<const EntryReport*>& kept) {
  int64_t most = 1;
  for (const EntryReport* entry : kept) most = std::max(most, entry->tokens);
  std::string out =
      "<section aria-labelledby=\"h-entries\"><h2 id=\"h-entries\">Entries</h2><p "
      "class=\"lead\">A head sorts. Rows: of the deepest alignment, and how many chains of "
      "polymers "
      "have one.</p><input type=\"search\" id=\"search\" placeholder=\"Find an entry\" "
      "aria-label=\"Find an entry\" hidden><div class=\"card scroll\"><table "
      "id=\"entries\"><thead><tr><th scope=\"col\">Entry</th><th scope=\"col\" "
      "class=\"bar\">Size</th>";
  for (const char* name : {"Tokens", "Chains", "Rows", "Stored", "Time"})
    out += fmt::format("<th scope=\"col\">{}</th>", name);
  out += "</tr></thead><tbody>";
  for (size_t i = 0; i < std::min(kMostRows, kept.size()); ++i) out += entry_row(*kept[i], most);
  out += "</tbody></table></div>";
  if (kept.size() > kMostRows)
    out += fmt::format("<p class=\"more\">{} more stand in report.json.</p>",
                       count(kept.size() - kMostRows));
  return out + "</section>";
}

std::string inferred_section(const std::vector<const EntryReport*>& kept) {
  std::string rows;
  size_t n = 0;
  for (const EntryReport* entry : kept) {
    if (entry->inferred.empty() || ++n > kMostRows) continue;
    std::string words;
    for (const std::string& note : entry->inferred) words += "<li>" + escape_html(note) + "</li>";
    rows += fmt::format("<tr><th scope=\"row\">{}</th><td class=\"words\"><ul>{}</ul></td></tr>",
                        escape_html(entry->id), words);
  }
  if (n == 0) return "";
  return "<section aria-labelledby=\"h-inferred\"><h2 id=\"h-inferred\">Inferred</h2><p "
         "class=\"lead\">" +
         fmt::format("{} left something out that was told from the rest (docs/data.md says how).{}",
                     counted(n, "file", "files"),
                     n > kMostRows ? " The first 1,000 are shown." : "") +
         "</p><div class=\"card scroll\"><table id=\"inferred\"><tbody>" + rows +
         "</tbody></table></div></section>";
}

std::string list_section(const char* id, const char* title, const char* lead,
                         const std::vector<std::string>& items) {
  if (items.empty()) return "";
  std::string out = fmt::format(
      "<section aria-labelledby=\"h-{0}\"><h2 id=\"h-{0}\">{1}</h2><p class=\"lead\">{2}</p><ul "
      "class=\"card list\">",
      id, title, lead);
  for (size_t i = 0; i < std::min(kMostRows, items.size()); ++i)
    out += "<li>" + escape_html(items[i]) + "</li>";
  out += "</ul>";
  if (items.size() > kMostRows)
    out += fmt::format("<p class=\"more\">{} more stand in report.json.</p>",
                       count(items.size() - kMostRows));
  return out + "</section>";
}

std::string next_section(const CachePageInput& input) {
  const std::string out = escape_html(input.out);
  const auto item = [](const char* title, const char* note, const std::string& command) {
    return fmt::format("<li class=\"card\"><h3>{}</h3><p>{}</p><pre><code>{}</code></pre></li>",
                       title, note, command);
  };
  return "<section aria-labelledby=\"h-next\"><h2 id=\"h-next\">What to do next</h2><p "
         "class=\"lead\">Building again makes only what is missing.</p><ul class=\"next\">" +
         item("Look at one entry", "Its arrays and facts, or files that any program reads.",
              "megafold cache inspect " + out + " --entry ID\nmegafold cache export " + out +
                  " --entry ID --out DIR") +
         item("Train from it", "docs/config.md lists every key.",
              "megafold train configs/demo.yaml \\\n  --set data.cache=" + out +
                  " --run runs/mine") +
         item("Check it", "Every byte against its checksum.", "megafold cache verify " + out) +
         item("Time it", "Where a sample\u2019s time goes, and the slowest entries.",
              "megafold data profile " + out) +
         "</ul></section>";
}

}  // namespace

std::string cache_page_html(const CachePageInput& input) {
  const BuildReport& report = input.report;
  std::vector<const EntryReport*> kept;
  for (const EntryReport& entry : report.entries)
    if (entry.verdict == Verdict::kept) kept.push_back(&entry);
  const std::string title = "The cache of " + input.data;
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
      "<meta name=\"generator\" content=\"megafold\"><meta name=\"color-scheme\" content=\"light "
      "dark\"><link rel=\"icon\" href=\"data:,\"><title>" +
      escape_html(title) + " \u2013 megafold</title><style>" + kReportStyle + kCachePageStyle +
      "</style></head>\n<body><header><div><h1>" + escape_html(title) + "</h1><p>In " +
      escape_html(input.out);
  if (!report.content_key.empty())
    out += ", content key <code>" + report.content_key.substr(0, 12) + "</code>";
  out +=
      "</p></div><button type=\"button\" id=\"theme\" hidden aria-label=\"Switch between light and "
      "dark\"></button></header>\n<main>";
  out += overview(input) + "\n" + left_out(input) + "\n";
  out += list_section("damaged", "Made again", "Shards of an earlier build that were not used.",
                      report.damaged);
  if (!kept.empty()) out += kept_section(kept) + "\n";
  out += inferred_section(kept) + "\n";
  if (!kept.empty()) out += entries_section(kept) + "\n";
  out += list_section("unused", "Not used", "Alignments and hits that serve no chain of any entry.",
                      report.unused_alignments);
  out +=
      list_section("templates", "No templates",
                   "Entries that hits name and that could not be read.", report.damaged_templates);
  out += next_section(input);
  out +=
      "</main>\n<footer>Made by megafold cache build; report.json has the same in numbers."
      "</footer>\n<script>";
  return out + kReportScript + kCachePageScript + "</script>\n</body></html>\n";
}

}  // namespace megafold
