// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/tables.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/philox.h"
#include "base/publish.h"
#include "structure/entry.h"
#include "structure/test_entry.h"

namespace megafold {
namespace {

using nlohmann::json;

const std::filesystem::path kSource = MEGAFOLD_SOURCE_DIR;

/// The message of the BadInput that f throws.
template <class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const BadInput& error) {
    return error.what();
  }
  return "(accepted)";
}

std::string parse_refusal(const std::string& content) {
  return refusal([&] { read_entry(*Document::parse(content, "x.cif"), "x"); });
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Tables, BadFilesAreRefusedWithTheirPlace) {
  EXPECT_TRUE(has(refusal([] { Document::read("/nowhere/x.cif"); }), "no such file"));
  EXPECT_TRUE(has(parse_refusal(""), "x.cif: the file is empty"));
  EXPECT_TRUE(has(parse_refusal("hello\n"), "x.cif:1"));
  EXPECT_TRUE(has(parse_refusal(std::string("data_x\n_a.b \0 c\n", 15)), "x.cif:2"));
  EXPECT_TRUE(has(parse_refusal("data_x\nloop_\n_a.b\n_a.c\n1 2 3\n"), "Wrong number of values"));
  EXPECT_TRUE(has(parse_refusal("data_x\n_cell.length_a 1\n"), "no coordinates"));
  EXPECT_TRUE(has(parse_refusal("data_x\n_entry.title 'open\n"), "x.cif:2"));
}

TEST(Tables, BadNumberNamesItsRow) {
  testing::EntryText text;
  text.atom("CA", "C", 1, 2, 3, {});
  std::string content = text.str();
  const size_t at = content.find("2.000");
  content.replace(at, 5, "2.0x0");
  const std::string message = parse_refusal(content);
  EXPECT_TRUE(has(message, "row 1 of _atom_site.Cartn_y")) << message;
  EXPECT_TRUE(has(message, "'2.0x0' is not a number")) << message;
  content.replace(at, 5, "nan  ");
  EXPECT_TRUE(has(parse_refusal(content), "nan"));
}

TEST(Tables, TruncatedEntriesNeverCrash) {
  const std::string whole = read_file(kSource / "data/entries/1ubq.cif.gz");
  for (size_t n = 0; n < whole.size(); n += 997)
    EXPECT_NE(parse_refusal(whole.substr(0, n)), "(accepted)") << n;
}

TEST(Tables, TruncatedBinaryCifNeverCrashes) {
  const std::string whole = read_file(kSource / "tests/oracle/1ubq.bcif.gz");
  const auto document = Document::parse(whole, "1ubq.bcif.gz");
  EXPECT_EQ(read_entry(*document, "1ubq").chains.size(), 2U);
  for (size_t n = 1; n < whole.size(); n += 499)
    EXPECT_NE(parse_refusal(whole.substr(0, n)), "(accepted)") << n;
}

/// Flips bytes of the unpacked file: an entry or a refusal, never anything else.
void fuzz(const std::string& plain, int rounds) {
  Random random(1, 2, 3, Purpose::sample);
  for (int round = 0; round < rounds; ++round) {
    std::string damaged = plain;
    for (uint64_t i = random.below(8) + 1; i > 0; --i)
      damaged[random.below(damaged.size())] = static_cast<char>(random.below(256));
    try {
      read_entry(*Document::parse(damaged, "x"), "x");
    } catch (const BadInput&) {
    }
  }
}

TEST(Tables, FuzzedTextIsReadOrRefused) {
  testing::EntryText text;
  text.polymer_entity("1", "polypeptide(L)", {"ALA", "GLY", "SER", "ALA"});
  text.protein("A", "1", {"ALA", "GLY", "SER", "ALA"});
  fuzz(text.str(), 3000);
}

