// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/build.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/publish.h"
#include "cache/index.h"
#include "cache/maintain.h"
#include "cache/reader.h"
#include "cache/shard.h"

namespace megafold {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const fs::path kData = fs::path(MEGAFOLD_SOURCE_DIR) / "data";

/// A folder that is gone when the test ends.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (fs::temp_directory_path() / "megafold cache XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  fs::path operator/(const char* name) const { return path_ / name; }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// Small shards, so that six entries make several.
BuildReport build(const fs::path& data, const fs::path& out, int threads = 2,
                  uint64_t shard_bytes = 40'000) {
  BuildOptions options;
  options.shard_bytes = shard_bytes;
  options.data = data;
  options.out = out;
  options.dictionary = kData / "components.bcif.gz";
  options.threads = threads;
  return build_cache(options);
}

/// Every record and the index, by relative path; not the report, which tells times.
std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() &&
        (entry.path().extension() == ".mfs" || entry.path().extension() == ".mfi"))
      out[fs::relative(entry.path(), folder).string()] = read_file(entry.path());
  return out;
}

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

template <class E, class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  return "(accepted)";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const EntryReport& entry_of(const BuildReport& report, const std::string& id) {
  return *std::find_if(report.entries.begin(), report.entries.end(),
                       [&](const EntryReport& entry) { return entry.id == id; });
}

TEST(Build, DemoIsKeptAndReadable) {
  const TemporaryFolder folder;
  const BuildReport report = build(kData, folder / "c");
  EXPECT_EQ(report.count(Verdict::kept), 6U) << to_json(report);
  EXPECT_TRUE(report.unused_alignments.empty());
  const auto reader = CacheReader::open(folder / "c");
  EXPECT_EQ(reader->entries(),
            (std::vector<std::string>{"1kd8", "1pzp", "1ubq", "2q2k", "4i6p", "4zey"}));
  EXPECT_EQ(reader->content_key(), report.content_key);
  EXPECT_EQ(reader->structure("1ubq")->array("token_restype").size(), 76);
  const EntryFacts& facts = reader->facts().at(3);
  EXPECT_EQ(facts.release_date, 20080205);
  EXPECT_EQ(facts.resolution, 3.0F);
  EXPECT_EQ(facts.tokens, 396);
  EXPECT_FALSE(facts.by_nmr);
  EXPECT_EQ(facts.chains, (std::array<int32_t, 4>{4, 0, 2, 0}));
  EXPECT_EQ(facts.aligned, (std::array<int32_t, 4>{4, 0, 0, 0}));
  const json meta = json::parse(reader->structure("2q2k")->meta());
  EXPECT_EQ(meta["resolution"], 3.0);
  EXPECT_EQ(meta["release_date"], "2008-02-05");
  size_t aligned = 0;
  for (const json& chain : meta["chains"]) {
    if (chain["alignment"].is_null()) continue;
    ++aligned;
    const auto record = reader->alignment(chain["alignment"].get<std::string>());
    EXPECT_EQ(record->array("msa").shape[1], 70);
  }
  EXPECT_EQ(aligned, 4U);  // two protein chains, two copies each
  const json written = json::parse(read_file(folder / "c/report.json"));
  EXPECT_EQ(written["kept"], 6);
}

TEST(Build, VerifyHoldsTheIndexAgainstTheRecords) {
  const TemporaryFolder folder;
  build(kData, folder / "c");
  EXPECT_TRUE(verify_cache(folder / "c").damages.empty());
  const CacheIndex sound = read_index(folder / "c");
  const auto damage_of = [&](const std::function<void(EntryFacts&)>& change) {
    CacheIndex index = sound;
    change(index.entries.at(3).facts);
    finish_index(index);
    publish(folder / "c" / kIndexFile, pack_index(index));
    const auto damages = verify_cache(folder / "c").damages;
    return damages.size() == 1 ? damages[0] : fmt::format("{} damages", damages.size());
  };
  EXPECT_TRUE(has(damage_of([](EntryFacts& f) { f.release_date = 20200101; }),
                  "2q2k: the index says: date 20200101"));
  EXPECT_TRUE(has(damage_of([](EntryFacts& f) { f.aligned[0] = 3; }), "aligned [4 0 0 0]; build"));
  EXPECT_TRUE(has(damage_of([](EntryFacts& f) { f.resolution = 0; }), "resolution 3, "));
  EXPECT_EQ(damage_of([](EntryFacts&) {}), "0 damages");
}

