// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Shards, the index, and what looks after them.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/philox.h"
#include "base/publish.h"
#include "cache/catalogue.h"
#include "cache/index.h"
#include "cache/lock.h"
#include "cache/maintain.h"
#include "cache/reader.h"
#include "cache/record.h"
#include "cache/shard.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

class Store : public ::testing::Test {
 protected:
  Store() {
    std::string pattern = (fs::temp_directory_path() / "megafold store XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    folder_ = pattern;
  }
  ~Store() override {
    std::error_code error;
    fs::remove_all(folder_, error);
  }
  fs::path folder_;
};

std::string key_of(const std::string& name) {
  return sha256_hex({"test", name});
}

/// A structure's record: little else than its meta.
PackedRecord structure(const std::string& id, const std::string& salt = "") {
  const std::string meta = R"({"id":")" + id + R"(","chains":[{"label":"A","alignment":null}]})";
  const std::string key = key_of(id + salt);
  return {key, RecordKind::structure,
          pack_record(RecordKind::structure, key,
                      {make_array("meta", ArrayType::u8, {static_cast<int64_t>(meta.size())},
                                  std::vector<uint8_t>(meta.begin(), meta.end()))})};
}

/// 3000 rows of 100 columns, several blocks; value (row * 7 + column) % 251.
PackedRecord alignment(const std::string& name) {
  std::vector<uint8_t> values;
  for (int row = 0; row < 3000; ++row)
    for (int column = 0; column < 100; ++column)
      values.push_back(static_cast<uint8_t>((row * 7 + column) % 251));
  const std::string key = key_of(name);
  return {key, RecordKind::alignment,
          pack_record(RecordKind::alignment, key,
                      {make_array("msa", ArrayType::u8, {3000, 100}, values)})};
}

void add(CacheIndex& index, const ShardInfo& shard) {
  for (const ShardRow& row : shard.rows) index.records[row.key] = {row, shard.name};
}

IndexEntry kept(const std::string& id, const std::string& salt = "") {
  return {id, Verdict::kept, key_of(id + salt), "", {}};
}

/// Two entries in two shards, one with an alignment; an entry that was dropped.
CacheIndex small_cache(const fs::path& folder) {
  CacheIndex index;
  add(index, write_shard(folder, {structure("1abc"), structure("unused")}));
  add(index, write_shard(folder, {structure("2abc"), alignment("msa")}));
  index.records.erase(key_of("unused"));
  index.entries = {
      kept("1abc"), kept("2abc"), {"3abc", Verdict::dropped, key_of("3"), "too big", {}}};
  index.entries[1].alignments["A"] = key_of("msa");
  finish_index(index);
  publish(folder / kIndexFile, pack_index(index));
  return index;
}

template <class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "(accepted)";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

TEST_F(Store, ComesBackAsItWas) {
  const CacheIndex written = small_cache(folder_);
  const CacheIndex read = read_index(folder_);
  EXPECT_EQ(read.entries, written.entries);
  EXPECT_EQ(read.content_key, written.content_key);
  const auto cache = CacheReader::open(folder_);
  EXPECT_EQ(cache->entries(), (std::vector<std::string>{"1abc", "2abc"}));
  EXPECT_TRUE(has(std::string(cache->structure("2abc")->meta()), key_of("msa")));
  EXPECT_TRUE(has(refusal([&] { (void)cache->structure("3abc"); }), "was dropped when"));
  EXPECT_TRUE(has(refusal([&] { (void)cache->structure("3abc"); }), "too big"));
  EXPECT_TRUE(has(refusal([&] { (void)cache->structure("1abd"); }), "nearest: 1abc"));
  EXPECT_TRUE(has(refusal([&] { (void)cache->alignment(key_of("other")); }), "no alignment with"));
  EXPECT_TRUE(
      has(refusal([&] { (void)cache->alignment(key_of("1abc")); }), "expected 'alignment'"));
}

TEST_F(Store, RowsAreReadInParts) {
  small_cache(folder_);
  const auto record = CacheReader::open(folder_)->alignment(key_of("msa"));
  EXPECT_EQ(record->describe("msa").shape, (std::vector<int64_t>{3000, 100}));
  const int64_t block = record->rows_per_block("msa");
  EXPECT_EQ(block, (1 << 17) / 100);
  const auto rows = [&](int64_t first, int64_t count) {
    std::vector<std::byte> out(static_cast<size_t>(count) * 100, std::byte{255});
    record->read_rows("msa", first, count, out.data());
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < 100; ++c)
        ASSERT_EQ(static_cast<int>(out[static_cast<size_t>(r * 100 + c)]),
                  ((first + r) * 7 + c) % 251)
            << first << " + " << r;
  };
  for (const int64_t first : {int64_t{0}, int64_t{1}, block - 1, block, block + 1, int64_t{2999}})
    for (const int64_t count : {int64_t{0}, int64_t{1}, block, int64_t{3000}})
      if (first + count <= 3000) rows(first, count);
  EXPECT_THROW(rows(2999, 2), BadInput);
  EXPECT_THROW(rows(-1, 2), BadInput);
}

