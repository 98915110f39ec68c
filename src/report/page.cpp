// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/nan.h"
#include "report/assets.h"
#include "report/chart.h"
#include "report/confidence_section.h"
#include "report/html.h"

namespace megafold {
namespace {

using nlohmann::json;

// What the demonstration is held to; another run sees the same marks as a measure.
constexpr double kGoalLddt = 0.6, kGoalOverTrivial = 0.35;

double number(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : kNaN;
}

std::string text(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array()) {
    std::string out;
    for (const json& item : *found) {
      out += (out.empty() ? "" : ", ") + (item.is_string() ? item.get<std::string>() : item.dump());
    }
    return out;
  }
  return found->is_number_float() ? pretty(found->get<double>())
         : found->is_number()     ? fmt::format("{}", found->get<int64_t>())
                                  : found->dump();
}

std::vector<double> column(const RunHistory& history, const std::string& name) {
  std::vector<double> out;
  for (const StepRow& row : history.steps) out.push_back(row.get(name));
  return out;
}

bool has_column(const RunHistory& history, const std::string& name) {
  return std::any_of(history.steps.begin(), history.steps.end(),
                     [&](const StepRow& row) { return std::isfinite(row.get(name)); });
}

std::vector<double> step_numbers(const RunHistory& history) {
  std::vector<double> out;
  for (const StepRow& row : history.steps) out.push_back(static_cast<double>(row.step));
  return out;
}

// The mean over a tenth of the run, at most 100 steps: what the goal is measured over.
size_t smooth_window(const RunHistory& history) {
  return std::clamp<size_t>(history.steps.size() / 10, 1, 100);
}

// Parts of a step in the order of their mean, waiting for data first.
std::vector<std::string> parts_of(const RunHistory& history) {
  std::vector<std::string> parts;
  for (const char* name :
       {"data", "forward", "trunk", "diffusion", "loss", "backward", "optimizer"}) {
    if (history.steps.back().seconds.contains(name)) parts.emplace_back(name);
  }
  for (const auto& [name, seconds] : history.steps.back().seconds) {
    if (std::find(parts.begin(), parts.end(), name) == parts.end()) parts.push_back(name);
  }
  return parts;
}

double data_wait_share(const RunHistory& history) {
  double waited = 0, total = 0;
  for (const StepRow& row : history.steps) {
    const auto data = row.seconds.find("data");
    if (data == row.seconds.end() || !std::isfinite(data->second)) continue;
    waited += data->second, total += row.total_seconds();
  }
  return total > 0 ? waited / total : kNaN;
}

std::string tile(const std::string& id, const char* name, const std::string& value,
                 const std::string& unit, const std::string& note, const char* note_class = "") {
  return fmt::format(
      "<div class=\"tile card\" id=\"{}\"><span>{}</span><strong>{}{}</strong>"
      "<em class=\"{}\">{}</em></div>",
      id, name, value, unit.empty() ? "" : "<small>" + unit + "</small>", note_class,
      escape_html(note));
}

std::string goal(double value, bool met, const std::string& words) {
  if (!std::isfinite(value)) return "not known for this run";
  return (met ? "\u2713 goal: " : "below its goal: ") + words;
}

std::string tiles(const ReportInput& input) {
  const double lddt = number(input.summary, "lddt");
  const double ratio = number(input.summary, "diffusion_mse_over_trivial");
  const double seconds = number(input.summary, "train_seconds");
  const double steps = number(input.summary, "steps");
  std::string out = "<div class=\"tiles\" id=\"numbers\">";
  const bool lddt_met = lddt >= kGoalLddt, ratio_met = ratio < kGoalOverTrivial;
  out += tile("tile-lddt", "lDDT of the prediction, all atoms",
              std::isfinite(lddt) ? fmt::format("{:.3f}", lddt) : pretty(lddt), "",
              goal(lddt, lddt_met, fmt::format("at least {}", kGoalLddt)),
              !std::isfinite(lddt) ? ""
              : lddt_met           ? "met"
                                   : "unmet");
  out += tile("tile-ratio", "Diffusion error beside a trivial predictor\u2019s",
              std::isfinite(ratio) ? fmt::format("{:.3f}", ratio) : pretty(ratio), "\u00d7",
              std::isfinite(ratio) && !ratio_met
                  ? fmt::format("above its goal: under {}", kGoalOverTrivial)
                  : goal(ratio, ratio_met, fmt::format("under {}", kGoalOverTrivial)),
              !std::isfinite(ratio) ? ""
              : ratio_met           ? "met"
                                    : "unmet");
  out += tile("tile-time", "Training", pretty_seconds(seconds), "",
              std::isfinite(seconds) && std::isfinite(steps)
                  ? fmt::format("{} steps, {} each", pretty(steps), pretty_seconds(seconds / steps))
                  : "");
  const double wait = data_wait_share(input.history);
  out += tile("tile-wait", "Time spent waiting for data",
              std::isfinite(wait) ? fmt::format("{:.2f}", 100 * wait) : pretty(wait), "%",
              "the cache was made ahead of time");
  return out + "</div>";
}

std::string structure_section(const ReportInput& input) {
  std::string out =
      "<section aria-labelledby=\"h-structure\"><div class=\"top\"><div class=\"stage card\">";
  out += "<h2 id=\"h-structure\">The prediction upon the true structure</h2>";
  if (!input.entry || !input.scene) {
    out += fmt::format(
        "<div class=\"view\"><p class=\"empty\">No structure to show: {}</p></div></div>{}",
        escape_html(input.missing_structure), tiles(input));
    return out + "</div></section>";
  }
  const Entry& entry = *input.entry;
  const double lddt = number(input.summary, "lddt");
  const std::string what =
      fmt::format("{}: {} residues in {} chains, {} atoms.", entry.id, entry.residues.size(),
                  entry.chains.size(), entry.num_atoms());
  out += fmt::format(
      "<p class=\"lead\" style=\"margin:0\">Sampled from noise with the averaged weights, laid "
      "on the truth (grey): {:.2f} \u00c5 RMSD over the resolved atoms.</p>",
      input.scene->rmsd);
  if (const auto mirror = input.summary.find("mirror_image");
      mirror != input.summary.end() && mirror->is_boolean() && mirror->get<bool>()) {
    out += fmt::format(
        "<p class=\"warning\" id=\"mirror\">This sample is a mirror image: reflected, it lies "
        "{:.2f} \u00c5 from the truth. lDDT compares distances and cannot tell; the model has not "
        "yet learned the hand of its fold.</p>",
        number(input.summary, "mirror_rmsd"));
  }
  out +=
      "<div class=\"view\" id=\"view\">" +
      scene_svg(entry, *input.scene,
                fmt::format("The predicted structure of {} in the colours of its lDDT, drawn over "
                            "the true one in grey. lDDT {}. {}",
                            entry.id, pretty(lddt), what)) +
      "<div class=\"pick\" id=\"pick\" aria-live=\"polite\"></div></div>";
  out +=
      "<div class=\"controls\" role=\"group\" aria-label=\"What the picture shows\">"
      "<button type=\"button\" data-show=\"predicted\" aria-pressed=\"true\"><i "
      "style=\"--c:var(--c0)\"></i>Predicted</button>"
      "<button type=\"button\" data-show=\"truth\" aria-pressed=\"true\"><i "
      "style=\"--c:var(--truth)\"></i>True</button>"
      "<button type=\"button\" data-show=\"atoms\" aria-pressed=\"false\">All atoms</button>"
      "<button type=\"button\" data-show=\"spin\" aria-pressed=\"false\">Turn</button>"
      "<button type=\"button\" data-show=\"zoom-in\" aria-label=\"Zoom in\">+</button>"
      "<button type=\"button\" data-show=\"zoom-out\" aria-label=\"Zoom "
      "out\">\u2212</button></div>";
  out +=
      "<ul class=\"scale\" aria-label=\"Colours by lDDT of the residue\">"
      "<li><i style=\"--c:var(--c0)\"></i>lDDT \u2265 0.9</li>"
      "<li><i style=\"--c:var(--c1)\"></i>0.7 to 0.9</li>"
      "<li><i style=\"--c:var(--c2)\"></i>0.5 to 0.7</li>"
      "<li><i style=\"--c:var(--c3)\"></i>below 0.5</li>"
      "<li><i style=\"--c:var(--truth)\"></i>true structure</li></ul></div>";
  return out + tiles(input) + "</div></section>";
}

std::string residue_section(const ReportInput& input) {
  if (!input.entry || !input.scene) return "";
  const Entry& entry = *input.entry;
  BarChart chart{
      .id = "lddt-by-residue",
      .title = "lDDT by residue",
      .note =
          "Each residue\u2019s share of distances to other residues within 15 \u00c5 that the "
          "prediction keeps to 0.5, 1, 2 and 4 \u00c5 (Mariani et al. 2013).",
      .bars = {},
      .group_names = {}};
  for (const EntryChain& chain : entry.chains) chart.group_names.push_back(chain.auth);
  int32_t last_chain = -1;
  for (size_t r = 0; r < entry.residues.size(); ++r) {
    const EntryResidue& residue = entry.residues[r];
    const std::string& chain = entry.chains[static_cast<size_t>(residue.chain)].auth;
    const double score = input.scene->residue_score[r];
    const bool is_first = residue.chain != last_chain;
    last_chain = residue.chain;
    std::string tick;
    if (is_first) {
      tick = entry.chains.size() > 1 ? chain : std::to_string(residue.author_id);
    } else if (residue.author_id % 10 == 0) {
      tick = std::to_string(residue.author_id);
    }
    chart.bars.push_back(
        {.value = score,
         .label = fmt::format("{} {}, chain {}", residue.component, residue.author_id, chain),
         .color = fmt::format("--c{}", score_class(score)),
         .group = residue.chain,
         .tick = tick});
  }
  return "<section aria-label=\"lDDT by residue\"><div class=\"charts\">" + bar_chart(chart) +
         "</div></section>";
}

std::string learning_section(const ReportInput& input) {
  const RunHistory& history = input.history;
  const auto x = step_numbers(history);
  const size_t window = smooth_window(history);
  const auto smooth = [&](const std::string& name) {
    return running_mean(column(history, name), window);
  };
  std::string out =
      "<section aria-labelledby=\"h-learning\"><h2 id=\"h-learning\">Learning</h2>"
      "<p class=\"lead\">" +
      fmt::format("Bold lines are means over {} steps; faint ones show every step.", window) +
      "</p><div class=\"charts\">";
  if (has_column(history, "diffusion_mse")) {
    LineChart chart{
        .id = "chart-diffusion",
        .title = "Diffusion error",
        .note =
            "Mean squared error of denoised atoms, weighted by noise level. The "
            "trivial predictor only scales its noisy input, D = c_skip x, on the same draws; "
            "a model that has learned nothing does no better.",
        .x = x,
        .series = {{.name = "Model",
                    .color = "--model",
                    .y = smooth("diffusion_mse"),
                    .raw = column(history, "diffusion_mse")}},
        .log_y = true};
    if (has_column(history, "diffusion_mse_trivial")) {
      chart.series.insert(chart.series.begin(), {.name = "Trivial predictor",
                                                 .color = "--trivial",
                                                 .y = smooth("diffusion_mse_trivial"),
                                                 .raw = {},
                                                 .dashed = true});
    }
    out += line_chart(chart);
  }
  const struct {
    const char *name, *title, *note;
    bool log;
  } kSmall[] = {
      {"loss", "Total loss", "", true},
      {"smooth_lddt", "Smooth lDDT loss", "", false},
      {"distogram", "Distogram loss", "", false},
      {"plddt_loss", "pLDDT loss", "", false},
      {"pae_loss", "PAE loss", "", false},
      {"grad_norm", "Gradient norm", "", true},
      {"learning_rate", "Learning rate", "", false},
      {"memory_mb", "Memory", "", false},
  };
  for (const auto& small : kSmall) {
    if (!has_column(history, small.name)) continue;
    const bool smoothed = std::string_view(small.name) != "learning_rate" &&
                          std::string_view(small.name) != "memory_mb";
    out += line_chart(
        {.id = fmt::format("chart-{}", small.name),
         .title = small.title,
         .note = small.note,
         .x = x,
         .series = {{.name = small.title,
                     .color = "--model",
                     .y = smoothed ? smooth(small.name) : column(history, small.name),
                     .raw = smoothed ? column(history, small.name) : std::vector<double>{}}},
         .log_y = small.log,
         .from_zero = !small.log,
         .small = true,
         .unit = std::string_view(small.name) == "memory_mb" ? "MB" : ""});
  }
  return out + "</div></section>";
}

std::string speed_section(const ReportInput& input) {
  const RunHistory& history = input.history;
  const auto parts = parts_of(history);
  if (parts.empty()) return "";
  const auto x = step_numbers(history);
  StackedChart chart{
      .id = "chart-time",
      .title = "Step time by part",
      .note =
          "Seconds of a step, part upon part. Waiting for data is the lowest; where it "
          "cannot be seen, the cache keeps up.",
      .unit = "s",
      .x = x,
      .series = {}};
  std::vector<double> wait;
  for (size_t p = 0; p < parts.size(); ++p) {
    std::vector<double> seconds;
    for (const StepRow& row : history.steps) {
      const auto found = row.seconds.find(parts[p]);
      seconds.push_back(found == row.seconds.end() ? kNaN : found->second);
    }
    if (parts[p] == "data") {
      for (size_t i = 0; i < seconds.size(); ++i) {
        wait.push_back(100 * seconds[i] / history.steps[i].total_seconds());
      }
    }
    const std::string name = parts[p] == "data" ? "waiting for data" : parts[p];
    // The palette's first colour is kept for waiting.
    const size_t color = parts[p] == "data" ? 0 : 1 + (p - (parts[0] == "data" ? 1 : 0)) % 6;
    chart.series.push_back(
        {.name = name, .color = fmt::format("--p{}", color), .y = seconds, .raw = {}});
  }
  std::string out =
      "<section aria-labelledby=\"h-speed\"><h2 id=\"h-speed\">Speed</h2><p class=\"lead\">";
  double sum = 0;
  for (const StepRow& row : history.steps) sum += row.total_seconds();
  out += fmt::format("A step takes {} on average.</p><div class=\"charts\">",
                     pretty_seconds(sum / static_cast<double>(history.steps.size())));
  out += stacked_chart(chart);
  if (!wait.empty()) {
    out += line_chart({.id = "chart-wait",
                       .title = "Share of time waiting for data",
                       .note = "",
                       .x = x,
                       .series = {{.name = "Waiting",
                                   .color = "--p0",
                                   .y = running_mean(wait, smooth_window(history)),
                                   .raw = wait}},
                       .from_zero = true,
                       .unit = "%"});
  }
  return out + "</div></section>";
}

// The run at a few places, for those who read numbers rather than lines.
std::string table_section(const ReportInput& input) {
  const RunHistory& history = input.history;
  std::vector<std::pair<std::string, std::string>> columns;
  for (const auto& [name, title] : std::initializer_list<std::pair<const char*, const char*>>{
           {"loss", "Total loss"},
           {"diffusion_mse", "Diffusion error"},
           {"diffusion_mse_trivial", "Trivial predictor"},
           {"smooth_lddt", "Smooth lDDT loss"},
           {"distogram", "Distogram loss"},
           {"grad_norm", "Gradient norm"}}) {
    if (has_column(history, name)) columns.emplace_back(name, title);
  }
  std::string out =
      "<section aria-labelledby=\"h-table\"><h2 id=\"h-table\">Numbers</h2><p class=\"lead\">" +
      fmt::format("Means over the {} steps up to each row\u2019s step.", smooth_window(history)) +
      "</p><div class=\"card scroll\"><table id=\"table\"><thead><tr><th scope=\"col\">Step</th>";
  for (const auto& [name, title] : columns) out += "<th scope=\"col\">" + title + "</th>";
  out +=
      "<th scope=\"col\">Model / trivial</th><th scope=\"col\">Step time</th></tr></thead><tbody>";
  std::set<size_t> rows;
  const size_t last = history.steps.size() - 1;
  for (const double share : {0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0}) {
    rows.insert(static_cast<size_t>(std::llround(share * static_cast<double>(last))));
  }
  std::map<std::string, std::vector<double>> means;
  for (const auto& [name, title] : columns) {
    means[name] = running_mean(column(history, name), smooth_window(history));
  }
  std::vector<double> seconds;
  for (const StepRow& row : history.steps) seconds.push_back(row.total_seconds());
  seconds = running_mean(seconds, smooth_window(history));
  for (const size_t row : rows) {
    out += fmt::format("<tr><th scope=\"row\">{}</th>",
                       pretty(static_cast<double>(history.steps[row].step)));
    for (const auto& [name, title] : columns) out += "<td>" + pretty(means[name][row]) + "</td>";
    const bool has_ratio =
        means.contains("diffusion_mse") && means.contains("diffusion_mse_trivial");
    out += "<td>" +
           pretty(has_ratio ? means["diffusion_mse"][row] / means["diffusion_mse_trivial"][row]
                            : kNaN) +
           "</td><td>" + pretty_seconds(seconds[row]) + "</td></tr>";
  }
  return out + "</tbody></table></div></section>";
}

std::string facts_section(const ReportInput& input) {
  const json& start = input.history.start;
  std::string out =
      "<section aria-labelledby=\"h-facts\"><h2 id=\"h-facts\">The run</h2><p class=\"lead\">What "
      "made "
      "these numbers, so that they can be made again.</p><dl class=\"facts card\" id=\"facts\">";
  const auto fact = [&](const std::string& name, const std::string& value) {
    if (value.empty()) return;
    out += "<div><dt>" + escape_html(name) + "</dt><dd>" + escape_html(value) + "</dd></div>";
  };
  fact("Learned entry", text(input.summary, "entry"));
  if (input.entry) fact("Title", input.entry->title);
  fact("Entries in the run", text(start, "entries"));
  fact("Parameters",
       std::isfinite(number(start, "parameters")) ? pretty(number(start, "parameters")) : "");
  fact("Steps", text(input.summary, "steps"));
  fact("Seed of training", text(start, "seed"));
  fact("Seed of the sampler", text(input.summary, "seed"));
  fact("Sampler\u2019s steps", text(input.summary, "sampler_steps"));
  fact("RMSD to the truth", std::isfinite(number(input.summary, "rmsd"))
                                ? fmt::format("{:.2f} \u00c5", number(input.summary, "rmsd"))
                                : "");
  fact("Distances compared", std::isfinite(number(input.summary, "lddt_pairs"))
                                 ? pretty(number(input.summary, "lddt_pairs"))
                                 : "");
  fact("Device", text(start, "device"));
  fact("Processor", text(start, "cpu"));
  fact("Graphics card", text(start, "gpu"));
  fact("Threads", text(start, "threads"));
  fact("Starts", input.history.num_starts > 1 ? std::to_string(input.history.num_starts) : "");
  fact("megafold", text(start, "version"));
  fact("Commit", text(start, "commit"));
  fact("Cache content", text(start, "cache_key"));
  fact("Folder", input.run);
  out += "</dl>";
  if (!input.config.empty()) {
    out +=
        "<details class=\"card\"><summary>The whole effective configuration</summary><pre><code>" +
        escape_html(input.config) + "</code></pre></details>";
  }
  return out + "</section>";
}

std::string next_section(const ReportInput& input) {
  const std::string run = escape_html(input.run);
  const auto item = [](const std::string& title, const std::string& note,
                       const std::string& command) {
    return "<li class=\"card\"><h3>" + title + "</h3><p>" + note + "</p><pre><code>" + command +
           "</code></pre></li>";
  };
  return "<section aria-labelledby=\"h-next\"><h2 id=\"h-next\">What to do next</h2><p "
         "class=\"lead\">From "
         "here to your own structures.</p><ul class=\"next\">" +
         item("Open the structure",
              "Any viewer reads it; the B-factor column holds pLDDT, or without a confidence head "
              "100 \u00d7 lDDT.",
              run + "/predicted.cif") +
         item("Sample again", "Another seed gives another structure of the same weights.",
              "megafold predict --run " + run + " --seed 2 --out second.cif") +
         item("Train on your own entries",
              "A folder of .cif or .cif.gz files, with A3M alignments beside them.",
              "megafold cache build --data DIR --out cache\n"
              "megafold train configs/demo.yaml \\\n  --set data.cache=cache --run runs/mine") +
         item("Watch a run as it goes", "The same numbers, live, in TensorBoard.",
              "tensorboard --logdir " + run) +
         "</ul></section>";
}

}  // namespace

