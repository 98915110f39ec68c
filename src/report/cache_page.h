// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A cache's report.html: what a build kept, left out and inferred. Self-contained, in the manner of
// a run's page (report/page.h); without a script only sorting and searching are missing.
#pragma once

#include <string>

#include "cache/build.h"

namespace megafold {

struct CachePageInput {
  const BuildReport& report;
  std::string data, out;  // the folders as the person wrote them
};

/// What was left out comes first, with its file and line. Tables show at most 1,000 entries and
/// say how many more report.json has.
[[nodiscard]] std::string cache_page_html(const CachePageInput& input);

}  // namespace megafold
