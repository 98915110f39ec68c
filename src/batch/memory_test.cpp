// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The memory of a loader's thread: it grows with the crop, not with the entry.
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>

#include "base/hash.h"
#include "base/publish.h"
#include "batch/loader.h"
#include "batch/synthetic.h"
#include "cache/index.h"
#include "cache/record.h"
#include "cache/shard.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

/// A record in memory as one on disk.
PackedRecord pack(RecordKind kind, const std::string& key, const Record& record) {
  std::vector<NamedArray> arrays;
  for (const std::string& name : record.names()) {
    const ArrayView view = record.array(name);
    const auto bytes = static_cast<size_t>(view.size()) * size_of(view.type);
    arrays.push_back({name, view.type, view.shape, {view.data, view.data + bytes}});
  }
  return {key, kind, pack_record(kind, key, arrays)};
}

/// One entry of ten chains of 500 residues, each with an alignment of 16,384 rows.
void write_large_cache(const fs::path& folder) {
  constexpr int kChains = 10;
  constexpr int64_t kLength = 500, kRows = 16384;
  std::vector<synthetic::Chain> chains;
  std::vector<PackedRecord> records;
  for (int c = 0; c < kChains; ++c) {
    const std::string key = sha256_hex({"large", std::to_string(c)});
    chains.push_back(
        {.length = kLength, .entity = c + 1, .alignment = key, .x = 8.0 * static_cast<double>(c)});
    records.push_back(pack(RecordKind::alignment, key, *synthetic::alignment(key, kRows, kLength)));
  }
  const std::string key = sha256_hex({"large"});
  records.push_back(pack(RecordKind::structure, key, *synthetic::structure("large", chains)));
  CacheIndex index;
  index.entries.push_back({"large", Verdict::kept, key, "", {}});
  const ShardInfo shard = write_shard(folder, std::move(records));
  for (const ShardRow& row : shard.rows) index.records[row.key] = {row, shard.name};
  finish_index(index);
  publish(folder / kIndexFile, pack_index(index));
}

/// A line of /proc/self/status in MB.
double status_megabytes(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(name)) return std::stod(line.substr(name.size() + 1)) * 1024 / 1e6;
  return 0;
}

TEST(LoaderMemory, AThreadTakesLittleOfTheLargestEntries) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory is counted with it";
#endif
  std::string pattern = (fs::temp_directory_path() / "megafold memory XXXXXX").string();
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  const fs::path folder = pattern;
  const pid_t child = ::fork();  // so that what writing takes is not measured
  if (child == 0) {
    write_large_cache(folder);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  ::malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins here
  const double before = status_megabytes("VmRSS:");
  int64_t rows = 0, tokens = 0;
  {
    LoaderOptions options;
    options.queue = 1;
    Loader loader(CacheReader::open(folder), Sampler(uniform_elements({"large"}), 1), {}, options,
                  1);
    for (int visit = 0; visit < 6; ++visit) {
      const Batch batch = loader.next();
      rows = std::max(rows, batch.msa.size(0));
      tokens = batch.num_tokens();
    }
  }
  const double peak = status_megabytes("VmHWM:") - before;
  fs::remove_all(folder);
  EXPECT_EQ(tokens, 384);
  EXPECT_GT(rows, 12000);
  std::cout << "loader: " << peak << " MB above what the process held\n";
  EXPECT_LT(peak, 200);
  EXPECT_GT(peak, 5);  // or nothing was measured
}

}  // namespace
}  // namespace megafold
