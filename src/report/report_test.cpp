// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/errors.h"
#include "base/nan.h"
#include "base/publish.h"
#include "predict/record_fixture.h"
#include "report/chart.h"
#include "report/confidence_section.h"
#include "report/history.h"
#include "report/html.h"
#include "report/page.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Report : public ::testing::Test {
 protected:
  void SetUp() override { fs::remove_all(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  // Lines as the trainer writes them.
  [[nodiscard]] RunHistory read(const std::string& text) const {
    publish(folder_ / "metrics.jsonl", text);
    return read_history(folder_ / "metrics.jsonl");
  }
  fs::path folder_ =
      fs::temp_directory_path() / (std::string("megafold_report_") +
                                   ::testing::UnitTest::GetInstance()->current_test_info()->name());
};

std::string step_line(int64_t step, double time, double mse, double trivial,
                      const std::string& entry = "1abc") {
  return json{{"event", "step"},
              {"step", step},
              {"time", time},
              {"entry", entry},
              {"loss", 2 * mse},
              {"diffusion_mse", mse},
              {"diffusion_mse_trivial", trivial},
              {"seconds", {{"data", 0.01}, {"forward", 0.3}, {"backward", 0.6}}}}
             .dump() +
         "\n";
}

// ------------------------------------------------------------------------------------ history

TEST_F(Report, ReadsStepsAndSummarises) {
  std::string text = R"({"event":"start","time":100,"step":1,"seed":7})"
                     "\n";
  for (int i = 1; i <= 300; ++i) text += step_line(i, 100 + i, i <= 200 ? 1.0 : 0.25, 1.0);
  const RunHistory history = read(text);
  EXPECT_EQ(history.steps.size(), 300U);
  EXPECT_EQ(history.num_starts, 1);
  EXPECT_NEAR(history.steps[0].total_seconds(), 0.91, 1e-12);
  const json summary = training_summary(history);
  EXPECT_EQ(summary["steps"], 300);
  EXPECT_EQ(summary["entry"], "1abc");
  EXPECT_DOUBLE_EQ(summary["train_seconds"], 300);
  EXPECT_DOUBLE_EQ(summary["diffusion_mse_over_trivial"], 0.25);  // of the last 100 steps
}

TEST_F(Report, AResumeReplacesWhatItRepeats) {
  std::string text = R"({"event":"start","time":100,"step":1})"
                     "\n";
  for (int i = 1; i <= 10; ++i) text += step_line(i, 100 + i, 5, 5);
  text += R"({"event":"start","time":500,"step":6})"
          "\n";
  for (int i = 6; i <= 12; ++i) text += step_line(i, 500 + i - 5, 1, 5, "1abc,2def,1abc");
  const RunHistory history = read(text);
  ASSERT_EQ(history.steps.size(), 12U);
  EXPECT_EQ(history.steps[4].get("diffusion_mse"), 5);
  EXPECT_EQ(history.steps[5].get("diffusion_mse"), 1);
  EXPECT_EQ(history.num_starts, 2);
  EXPECT_DOUBLE_EQ(history.train_seconds, 10 + 7);
  EXPECT_EQ(training_summary(history)["entry"], "1abc,2def");
}

TEST_F(Report, ATornLastLineIsDroppedAnyOtherIsNamed) {
  const std::string good = step_line(1, 1, 1, 1);
  EXPECT_EQ(read(good + R"({"event":"step","st)").steps.size(), 1U);
  try {
    (void)read(good + "garbage\n" + good);
    FAIL() << "a line that is no JSON was accepted";
  } catch (const Corrupt& error) {
    EXPECT_NE(std::string(error.what()).find("metrics.jsonl:2: "), std::string::npos)
        << error.what();
  }
  EXPECT_THROW((void)read(""), BadInput);
  EXPECT_THROW((void)read_history(folder_ / "nowhere.jsonl"), BadInput);
}

TEST_F(Report, NumbersThatAreNotFiniteStayOut) {
  const RunHistory history =
      read(step_line(1, 1, 4, 8) + R"({"event":"step","step":2,"diffusion_mse":null})"
                                   "\n");
  EXPECT_TRUE(std::isnan(history.steps[1].get("diffusion_mse")));
  EXPECT_DOUBLE_EQ(mean_of_last(history, "diffusion_mse"), 4);
  EXPECT_TRUE(std::isnan(mean_of_last(history, "nothing")));
  EXPECT_DOUBLE_EQ(training_summary(history)["diffusion_mse_over_trivial"], 0.5);
}

TEST_F(Report, SummaryIsMergedAndPublished) {
  const fs::path path = folder_ / "summary.json";
  merge_summary(path, {{"steps", 3}, {"lddt", 0.5}});
  merge_summary(path, {{"lddt", kNaN}, {"entry", "1abc"}});
  EXPECT_EQ(json::parse(read_file(path)),
            (json{{"steps", 3}, {"lddt", nullptr}, {"entry", "1abc"}}));
  publish(path, "[1]");
  EXPECT_THROW(merge_summary(path, {{"steps", 3}}), Corrupt);
}

// -------------------------------------------------------------------------------------- words

TEST(ReportHtml, EscapesAndNumbers) {
  EXPECT_EQ(escape_html("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
  EXPECT_EQ(script_json({{"a", "</script><!--"}}).find('<'), std::string::npos);
  EXPECT_EQ(json::parse(script_json({{"a", "</script>"}}))["a"], "</script>");
  EXPECT_NO_THROW((void)script_json({{"a", "\xff\xfe"}}));
  EXPECT_EQ(pretty(0.123456), "0.123");
  EXPECT_EQ(pretty(1234567), "1\u202f234\u202f567");
  EXPECT_EQ(pretty(-1234), "-1\u202f234");
  EXPECT_EQ(pretty(kNaN), "\u2013");
  EXPECT_EQ(pretty_seconds(280), "4 min 40 s");
  EXPECT_EQ(pretty_seconds(7500), "2 h 05 min");
  EXPECT_EQ(pretty_seconds(0.0831), "0.083 s");
}

TEST(ReportChart, TicksAndMeans) {
  EXPECT_EQ(round_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_FALSE(std::signbit(round_ticks(-1e-6, 1, 5).at(0)));
  EXPECT_EQ(log_ticks(0.9, 11), (std::vector<double>{1, 2, 5, 10}));
  EXPECT_EQ(log_ticks(0.5, 2e4), (std::vector<double>{1, 10, 100, 1000, 10000}));
  EXPECT_TRUE(log_ticks(0, 1).empty());
  EXPECT_TRUE(round_ticks(1, 1, 5).empty());
  const auto mean = running_mean({1, 3, kNaN, 5}, 2);
  EXPECT_EQ(mean[0], 1);
  EXPECT_EQ(mean[1], 2);
  EXPECT_EQ(mean[2], 3);
  EXPECT_EQ(mean[3], 5);
}

TEST(ReportChart, NoPathHasANumberThatIsNone) {
  LineChart chart{
      .id = "c",
      .title = "t",
      .note = "",
      .x = {1, 2, 3},
      .series = {{.name = "s", .color = "--model", .y = {1, kNaN, -3}, .raw = {kNaN, 1, 0}}},
      .log_y = true};
  for (const bool log : {true, false}) {
    chart.log_y = log;
    const std::string html = line_chart(chart);
    EXPECT_EQ(html.find("nan"), std::string::npos);
    EXPECT_EQ(html.find("inf"), std::string::npos);
  }
  chart.x = {}, chart.series = {};
  EXPECT_NO_THROW((void)line_chart(chart));
}

// --------------------------------------------------------------------------------------- page

ReportInput sample_input(const RunHistory& history) {
  ReportInput input;
  input.run = "runs/<demo>";
  input.history = history;
  input.summary = training_summary(history);
  input.summary["lddt"] = 0.731;
  input.entry = read_entry(fixture::make_record("1abc", fixture::complex_chains()));
  input.scene = make_scene(*input.entry, input.entry->position,
                           std::vector<double>(input.entry->residues.size(), 0.95));
  return input;
}

TEST_F(Report, PageHasItsPartsAndAsksNoNetwork) {
  std::string text = R"({"event":"start","time":100,"step":1,"parameters":1200000})"
                     "\n";
  for (int i = 1; i <= 40; ++i) text += step_line(i, 100 + i, 100.0 / i, 100);
  const std::string page = report_html(sample_input(read(text)));
  for (const char* part :
       {"id=\"view\"", "id=\"scene\"", "id=\"lddt-by-residue\"", "id=\"chart-diffusion\"",
        "id=\"chart-time\"", "id=\"chart-wait\"", "id=\"table\"", "id=\"facts\"", "id=\"h-next\"",
        "class=\"molecule\"", "0.731", "prefers-color-scheme: dark", "name=\"viewport\""}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  for (const char* outside : {"http://", "https://", "src=", "@import", "url("}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  }
  EXPECT_EQ(page.find("runs/<demo>"), std::string::npos) << "text was not escaped";
  EXPECT_EQ(page.find("nan"), std::string::npos);
}

TEST_F(Report, PageSaysWhenTheSampleIsAMirrorImage) {
  ReportInput input = sample_input(read(step_line(1, 1, 1, 1)));
  EXPECT_EQ(report_html(input).find("id=\"mirror\""), std::string::npos);
  input.summary["mirror_image"] = true;
  input.summary["mirror_rmsd"] = 1.24;
  EXPECT_NE(report_html(input).find("1.24 \u00c5 from the truth"), std::string::npos);
}

TEST_F(Report, PageShowsWhatTheModelThinksOfItself) {
  ReportInput input = sample_input(read(step_line(1, 1, 1, 1)));
  EXPECT_EQ(report_html(input).find("id=\"pae\""), std::string::npos);
  const std::vector<double> row = {0.5, 31, 8};
  input.confidences = {{"atom_plddts", std::vector<double>(input.entry->num_atoms(), 93)},
                       {"pae", {row, row, row}}};
  const std::string page = report_html(input);
  EXPECT_NE(page.find("id=\"plddt-by-residue\""), std::string::npos);
  EXPECT_NE(page.find("data:image/bmp;base64,Qk"), std::string::npos);  // "BM"
  EXPECT_NE(page.find("mean 13.2"), std::string::npos);
  input.confidences["atom_plddts"].erase(0);
  EXPECT_THROW((void)report_html(input), Corrupt);
}

TEST(Matrix, PictureHasTheSizeOfTheFormat) {
  // Two rows of four bytes behind the header and the palette, three bytes to four characters.
  const std::string two = matrix_picture({0, 1, 0.5, std::nan("")}, 2);
  const size_t bytes = 14 + 40 + 1024 + 8;
  EXPECT_EQ(two.size(), std::string("data:image/bmp;base64,").size() + (bytes + 2) / 3 * 4);
  EXPECT_EQ(matrix_picture(std::vector<double>(9, 0.25), 3, 2).size(), two.size());
  EXPECT_NE(two, matrix_picture({0, 1, 0.5, 0}, 2));
  EXPECT_THROW((void)matrix_picture({1, 2, 3}, 2), BadInput);
}

TEST_F(Report, PageSaysWhatIsMissing) {
  ReportInput input;
  input.run = "runs/x";
  input.history = read(step_line(1, 1, 1, 1));
  input.missing_structure = "predicted.cif is not there";
  const std::string page = report_html(input);
  EXPECT_NE(page.find("predicted.cif is not there"), std::string::npos);
  EXPECT_EQ(page.find("id=\"scene\""), std::string::npos);
}

TEST_F(Report, TheSceneIsATurnNotAMirror) {
  const Entry entry = read_entry(fixture::make_record("1abc", fixture::complex_chains()));
  const Scene scene = make_scene(entry, entry.position, {});
  EXPECT_LT(scene.rmsd, 1e-5);
  // Distances and the sign of a volume stay.
  const auto volume = [](const std::vector<float>& p) {
    const auto d = [&](size_t a, size_t k) { return double{p[3 * a + k]} - p[k]; };
    const size_t a = 10, b = 18, c = 22;  // not in one plane
    return d(a, 0) * (d(b, 1) * d(c, 2) - d(b, 2) * d(c, 1)) -
           d(a, 1) * (d(b, 0) * d(c, 2) - d(b, 2) * d(c, 0)) +
           d(a, 2) * (d(b, 0) * d(c, 1) - d(b, 1) * d(c, 0));
  };
  EXPECT_NEAR(volume(scene.truth), volume(entry.position), 1e-3 * std::abs(volume(entry.position)));
  EXPECT_GT(std::abs(volume(entry.position)), 1);
}

}  // namespace
}  // namespace megafold