TEST_F(Store, APartialReadDoesNotTouchTheRest) {
  const CacheIndex index = small_cache(folder_);
  const IndexRecord place = index.records.at(key_of("msa"));
  const fs::path path = shard_path(folder_, place.shard);
  std::string bytes = read_file(path);
  const RecordIndex arrays =
      read_record_index(bytes.substr(place.row.offset, place.row.size), "msa");
  bytes[place.row.offset + arrays.arrays[0].blocks[1].offset + 3] ^= 1;
  write(path, bytes);
  const auto cache = CacheReader::open(folder_);
  const auto record = cache->alignment(key_of("msa"));
  std::vector<std::byte> out(300'000);
  record->read_rows("msa", 0, 1310, out.data());  // the first block alone
  const std::string message = refusal([&] { record->read_rows("msa", 0, 1311, out.data()); });
  EXPECT_TRUE(has(message, place.shard + ".mfs, record " + place.row.key.substr(0, 12))) << message;
  EXPECT_TRUE(has(message, "array 'msa', block 2 of 3")) << message;
  EXPECT_EQ(cache->structure("2abc")->names().size(), 1U);  // of the same shard
}

TEST_F(Store, EveryFlippedByteOfAShardIsSeen) {
  const ShardInfo shard = write_shard(folder_, {structure("1abc"), structure("2abc")});
  const fs::path path = shard_path(folder_, shard.name);
  const std::string whole = read_file(path);
  const auto read_all = [&] {
    return refusal([&] {
      const auto file = ReadFile::open(path);
      const ShardInfo got = read_shard(*file);
      for (const ShardRow& row : got.rows)
        check_record({file, row.offset, row.size}, row.kind, row.key);
    });
  };
  ASSERT_EQ(read_all(), "(accepted)");
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    write(path, flipped);
    ASSERT_TRUE(has(read_all(), shard.name)) << "byte " << i;
  }
  for (size_t n = 0; n < whole.size(); ++n) {
    write(path, whole.substr(0, n));
    ASSERT_TRUE(has(read_all(), shard.name)) << "cut at " << n;
  }
  write(path, whole + '\0');
  EXPECT_TRUE(has(read_all(), shard.name));
}

TEST_F(Store, EveryFlippedByteOfTheIndexIsSeen) {
  small_cache(folder_);
  const fs::path path = folder_ / kIndexFile;
  const std::string whole = read_file(path);
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    write(path, flipped);
    ASSERT_TRUE(has(refusal([&] { read_index(folder_); }), "index.mfi")) << "byte " << i;
  }
  for (size_t n = 0; n < whole.size(); n += 37) {
    write(path, whole.substr(0, n));
    ASSERT_TRUE(has(refusal([&] { read_index(folder_); }), "index.mfi")) << "cut at " << n;
  }
}

TEST_F(Store, OtherVersionsAreNamed) {
  small_cache(folder_);
  fs::rename(folder_ / kIndexFile, folder_ / "index.mfr");
  EXPECT_THROW(CacheReader::open(folder_), Unsupported);
  EXPECT_TRUE(has(refusal([&] { CacheReader::open(folder_); }), "format 1, this program reads 4"));
}

