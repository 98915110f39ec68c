// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/record.h"

#include <gtest/gtest.h>

#include <cstring>
#include <span>

#include "base/errors.h"
#include "base/hash.h"
#include "base/philox.h"

namespace megafold {
namespace {

const std::string kKey(64, 'a');

std::vector<NamedArray> small_arrays() {
  const std::string meta = R"({"id":"x"})";
  return {make_array("number", ArrayType::i32, {2, 3}, std::vector<int32_t>{1, 2, 3, 4, 5, -6}),
          make_array("real", ArrayType::f32, {3}, std::vector<float>{0.5F, -1, 1e30F}),
          make_array("none", ArrayType::u8, {0, 4}, std::vector<uint8_t>{}),
          make_array("meta", ArrayType::u8, {static_cast<int64_t>(meta.size())},
                     std::vector<uint8_t>(meta.begin(), meta.end()))};
}

std::string small_record() {
  return pack_record(RecordKind::structure, kKey, small_arrays());
}

std::shared_ptr<const Record> parse(const std::string& bytes) {
  return parse_record(bytes, "x.mfr", RecordKind::structure, kKey);
}

std::string damage(const std::string& bytes) {
  try {
    parse(bytes);
  } catch (const Corrupt& error) {
    return error.what();
  } catch (const Unsupported& error) {
    return std::string("(unsupported) ") + error.what();
  }
  return "(accepted)";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Record, ComesBackAsItWas) {
  const auto record = parse(small_record());
  for (const NamedArray& array : small_arrays()) {
    const ArrayView view = record->array(array.name);
    EXPECT_EQ(view.type, array.type);
    EXPECT_EQ(view.shape, array.shape);
    if (array.data.empty()) continue;
    EXPECT_EQ(std::memcmp(view.data, array.data.data(), array.data.size()), 0) << array.name;
  }
  EXPECT_EQ(record->meta(), R"({"id":"x"})");
  EXPECT_EQ(record->key(), kKey);
  EXPECT_EQ(small_record(), small_record());  // no time, no order of a map
  EXPECT_THROW((void)record->array("other"), Corrupt);
}

TEST(Record, LargeArraysGoInBlocksOfRows) {
  std::vector<uint8_t> values(5000 * 777);
  Random random(1, 2, 3, Purpose::sample);
  for (uint8_t& value : values) value = static_cast<uint8_t>(random.below(20));
  const auto bytes = pack_record(RecordKind::alignment, kKey,
                                 {make_array("msa", ArrayType::u8, {5000, 777}, values)});
  const RecordIndex index = read_record_index(bytes, "x");
  EXPECT_GT(index.arrays[0].blocks.size(), 3U);
  for (const auto& block : index.arrays[0].blocks) EXPECT_EQ(block.raw % 777, 0U);
  const auto record = parse_record(bytes, "x", RecordKind::alignment, kKey);
  EXPECT_EQ(std::memcmp(record->array("msa").data, values.data(), values.size()), 0);
}

TEST(Record, EveryFlippedBitIsSeen) {
  const std::string whole = small_record();
  for (size_t i = 0; i < whole.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = whole;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
      const std::string message = damage(flipped);
      ASSERT_TRUE(has(message, "x.mfr")) << "byte " << i << " bit " << bit << ": " << message;
      ASSERT_FALSE(has(message, "(unsupported)")) << "byte " << i;
    }
}

TEST(Record, EveryTruncationAndExtensionIsSeen) {
  const std::string whole = small_record();
  for (size_t n = 0; n < whole.size(); ++n)
    ASSERT_TRUE(has(damage(whole.substr(0, n)), "x.mfr")) << n;
  EXPECT_TRUE(has(damage(whole + '\0'), "x.mfr"));
  EXPECT_TRUE(has(damage(whole + whole), "x.mfr"));
}

TEST(Record, DamageNamesTheArray) {
  const std::string whole = small_record();
  const RecordIndex index = read_record_index(whole, "x");
  std::string flipped = whole;
  flipped[index.arrays[1].blocks[0].offset + 5] ^= 4;
  EXPECT_TRUE(has(damage(flipped), "x.mfr: array 'real', block 1 of 1")) << damage(flipped);
}

TEST(Record, OtherKeyOrKindIsRefused) {
  const std::string whole = small_record();
  EXPECT_THROW(parse_record(whole, "x", RecordKind::structure, std::string(64, 'b')), Corrupt);
  EXPECT_THROW(parse_record(whole, "x", RecordKind::alignment, kKey), Corrupt);
}

/// Writes the checksum of both ends again, as a program of another version would.
std::string with_version(std::string bytes, uint32_t version) {
  std::memcpy(bytes.data() + 8, &version, sizeof(version));
  const size_t trailer = bytes.size() - 40;
  const std::string ends = bytes.substr(0, 16) + bytes.substr(trailer, 24);
  const uint64_t checksum = checksum64(std::as_bytes(std::span(ends.data(), ends.size())));
  std::memcpy(bytes.data() + trailer + 24, &checksum, sizeof(checksum));
  return bytes;
}

TEST(Record, OtherFormatVersionIsNamed) {
  const std::string message = damage(with_version(small_record(), 7));
  EXPECT_TRUE(has(message, "(unsupported) x.mfr: record format 7, this program reads 2"))
      << message;
}

TEST(Record, ForgedIndexIsRefused) {
  // A sound checksum over an index that lies: sizes, places and shapes are not believed either.
  const std::string whole = small_record();
  const size_t trailer = whole.size() - 40;
  uint64_t offset = 0;
  std::memcpy(&offset, whole.data() + trailer, sizeof(offset));
  const std::string index = whole.substr(offset, trailer - offset);
  const auto forged = [&](const std::string& from, const std::string& to) {
    std::string text = index;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    std::string bytes = whole.substr(0, offset) + text;
    const auto append = [&](uint64_t value) {
      bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    };
    const auto sum = [](const std::string& s) {
      return checksum64(std::as_bytes(std::span(s.data(), s.size())));
    };
    const size_t end = bytes.size();
    append(offset), append(text.size()), append(sum(text));
    append(sum(bytes.substr(0, 16) + bytes.substr(end, 24)));
    return damage(bytes + "MFRECEND");
  };
  EXPECT_TRUE(has(forged("\"shape\":[2,3]", "\"shape\":[2,9]"), "x.mfr"));
  EXPECT_TRUE(has(forged("\"shape\":[2,3]", "\"shape\":[-2,-3]"), "extent"));
  EXPECT_TRUE(has(forged("\"shape\":[2,3]", "\"shape\":[9223372036854775807,4]"), "extent"));
  EXPECT_TRUE(has(forged("\"blocks\":[[16,", "\"blocks\":[[17,"), "out of place"));
  EXPECT_TRUE(has(forged("\"type\":\"i32\"", "\"type\":\"i33\""), "unknown"));
  EXPECT_TRUE(has(forged("\"type\":\"i32\"", "\"type\":\"i64\""), "x.mfr"));
  EXPECT_TRUE(has(forged("\"kind\":\"structure\"", "\"kind\":\"statue\""), "unknown kind"));
  EXPECT_TRUE(has(forged("{\"arrays\"", "{\"arroys\""), "cannot be read"));
  EXPECT_EQ(forged("\"kind\":\"structure\"", "\"kind\":\"structure\""), "(accepted)");
}

}  // namespace
}  // namespace megafold