TEST(Tables, FuzzedBinaryCifIsReadOrRefused) {
  const json column = {
      {"name", "Cartn_x"},
      {"mask", nullptr},
      {"data",
       {{"data", json::binary({1, 0, 2, 0, 3, 0})},
        {"encoding",
         {{{"kind", "FixedPoint"}, {"factor", 10}, {"srcType", 33}},
          {{"kind", "Delta"}, {"origin", 5}, {"srcType", 3}},
          {{"kind", "IntegerPacking"}, {"byteCount", 2}, {"isUnsigned", false}, {"srcSize", 3}},
          {{"kind", "ByteArray"}, {"type", 2}}}}}}};
  const json file = {
      {"dataBlocks",
       {{{"header", "x"},
         {"categories",
          {{{"name", "_atom_site"}, {"rowCount", 3}, {"columns", json::array({column})}}}}}}}};
  const auto bytes = json::to_msgpack(file);
  const std::string plain(bytes.begin(), bytes.end());
  const auto document = Document::parse(plain, "x");
  const Column read = document->blocks()[0]->table("_atom_site")->column("Cartn_x");
  EXPECT_DOUBLE_EQ(read.number(0, 0), 0.6);  // (5 + 1) / 10
  EXPECT_DOUBLE_EQ(read.number(2, 0), 1.1);  // (5 + 1 + 2 + 3) / 10
  fuzz(plain, 3000);
  Random random(5, 6, 7, Purpose::sample);
  for (int round = 0; round < 2000; ++round) {  // the decoders themselves
    std::string damaged = plain;
    damaged[random.below(damaged.size())] = static_cast<char>(random.below(256));
    try {
      const auto again = Document::parse(damaged, "x");
      const auto table = again->blocks()[0]->table("_atom_site");
      const Column values = table->column("Cartn_x");
      for (size_t i = 0; i < values.size(); ++i) (void)values.number(i, 0);
    } catch (const BadInput&) {
    }
  }
}

TEST(Tables, EveryEncoding) {
  const auto decode = [](const json& data, const json& encoding, int64_t rows) {
    const json file = {
        {"dataBlocks",
         {{{"header", "x"},
           {"categories",
            {{{"name", "_t"},
              {"rowCount", rows},
              {"columns", json::array({{{"name", "c"},
                                        {"data", {{"data", data}, {"encoding", encoding}}},
                                        {"mask", nullptr}}})}}}}}}}};
    const auto bytes = json::to_msgpack(file);
    const auto document = Document::parse(std::string(bytes.begin(), bytes.end()), "x");
    const Column column = document->blocks()[0]->table("_t")->column("c");
    std::vector<std::string> out;
    for (size_t i = 0; i < column.size(); ++i) out.emplace_back(column.text(i));
    return out;
  };
  using Texts = std::vector<std::string>;
  const json bytes1 = {{"kind", "ByteArray"}, {"type", 1}},
             bytes4 = {{"kind", "ByteArray"}, {"type", 4}};
  EXPECT_EQ(decode(json::binary({7, 0xff}), json::array({bytes1}), 2), (Texts{"7", "-1"}));
  EXPECT_EQ(
      decode(json::binary({9, 3, 4, 1}),
             json::array({{{"kind", "RunLength"}, {"srcSize", 4}, {"srcType", 4}}, bytes4}), 4),
      (Texts{"9", "9", "9", "4"}));
  EXPECT_EQ(decode(json::binary({0x7f, 3, 0x80, 0xff, 5}),
                   json::array({{{"kind", "IntegerPacking"},
                                 {"byteCount", 1},
                                 {"isUnsigned", false},
                                 {"srcSize", 3}},
                                bytes1}),
                   3),
            (Texts{"130", "-129", "5"}));
  EXPECT_EQ(decode(json::binary({0, 1, 4}),
                   json::array({{{"kind", "IntervalQuantization"},
                                 {"min", 1.0},
                                 {"max", 3.0},
                                 {"numSteps", 5},
                                 {"srcType", 33}},
                                bytes4}),
                   3),
            (Texts{"1", "1.5", "3"}));
  const json strings = {{"kind", "StringArray"},
                        {"stringData", "abcde"},
                        {"offsets", json::binary({0, 2, 5})},
                        {"offsetEncoding", json::array({bytes4})},
                        {"dataEncoding", json::array({bytes1})}};
  EXPECT_EQ(decode(json::binary({1, 0, 0xff, 1}), json::array({strings}), 4),
            (Texts{"cde", "ab", "", "cde"}));
  // Damage in each place that a decoder trusts.
  json wrong = strings;
  wrong["offsets"] = json::binary({0, 2, 9});
  EXPECT_TRUE(
      has(refusal([&] { decode(json::binary({1}), json::array({wrong}), 1); }), "x: column _t.c"));
  EXPECT_TRUE(
      has(refusal([&] { decode(json::binary({5}), json::array({strings}), 1); }), "text 5 of 2"));
  EXPECT_TRUE(has(refusal([&] { decode(json::binary({1, 2}), json::array({bytes1}), 3); }),
                  "3 rows are due"));
  EXPECT_TRUE(has(refusal([&] {
                    decode(json::binary({9, 100}),
                           json::array({{{"kind", "RunLength"}, {"srcSize", 4}}, bytes1}), 4);
                  }),
                  "runs of 100 values"));
}

TEST(Tables, DeepNestingIsRefused) {
  std::string deep =
      "\x81\xaa"
      "dataBlocks";
  deep.append(1000000, '\x91');
  deep += '\xc0';
  EXPECT_TRUE(has(parse_refusal(deep), "nested deeper"));
}

}  // namespace
}  // namespace megafold