TEST_F(Store, AFileCutWhileItIsOpenIsAnErrorAndNoCrash) {
  std::vector<uint8_t> noise(300'000);  // does not pack, so that opening the record reads a part
  Random random(1, 2, 3, Purpose::msa);
  for (uint8_t& value : noise) value = static_cast<uint8_t>(random.below(256));
  const std::string key = key_of("noise");
  const ShardInfo shard =
      write_shard(folder_, {{key, RecordKind::alignment,
                             pack_record(RecordKind::alignment, key,
                                         {make_array("msa", ArrayType::u8, {3000, 100}, noise)})}});
  const fs::path path = shard_path(folder_, shard.name);
  const auto record = open_record({ReadFile::open(path), shard.rows[0].offset, shard.rows[0].size},
                                  RecordKind::alignment, key);
  fs::resize_file(path, shard.rows[0].offset + 100);
  EXPECT_TRUE(has(refusal([&] { (void)record->array("msa"); }), "cut short?"));
}

TEST_F(Store, GarbageIsRemovedAndTheRestStays) {
  small_cache(folder_);
  write_shard(folder_, {structure("old")});
  const auto before = CacheReader::open(folder_);
  const auto open_record = before->alignment(key_of("msa"));
  const GcReport plan = collect_garbage(folder_, true);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / kShardFolder), {}), 3);
  const GcReport done = collect_garbage(folder_, false);
  EXPECT_EQ(done.removed, 1U);
  EXPECT_EQ(done.rewritten, 1U);  // the one with "unused"
  EXPECT_EQ(done.freed, plan.freed);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / kShardFolder), {}), 2);
  EXPECT_EQ(open_record->array("msa").size(), 300'000);  // an open reader's record
  const auto after = CacheReader::open(folder_);
  EXPECT_EQ(after->content_key(), before->content_key());
  EXPECT_EQ(after->structure("1abc")->key(), key_of("1abc"));
  EXPECT_TRUE(verify_cache(folder_).damages.empty());
  EXPECT_EQ(collect_garbage(folder_, false).freed, 0U);
}

TEST_F(Store, GarbageIsLeftWhereARecordToKeepIsDamaged) {
  const CacheIndex index = small_cache(folder_);
  const IndexRecord place = index.records.at(key_of("1abc"));
  std::string bytes = read_file(shard_path(folder_, place.shard));
  bytes[place.row.offset + 20] ^= 1;
  write(shard_path(folder_, place.shard), bytes);
  EXPECT_THROW(collect_garbage(folder_, false), Corrupt);
  EXPECT_TRUE(fs::exists(shard_path(folder_, place.shard)));
  const auto damages = verify_cache(folder_).damages;
  ASSERT_EQ(damages.size(), 1U);
  EXPECT_TRUE(damages[0].starts_with("1abc: ")) << damages[0];
}

TEST_F(Store, NoGarbageIsCollectedBesideABuild) {
  small_cache(folder_);
  const auto lock = FolderLock::part(folder_, 1, 2);
  EXPECT_TRUE(has(refusal([&] { collect_garbage(folder_, false); }), "another build is at work"));
  EXPECT_TRUE(has(refusal([&] { FolderLock::part(folder_, 1, 2); }), "part 1 of 2"));
  (void)FolderLock::part(folder_, 2, 2);  // the other part may
}

TEST_F(Store, VerifySeesAMissingShard) {
  const CacheIndex index = small_cache(folder_);
  fs::remove(shard_path(folder_, index.records.at(key_of("msa")).shard));
  const auto damages = verify_cache(folder_).damages;
  ASSERT_EQ(damages.size(), 2U);
  EXPECT_TRUE(has(damages[0] + damages[1], "2abc chain A: the index names the record"));
}