TEST(Build, FactsOfEveryEntryAreReadOfTheIndexAlone) {
  const TemporaryFolder folder;
  build(kData, folder / "c");
  const auto whole = CacheReader::open(folder / "c")->facts();
  build(kData, folder / "c");  // of records that are there already
  fs::remove_all(folder / "c/shards");
  const auto reader = CacheReader::open(folder / "c");
  EXPECT_EQ(reader->facts(), whole);
  EXPECT_EQ(reader->facts().size(), reader->entries().size());
}

TEST(Build, SameBytesAgainAndWithAnyThreads) {
  const TemporaryFolder folder;
  build(kData, folder / "a", 1);
  build(kData, folder / "b", 4);
  EXPECT_EQ(contents(folder / "a"), contents(folder / "b"));
  const auto times = [&] {
    std::map<std::string, fs::file_time_type> out;
    for (const auto& [name, bytes] : contents(folder / "a"))
      out[name] = fs::last_write_time(folder.path() / "a" / name);
    return out;
  };
  const auto before = times();
  const BuildReport again = build(kData, folder / "a", 2);
  EXPECT_EQ(times(), before);  // nothing is written twice
  for (const EntryReport& entry : again.entries) EXPECT_TRUE(entry.reused) << entry.id;
}

TEST(Build, HitsForPairingStandBesideTheMainAlignment) {
  const TemporaryFolder folder;
  fs::copy(kData / "entries/1ubq.cif.gz", folder / "1ubq.cif.gz");
  const std::string query =
      "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG";
  std::string other = query;
  other[3] = 'A';
  const std::string main = ">q\n" + query + "\n>x\n" + other + "\n";
  const std::string hits =
      ">q\n" + query + "\n>tr|A0A146SKV9|A0A146SKV9_FUNHE/1-76\n" + other + "\n";
  const auto rows = [&](const char* out) {
    const BuildReport report = build(folder.path(), folder / out);
    EXPECT_EQ(report.count(Verdict::kept), 1U) << to_json(report);
    EXPECT_TRUE(report.unused_alignments.empty());
    const auto reader = CacheReader::open(folder / out);
    const json meta = json::parse(reader->structure("1ubq")->meta());
    const auto record = reader->alignment(meta["chains"][0]["alignment"].get<std::string>());
    EXPECT_EQ(record->describe("pairing_msa").shape, (std::vector<int64_t>{1, 76}));
    const ArrayView species = record->array("pairing_species");
    EXPECT_EQ(std::string(species.as<char>(), 8), "FUNHE   ");
    return std::pair(record->describe("msa").shape[0],
                     record->array("pairing_main_row").as<int32_t>()[0]);
  };
  write(folder / "1ubq_A/uniprot_hits.a3m", hits);
  EXPECT_EQ(rows("alone"), std::pair(int64_t{1}, -1));
  write(folder / "1ubq_A/uniref90_hits.a3m", main);
  EXPECT_EQ(rows("folder"), std::pair(int64_t{2}, 1));
  fs::remove_all(folder / "1ubq_A");
  write(folder / "1ubq_A.a3m", main);
  write(folder / "1ubq_A.pairing.a3m", hits);
  EXPECT_EQ(rows("beside"), std::pair(int64_t{2}, 1));
}

TEST(Build, ChangedInputIsMadeAgain) {
  const TemporaryFolder folder;
  fs::copy(kData / "entries/1ubq.cif.gz", folder / "1ubq.cif.gz");
  const std::string first = build(folder.path(), folder / "c").content_key;
  const std::string query =
      "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG";
  write(folder / "1ubq_A.a3m", ">q\n" + query + "\n");
  const BuildReport with = build(folder.path(), folder / "c");
  EXPECT_TRUE(entry_of(with, "1ubq").reused);  // the structure does not depend on it
  EXPECT_EQ(entry_of(with, "1ubq").alignments, 1);
  EXPECT_NE(with.content_key, first);
}

