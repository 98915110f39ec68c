// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/build.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cache/reader.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

fs::path demo_data() {
  return fs::path(MEGAFOLD_SOURCE_DIR) / "data";
}

TEST(Build, Demo) {
  const fs::path out = fs::temp_directory_path() / fmt::format("mf_build_{}", ::getpid());
  BuildOptions options;
  options.data = demo_data();
  options.out = out;
  options.threads = 2;
  const BuildReport report = build_cache(options);
  EXPECT_EQ(report.count(Verdict::kept), 6U);
  const auto reader = CacheReader::open(out);
  EXPECT_EQ(reader->structure("1ubq")->array("token_restype").size(), 76);
  EXPECT_EQ(reader->structure("1ubq")->array("atom_element").size(), 602);
  fs::remove_all(out);
}

}  // namespace
}  // namespace megafold