TEST_F(Store, DifferencesAreNamedByEntry) {
  const CacheIndex a = small_cache(folder_);
  CacheIndex b = a;
  EXPECT_TRUE(diff_caches(a, b).empty());
  b.entries[0].key = key_of("another");
  b.entries[1].alignments.clear();
  b.entries[2].verdict = Verdict::kept;
  b.entries.push_back(kept("4abc"));
  std::string all;
  for (const Difference& d : diff_caches(a, b)) all += d.id + ": " + d.what + "\n";
  EXPECT_EQ(all,
            "1abc: the structure differs\n"
            "2abc: chain A: alignment only in the first\n"
            "3abc: dropped in the first, kept in the second\n"
            "4abc: only in the second\n");
}

TEST_F(Store, AThousandShardsAreMoreThanMayBeOpen) {
  fs::create_directories(folder_ / kShardFolder);
  CacheIndex index;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = fmt::format("e{:04}", i);
    const PackedRecord record = structure(id);
    const std::string name = record.key.substr(0, 16);
    // A reader goes by the index, so the bare record will do; 1,000 published files would sync
    // for a minute.
    write(shard_path(folder_, name), record.bytes);
    IndexRecord& place = index.records[record.key];
    place.row = {record.key, record.kind, 0, record.bytes.size()};
    place.shard = name;
    index.entries.push_back(kept(id));
  }
  finish_index(index);
  publish(folder_ / kIndexFile, pack_index(index));
  const auto cache = CacheReader::open(folder_);
  for (int round = 0; round < 2; ++round)
    for (const std::string& id : cache->entries())
      ASSERT_EQ(cache->structure(id)->key(), key_of(id));
  const auto open_files = std::distance(fs::directory_iterator("/proc/self/fd"), {});
  EXPECT_LT(open_files, 200);
}

TEST_F(Store, EntriesAreFoundWhateverTheirNames) {
  // Dropped entries need no record. Names of PDB entries, with long common beginnings, far from
  // even, and such as are the beginning of others.
  std::set<std::string> names = {"a",  "aa",      "aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaab",
                                 "zz", "\xc3\xa9"};
  Random random(1, 0, 0, Purpose::sample);
  constexpr std::string_view kLetters = "0123456789abcdefghijklmnopqrstuvwxyz";
  for (int i = 0; i < 700; ++i) {
    std::string name(1, kLetters[1 + random.below(9)]);
    for (int k = 0; k < 3; ++k) name += kLetters[random.below(36)];
    names.insert(name);
    names.insert(fmt::format("a long name in common {:0{}}", i, 1 + i % 5));
  }
  CacheIndex index;
  for (const std::string& name : names) index.entries.push_back({name, Verdict::dropped, "", "x"});
  finish_index(index);
  publish(folder_ / kIndexFile, pack_index(index));
  const IndexFile file(folder_);
  ASSERT_EQ(file.num_entries(), names.size());
  for (const std::string& name : names) {
    const auto found = file.find_entry(name);
    ASSERT_TRUE(found) << name;
    EXPECT_EQ(found->id, name);
    for (const std::string& other : {name + "a", name.substr(1), name + '\0', "!" + name})
      EXPECT_EQ(file.find_entry(other).has_value(), names.contains(other)) << other;
  }
}

TEST_F(Store, TheCatalogueDistrustsADamagedShardAsAWhole) {
  const CacheIndex index = small_cache(folder_);
  const IndexRecord place = index.records.at(key_of("msa"));
  std::string bytes = read_file(shard_path(folder_, place.shard));
  bytes[place.row.offset + 50] ^= 1;
  write(shard_path(folder_, place.shard), bytes);
  Catalogue catalogue(folder_);
  EXPECT_TRUE(catalogue.skipped().empty());  // its ends and footer are sound
  EXPECT_TRUE(catalogue.find_sound(key_of("1abc")));
  EXPECT_TRUE(catalogue.find_sound(key_of("2abc")));
  EXPECT_FALSE(catalogue.find_sound(key_of("msa")));
  EXPECT_FALSE(catalogue.find(key_of("2abc")));
  EXPECT_TRUE(catalogue.find(key_of("1abc")));
  ASSERT_EQ(catalogue.skipped().size(), 1U);
  EXPECT_TRUE(has(catalogue.skipped()[0], "wrong checksum"));
}

}  // namespace
}  // namespace megafold
