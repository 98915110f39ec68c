// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/filter.h"

#include <gtest/gtest.h>

#include "base/errors.h"
#include "batch/synthetic.h"

namespace megafold {
namespace {

using nlohmann::json;

std::shared_ptr<synthetic::MemoryCache> dated() {
  auto cache = std::make_shared<synthetic::MemoryCache>();
  const auto add = [&](const std::string& id, const json& date, const json& resolution,
                       const std::string& method, int64_t length) {
    auto record = synthetic::structure(id, {{.length = length, .alignment = "msa30"},
                                            {.type = ChainType::ligand, .length = 4, .entity = 2}});
    auto meta = json::parse(record->meta());
    meta["release_date"] = date;
    meta["resolution"] = resolution;
    meta["method"] = method;
    record->set_meta(meta);
    cache->add(id, record);
  };
  add("early", "2001-01-31", 1.5, "X-RAY DIFFRACTION", 10);
  add("edge", "2021-09-30", 9.0, "X-RAY DIFFRACTION", 20);
  add("late", "2021-10-01", 2.0, "X-RAY DIFFRACTION", 30);
  add("nmr", "2010-05-05", nullptr, "SOLUTION NMR", 10);
  add("blur", "2010-05-05", 9.5, "ELECTRON MICROSCOPY", 10);
  add("model", "2010-05-05", nullptr, "THEORETICAL MODEL", 10);
  cache->add_alignment(synthetic::alignment("msa30", 50, 30));
  return cache;
}

TEST(Filter, NothingPastTheCutOff) {
  const auto cache = dated();
  const auto report = filter_entries(*cache, cache->entries(), {.released_by = "2021-09-30"});
  EXPECT_EQ(report.kept, (std::vector<std::string>{"blur", "early", "edge", "model", "nmr"}));
  EXPECT_EQ(report.left_out.at("late"), "released 2021-10-01, after 2021-09-30");
}

TEST(Filter, ResolutionAndSize) {
  const auto cache = dated();
  const auto report =
      filter_entries(*cache, cache->entries(), {.released_by = "", .max_resolution = 9});
  EXPECT_EQ(report.kept, (std::vector<std::string>{"early", "edge", "late", "nmr"}));
  EXPECT_EQ(report.left_out.at("blur"), "resolution 9.50 A, above 9.00");
  EXPECT_EQ(filter_entries(*cache, cache->entries(), {.released_by = "", .max_tokens = 24})
                .left_out.at("late"),
            "34 tokens, above 24");
}

TEST(Filter, AMissingDateIsRefusedAndNotGuessed) {
  const auto cache = dated();
  auto record = synthetic::structure("undated", {{.length = 10}});
  cache->add("undated", record);
  EXPECT_THROW(filter_entries(*cache, cache->entries(), {.released_by = "2021-09-30"}), BadInput);
  EXPECT_EQ(filter_entries(*cache, cache->entries(), {}).kept.size(), 7U);
}

TEST(Filter, ADateIsADate) {
  const auto cache = dated();
  for (const char* bad : {"2021", "2021-9-30", "30-09-2021", "2021-13-01", "2021-00-01", "x",
                          "2021-09-32", "2021-09-30 "})
    EXPECT_THROW(filter_entries(*cache, {}, {.released_by = bad}), BadInput) << bad;
}

TEST(Coverage, CountsChainsAndAlignments) {
  const auto cache = dated();
  const Coverage coverage = coverage_of(*cache, cache->entries());
  EXPECT_EQ(coverage.entries, 6);
  EXPECT_EQ(coverage.chains, (std::array<int64_t, 4>{6, 0, 0, 6}));
  EXPECT_EQ(coverage.aligned, (std::array<int64_t, 4>{6, 0, 0, 0}));
  EXPECT_EQ(coverage.without_resolution, 2);
  EXPECT_EQ(coverage.without_date, 0);
  EXPECT_EQ(to_text(coverage),
            "protein: 6 chains, 6 with an alignment\n"
            "ligand: 6 chains\n"
            "released: 2001-01-31 to 2021-10-01\n"
            "without a resolution: 2 of 6 entries\n");
}

}  // namespace
}  // namespace megafold