TEST(Build, AlignmentsAreFoundBySequenceToo) {
  const TemporaryFolder folder;
  fs::copy(kData / "entries/1ubq.cif.gz", folder / "1ubq.cif.gz");
  const std::string query =
      "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG";
  write(folder / "msa/some name.a3m", ">q\n" + query + "\n");
  write(folder / "msa/other.a3m", ">q\nACDE\n");
  const BuildReport report = build(folder.path(), folder / "c");
  EXPECT_EQ(entry_of(report, "1ubq").alignments, 1);
  ASSERT_EQ(report.unused_alignments.size(), 1U);  // never dropped without a word
  EXPECT_TRUE(has(report.unused_alignments[0], "other.a3m"));
}

TEST(Build, BadEntriesAreReportedAndLeaveTheOthers) {
  const TemporaryFolder folder;
  fs::copy(kData / "entries/1ubq.cif.gz", folder / "good.cif.gz");
  const std::string packed = read_file(kData / "entries/1ubq.cif.gz");
  write(folder / "cut.cif.gz", packed.substr(0, packed.size() / 2));
  write(folder / "empty.cif", "");
  write(folder / "garbage.cif", std::string("\x01\x02\xff\x00 junk", 10));
  write(folder / "nothing.cif", "data_x\n_cell.length_a 1\n");
  fs::copy(kData / "entries/4zey.cif.gz", folder / "other.cif.gz");
  write(folder / "other_A.a3m", ">q\nACDEFG\n");
  fs::copy(kData / "entries/4i6p.cif.gz", folder / "odd.cif.gz");
  const BuildReport report = build(folder.path(), folder / "c");
  EXPECT_EQ(report.count(Verdict::kept), 2U) << to_json(report);
  EXPECT_EQ(report.count(Verdict::failed), 5U);
  const auto reason = [&](const char* id) { return entry_of(report, id).reason; };
  EXPECT_TRUE(has(reason("cut"), "cut.cif.gz: the gzip file ends early")) << reason("cut");
  EXPECT_TRUE(has(reason("empty"), "empty.cif: the file is empty"));
  EXPECT_TRUE(has(reason("garbage"), "garbage.cif"));
  EXPECT_TRUE(has(reason("nothing"), "nothing.cif: no coordinates"));
  EXPECT_TRUE(has(reason("other"), "other_A.a3m:2: the query differs from chain A of other"))
      << reason("other");
  EXPECT_EQ(CacheReader::open(folder / "c")->entries(), (std::vector<std::string>{"good", "odd"}));
}

TEST(Build, UnusableFoldersAreRefused) {
  const TemporaryFolder folder;
  const auto message = [&](const fs::path& data) {
    return refusal<BadInput>([&] { build(data, folder / "c"); });
  };
  EXPECT_TRUE(has(message(folder / "none"), "no such folder"));
  EXPECT_TRUE(has(message(folder.path()), "no entry: expected files called *.cif"));
  write(folder / "file", "x");
  EXPECT_TRUE(has(message(folder / "file"), "is a file"));
  write(folder / "d/1abc.cif", "x");
  write(folder / "d/e/1abc.cif.gz", "x");
  EXPECT_TRUE(has(message(folder / "d"), "two files for the entry '1abc'"));
  EXPECT_FALSE(fs::exists(folder / "c"));  // nothing was begun
}

TEST(Reader, WhatIsNoCacheIsRefused) {
  const TemporaryFolder folder;
  const auto message = [&](const fs::path& path) {
    return refusal<BadInput>([&] { CacheReader::open(path); });
  };
  EXPECT_TRUE(has(message(folder / "none"), "no such folder"));
  EXPECT_TRUE(has(message(folder.path()), "is not a cache"));
  fs::create_directories(folder / "shards");
  EXPECT_TRUE(has(message(folder.path()), "not finished"));
}

TEST(Reader, MissingEntryNamesTheNearest) {
  const TemporaryFolder folder;
  build(kData, folder / "c");
  const auto reader = CacheReader::open(folder / "c");
  EXPECT_TRUE(has(refusal<BadInput>([&] { (void)reader->structure("1ubp"); }), "nearest: 1ubq"));
  EXPECT_TRUE(has(refusal<BadInput>([&] { (void)reader->alignment("x"); }), "no key"));
  EXPECT_TRUE(
      has(refusal<BadInput>([&] { (void)reader->alignment("../../etc/passwd"); }), "no key"));
}