std::string report_html(const ReportInput& input) {
  const std::string entry = text(input.summary, "entry");
  const std::string title = entry.empty() ? input.run : "What the model has learned of " + entry;
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
      "<meta name=\"generator\" content=\"megafold\"><meta name=\"color-scheme\" content=\"light "
      "dark\">"
      "<link rel=\"icon\" href=\"data:,\"><title>" +
      escape_html(title) + " \u2013 megafold</title><style>" + kReportStyle +
      "</style></head>\n<body>";
  out += "<header><div><h1>" + escape_html(title) + "</h1><p>";
  const double parameters = number(input.history.start, "parameters");
  if (std::isfinite(parameters)) {
    out += fmt::format(
        "An AlphaFold 3 model of {} parameters, trained by megafold on {}.",
        parameters >= 1e6 ? fmt::format("{:.2f} million", parameters / 1e6) : pretty(parameters),
        escape_html(text(input.history.start, "cpu").empty() ? text(input.history.start, "device")
                                                             : text(input.history.start, "cpu")));
  }
  out +=
      "</p></div><button type=\"button\" id=\"theme\" hidden aria-label=\"Switch between light and "
      "dark\">"
      "</button></header>\n<main>";
  out += structure_section(input) + "\n" + residue_section(input) + "\n";
  if (input.entry && input.confidences.is_object())
    out += confidence_section(*input.entry, input.confidences) + "\n";
  out += learning_section(input) + "\n" + speed_section(input) + "\n" + table_section(input) +
         "\n" + facts_section(input) + "\n" + next_section(input);
  out +=
      "</main>\n<footer>Made by megafold from metrics.jsonl, summary.json and predicted.cif; "
      "<code>megafold report " +
      escape_html(input.run) + "</code> makes it again.</footer>\n";
  out += "<script type=\"application/json\" id=\"summary\">" + script_json(input.summary) +
         "</script>\n";
  if (input.entry && input.scene) {
    out += "<script type=\"application/json\" id=\"scene\">" +
           script_json(scene_json(*input.entry, *input.scene)) + "</script>\n<script>" +
           kReportViewerScript + "</script>\n";
  }
  return out + "<script>" + kReportScript + "</script>\n</body></html>\n";
}

}  // namespace megafold
