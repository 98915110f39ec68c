// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/pairing.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>

#include "batch/msa.h"
#include "batch/synthetic.h"

namespace megafold {
namespace {

using Table = std::vector<std::vector<int32_t>>;

/// Hits of one sequence, some without a species ("."), as the rows of a record.
struct Hits {
  std::vector<uint64_t> species;
  std::vector<int32_t> hit;

  explicit Hits(const std::string& words) {
    std::istringstream stream(words);
    std::string word;
    for (int32_t place = 1; stream >> word; ++place) {
      if (word == ".") continue;
      word.resize(8, ' ');
      std::memcpy(&species.emplace_back(), word.data(), 8);
      hit.push_back(place);
    }
  }
};

/// The pairs by their places among the hits.
Table pair(const std::vector<Hits>& sequences, int64_t max_rows = 8191) {
  std::vector<SpeciesRows> views;
  for (const Hits& hits : sequences) views.push_back({hits.species, hits.hit});
  Table out = pair_by_species(views, max_rows);
  for (auto& row : out)
    for (size_t i = 0; i < row.size(); ++i)
      if (row[i] >= 0) row[i] = sequences[i].hit[static_cast<size_t>(row[i])];
  return out;
}

/// The table is what AlphaFold 3's own code makes of the same hits (tests/oracle/pair_alphafold3.py
/// prints it).
TEST(Pairing, EqualsAlphaFold3s) {
  const std::vector<Hits> hits = {Hits("HUMAN MOUSE . RAT HUMAN YEAST MOUSE HUMAN ECOLI"),
                                  Hits("MOUSE YEAST HUMAN HUMAN DROME RAT HUMAN"),
                                  Hits("ECOLI HUMAN . YEAST . HUMAN HUMAN")};
  const Table expected = {{1, 3, 2},  {6, 2, 4},  {5, 4, 6}, {8, 7, 7},
                          {2, 1, -1}, {9, -1, 1}, {4, 6, -1}};
  EXPECT_EQ(pair(hits), expected);
  EXPECT_EQ(pair(hits, 5), Table(expected.begin(), expected.begin() + 5));
  EXPECT_EQ(pair(hits, 0), Table());
  EXPECT_EQ(pair(hits, -1), Table());  // of a sample of one row
}

TEST(Pairing, NothingWithoutTwoSequencesOfOneSpecies) {
  EXPECT_EQ(pair({Hits("HUMAN HUMAN")}), Table());
  EXPECT_EQ(pair({Hits("HUMAN"), Hits("MOUSE")}), Table());
  EXPECT_EQ(pair({Hits("HUMAN"), Hits("")}), Table());
  EXPECT_EQ(pair({}), Table());
  // Equal products: by the places, so the order is one whatever the standard library's hash is.
  EXPECT_EQ(pair({Hits("A B"), Hits("B A")}), (Table{{1, 2}, {2, 1}}));
}

/// Two sequences, the first in two copies, and the same record for a homodimer.
class PairedSample : public testing::Test {
 protected:
  PairedSample() {
    using synthetic::PairingRow;
    cache_.add_alignment(synthetic::alignment(
        "first", 6, 10, {PairingRow{"HUMAN", 1, 4}, {"MOUSE", 2}, {"RAT", 3}, {"HUMAN", 4, 0}}));
    cache_.add_alignment(
        synthetic::alignment("second", 3, 8, {PairingRow{"RAT", 1}, {"YEAST", 2}, {"HUMAN", 3}}));
    cache_.add("hetero",
               synthetic::structure("hetero", {{.length = 10, .alignment = "first"},
                                               {.length = 8, .entity = 2, .alignment = "second"},
                                               {.length = 10, .alignment = "first", .x = 8}}));
    cache_.add("homo", synthetic::structure("homo", {{.length = 10, .alignment = "first"},
                                                     {.length = 10, .alignment = "first"}}));
  }
  /// The rows of a token of each chain.
  Table rows(const std::string& id, const std::vector<int32_t>& tokens, MsaOptions options = {}) {
    const StructureView structure(cache_.structure(id));
    Batch batch;
    Random random(1, 2, 3, Purpose::msa);
    options.draw_rows = false;
    assemble_msa(
        structure, tokens, [&](const std::string& key) { return cache_.alignment(key); }, options,
        random, batch);
    paired_rows_ = batch.paired_rows;
    Table out;
    for (int64_t s = 0; s < batch.msa.size(0); ++s) {
      out.emplace_back();
      for (int64_t i = 0; i < batch.msa.size(1); ++i)
        out.back().push_back(batch.msa[s][i].item<int32_t>());
    }
    return out;
  }
  synthetic::MemoryCache cache_;
  int64_t paired_rows_ = -1;  // of the last sample
};

constexpr int32_t kGap = kRestypeGap;

TEST_F(PairedSample, PairedRowsComeFirstAndAreNotShownAgain) {
  // Column 0 of each; a row s of the main alignments holds class s, a row u for pairing class u.
  // HUMAN: hits 1 and 3, RAT: 3 and 1; main row 4 of `first` is its first row for pairing.
  EXPECT_EQ(
      rows("hetero", {0, 10, 18}),
      (Table{{0, 0, 0}, {0, 2, 0}, {2, 0, 2}, {1, 1, 1}, {2, 2, 2}, {3, kGap, 3}, {5, kGap, 5}}));
  EXPECT_EQ(paired_rows_, 2);
  // At most half of four rows are the query and paired; then the main rows.
  EXPECT_EQ(rows("hetero", {0, 10, 18}, {.max_rows = 4}),
            (Table{{0, 0, 0}, {0, 2, 0}, {1, 1, 1}, {2, 2, 2}}));
  EXPECT_EQ(paired_rows_, 1);
}

TEST_F(PairedSample, NothingToPairInAHomomerOrWhereTheCropHasOneSequence) {
  const Table main = {{0}, {1}, {2}, {3}, {4}, {5}};
  EXPECT_EQ(rows("hetero", {0}), main);
  EXPECT_EQ(paired_rows_, 0);
  Table twice = main;
  for (auto& row : twice) row.push_back(row[0]);
  EXPECT_EQ(rows("homo", {0, 10}), twice);
  EXPECT_EQ(rows("hetero", {0, 18}), twice);  // both copies
}

TEST_F(PairedSample, ARowThatTheAlignmentHasNotIsDamage) {
  cache_.add_alignment(synthetic::alignment("second", 3, 8, {{"HUMAN", 1, 3}}));
  EXPECT_THROW((void)rows("hetero", {0, 10, 18}), Corrupt);
}

}  // namespace
}  // namespace megafold