TEST(Reader, DamageIsSeenAndMadeAgain) {
  const TemporaryFolder folder;
  build(kData, folder / "c");
  const auto before = contents(folder / "c");
  for (const auto& [name, bytes] : before) {
    std::string flipped = bytes;
    flipped[flipped.size() / 3] ^= 1;
    write(folder.path() / "c" / name, flipped);
  }
  EXPECT_THROW(CacheReader::open(folder / "c"), Corrupt);
  build(kData, folder / "c");
  EXPECT_EQ(contents(folder / "c"), before);
  const auto key = CacheReader::open(folder / "c")->structure("1ubq")->key();
  const std::string lost = IndexFile(folder / "c").find_record(key)->shard;
  const std::string other = CacheReader::open(folder / "c")->structure("4zey")->key();
  ASSERT_NE(IndexFile(folder / "c").find_record(other)->shard, lost);
  fs::remove(shard_path(folder / "c", lost));
  const auto reader = CacheReader::open(folder / "c");
  EXPECT_TRUE(
      has(refusal<Corrupt>([&] { (void)reader->structure("1ubq"); }), "build the cache again"));
  EXPECT_EQ(reader->structure("4zey")->array("token_restype").size(), 84);  // the others still read
}

TEST(Build, PartsMakeTheSameRecords) {
  const TemporaryFolder folder;
  const BuildReport whole = build(kData, folder / "whole");
  BuildOptions options;
  options.data = kData;
  options.out = folder / "c";
  options.threads = 1;
  options.parts = 4;
  for (const int part : {3, 1, 4, 2}) {
    options.part = part;
    EXPECT_TRUE(build_cache(options).content_key.empty());
    EXPECT_THROW(CacheReader::open(folder / "c"), BadInput);  // not finished
  }
  const BuildReport last = build(kData, folder / "c");
  for (const EntryReport& entry : last.entries) EXPECT_TRUE(entry.reused) << entry.id;
  EXPECT_EQ(last.content_key, whole.content_key);
  EXPECT_TRUE(diff_caches(read_index(folder / "whole"), read_index(folder / "c")).empty());
  options.part = 5;
  EXPECT_THROW(build_cache(options), BadInput);
}

TEST(Build, AFailureStaysUntilItsInputChanges) {
  const TemporaryFolder folder;
  fs::copy(kData / "entries/1ubq.cif.gz", folder / "good.cif.gz");
  write(folder / "bad.cif", "data_x\n_cell.length_a 1\n");
  EXPECT_FALSE(entry_of(build(folder.path(), folder / "c"), "bad").reused);
  const CacheIndex index = read_index(folder / "c");
  ASSERT_EQ(index.entries.size(), 2U);  // a failed entry is in the index too
  EXPECT_EQ(index.entries[0].verdict, Verdict::failed);
  EXPECT_TRUE(index.entries[0].reason.starts_with("bad.cif")) << index.entries[0].reason;
  const BuildReport again = build(folder.path(), folder / "c");
  EXPECT_TRUE(entry_of(again, "bad").reused);
  EXPECT_EQ(entry_of(again, "bad").reason, index.entries[0].reason);
  fs::copy(kData / "entries/1ubq.cif.gz", folder / "bad.cif.gz");
  fs::remove(folder / "bad.cif");
  EXPECT_EQ(entry_of(build(folder.path(), folder / "c"), "bad").verdict, Verdict::kept);
}

TEST(Build, AReaderKeepsItsCacheWhileABuildWrites) {
  const TemporaryFolder folder;
  build(kData, folder / "c");
  const auto reader = CacheReader::open(folder / "c");
  fs::copy(kData, folder / "more", fs::copy_options::recursive);
  fs::copy(kData / "entries/1ubq.cif.gz", folder / "more/0new.cif.gz");
  build(folder / "more", folder / "c");
  EXPECT_EQ(reader->entries().size(), 6U);
  EXPECT_EQ(reader->structure("1ubq")->array("token_restype").size(), 76);
  EXPECT_EQ(CacheReader::open(folder / "c")->entries().size(), 7U);
}

TEST(Build, OneBuilderAtATime) {
  const TemporaryFolder folder;
  BuildOptions options;
  options.data = kData;
  options.out = folder / "c";
  options.threads = 1;
  options.shard_bytes = 40'000;
  std::string message;
  options.progress = [&](size_t done, size_t, const EntryReport&) {
    if (done == 1) message = refusal<BadInput>([&] { build(kData, folder / "c"); });
  };
  build_cache(options);
  EXPECT_TRUE(has(message, "another build is at work")) << message;
}

/// What the killed child runs; see KillPoints.
TEST(BuildChild, DISABLED_Run) {
  build(kData, std::getenv("MEGAFOLD_TEST_OUT"), 1);
}

/// Runs this program again as a builder that dies at the given point; true if it was killed.
bool run_child(const fs::path& out, const std::string& kill_at) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("MEGAFOLD_TEST_OUT", out.c_str(), 1);
    ::setenv("MEGAFOLD_KILL_AT", kill_at.c_str(), 1);
    ::execl("/proc/self/exe", "test_cache", "--gtest_filter=BuildChild.*",
            "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr);
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

TEST(Build, KilledAnywhereGoesOnToTheSameBytes) {
  const TemporaryFolder folder;
  build(kData, folder / "whole");
  const auto whole = contents(folder / "whole");
  int tried = 0, killed = 0;
  for (const char* const point :
       {"publish.created", "publish.written", "publish.synced", "publish.renamed", "cache.record",
        "cache.shard", "cache.indexed"})
    for (const int passage : {1, 2, 5, 8}) {
      const fs::path out = folder.path() / fmt::format("k{}", ++tried);
      if (!run_child(out, fmt::format("{}:{}", point, passage))) continue;  // fewer passages
      ++killed;
      const bool indexed = fs::exists(out / kIndexFile);
      // No reader sees a part: what is there under a record's name is whole.
      for (const auto& [name, bytes] : contents(out)) EXPECT_EQ(bytes, whole.at(name)) << name;
      if (indexed) {
        EXPECT_EQ(CacheReader::open(out)->entries().size(), 6U);
      } else {
        EXPECT_THROW(CacheReader::open(out), BadInput);
      }
      build(kData, out);
      EXPECT_EQ(contents(out), whole) << point << ":" << passage;
      for (const auto& entry : fs::recursive_directory_iterator(out))
        EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
    }
  EXPECT_GE(killed, 20);
}

TEST(Build, FullDiskIsAClearErrorAndRecovers) {
  const TemporaryFolder folder;
  const fs::path out = folder / "c";
  fs::create_directories(out);
  if (::mount("tmpfs", out.c_str(), "tmpfs", 0, "size=48k") != 0)
    GTEST_SKIP() << "a small tmpfs needs root and the right to mount";
  const std::string message = refusal<Device>([&] { build(kData, out); });
  const auto left = contents(out);
  ASSERT_EQ(::mount("tmpfs", out.c_str(), "tmpfs", MS_REMOUNT, "size=16m"), 0);
  const BuildReport again = build(kData, out);
  const auto after = contents(out);
  ::umount(out.c_str());
  EXPECT_TRUE(has(message, "No space left on device; free space")) << message;
  build(kData, folder / "whole");
  for (const auto& [name, bytes] : left) EXPECT_EQ(bytes, after.at(name)) << name;
  EXPECT_EQ(again.count(Verdict::kept), 6U);
  EXPECT_EQ(after, contents(folder / "whole"));
}

TEST(Build, FileSizeLimitIsAClearErrorWithoutLeftovers) {
  const TemporaryFolder folder;
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small{4096, old.rlim_max};
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = refusal<Device>([&] { build(kData, folder / "c"); });
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, handler);
  EXPECT_TRUE(has(message, "cannot write: File too large")) << message;
  EXPECT_FALSE(fs::exists(folder / "c/index.mfi"));
  for (const auto& entry : fs::recursive_directory_iterator(folder / "c"))
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
}

TEST(Build, ReadOnlyOutputIsAClearError) {
  const TemporaryFolder folder;
  const fs::path out = folder / "c";
  fs::create_directories(out);
  const bool mounted = ::mount("tmpfs", out.c_str(), "tmpfs", MS_RDONLY, "size=1m") == 0;
  if (!mounted) {
    if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere, and may not mount here";
    fs::permissions(out, fs::perms::owner_read | fs::perms::owner_exec);
  }
  const std::string message = refusal<Device>([&] { build(kData, out); });
  if (mounted) ::umount(out.c_str());
  fs::permissions(out, fs::perms::owner_all);
  EXPECT_TRUE(has(message, "choose a folder that this user may write to")) << message;
}

}  // namespace
}  // namespace megafold
