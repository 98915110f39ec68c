// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "alignment/alignment.h"

#include <gtest/gtest.h>

#include <cmath>

#include "alignment/write_a3m.h"
#include "base/errors.h"
#include "base/philox.h"

namespace megafold {
namespace {

constexpr uint8_t kGap = 31;

Msa read(const std::string& text, const std::string& sequence,
         Alphabet alphabet = Alphabet::protein) {
  return make_msa({{"x.a3m", text}}, sequence, alphabet, "chain A");
}

std::string refusal(const std::string& text, const std::string& sequence) {
  try {
    read(text, sequence);
  } catch (const BadInput& error) {
    return error.what();
  }
  return "(accepted)";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<uint8_t> row(const Msa& msa, int64_t r) {
  const auto from = msa.classes.begin() + r * msa.columns;
  return {from, from + msa.columns};
}

std::vector<uint8_t> deletions(const Msa& msa, int64_t r) {
  const auto from = msa.deletions.begin() + r * msa.columns;
  return {from, from + msa.columns};
}

TEST(Alignment, A3m) {
  // Lower case counts for the next column, at the start too; at the end it is dropped.
  const Msa msa = read(">q\nACD\n>1 words\naaA-eD\n>2\nACDyy\n>3\nBZ\nU\n", "ACD");
  ASSERT_EQ(msa.rows, 3);  // row 2 repeats the query once its insertion is gone
  EXPECT_EQ(row(msa, 0), (std::vector<uint8_t>{0, 4, 3}));
  EXPECT_EQ(row(msa, 1), (std::vector<uint8_t>{0, kGap, 3}));
  EXPECT_EQ(deletions(msa, 1), (std::vector<uint8_t>{2, 0, 1}));
  EXPECT_EQ(row(msa, 2), (std::vector<uint8_t>{3, 6, 4}));  // B, Z, U are D, E, C
  EXPECT_FLOAT_EQ(msa.deletion_mean[0], 2.0F / 3);
  EXPECT_FLOAT_EQ(msa.profile[0], 2.0F / 3);          // A in the first column
  EXPECT_FLOAT_EQ(msa.profile[32 + kGap], 1.0F / 3);  // the gap counts like any
  EXPECT_EQ(msa.sources[0].rows_read, 4);
  EXPECT_EQ(msa.sources[0].rows_kept, 3);
  for (int64_t column = 0; column < 3; ++column) {
    float sum = 0;
    for (int64_t c = 0; c < 32; ++c) sum += msa.profile[static_cast<size_t>(32 * column + c)];
    EXPECT_NEAR(sum, 1, 1e-6);
  }
}

TEST(Alignment, StockholmColumnsAreTheQuerys) {
  const Msa msa =
      read("# STOCKHOLM 1.0\n#=GF ID x\nq  A.C\nh/1 AdC\n\nq  -D\nh/1 E-\n#=GC RF x\n//\n", "ACD");
  ASSERT_EQ(msa.rows, 2);
  EXPECT_EQ(row(msa, 1), (std::vector<uint8_t>{0, 4, kGap}));
  EXPECT_EQ(deletions(msa, 1), (std::vector<uint8_t>{0, 1, 1}));  // d, then E
}

TEST(Alignment, A2mHasItsInsertionsSideBySide) {
  // Columns: A c/. D - E g/. F; the query lacks the fourth and has an insertion of its own.
  const std::string text =
      ">q\nA..D-EgF\n"
      ">1 letters where the query has none, and beside its insertion\nAccDKEkF\n"
      ">2\nA.c--E.-\n";
  const Msa msa = make_msa({{"x.a2m.gz", text}}, "ADEGF", Alphabet::protein, "chain A");
  ASSERT_EQ(msa.rows, 3);
  const auto letters = [](const Msa& of, int64_t r) {
    std::string out;
    for (const uint8_t restype : row(of, r)) out += letter_of_restype(restype);
    return out;
  };
  EXPECT_EQ(letters(msa, 0), "ADEGF");
  EXPECT_EQ(letters(msa, 1), "ADE-F");
  EXPECT_EQ(letters(msa, 2), "A-E--");
  const std::vector<uint8_t> expected = {0, 0, 0, 0, 0, 0, 2, 1, 0, 1, 0, 1, 0, 0, 0};
  EXPECT_EQ(msa.deletions, expected);
  const auto refused = [](const std::string& bad) -> std::string {
    try {
      make_msa({{"x.a2m", bad}}, "ADEGF", Alphabet::protein, "chain A");
    } catch (const BadInput& error) {
      return error.what();
    }
    return "(accepted)";
  };
  EXPECT_TRUE(has(refused(">q\nADEgF\n>1\nADEF\n"), "x.a2m:4: column 4 of the row '1' is aligned"));
  EXPECT_TRUE(has(refused(">q\nADEgF\n>1\nADE\n"), "x.a2m:4: the row '1' has 3 columns"));
  EXPECT_TRUE(has(refused(">q\nADEgF\n>1\nADE.FF\n"), "has 6 or more columns, the query 5"));
  // Without insertions of the query it says what an A3M says.
  const Msa plain =
      make_msa({{"x.a2m", ">q\nA.DEGF\n>1\nAkD-GF\n"}}, "ADEGF", Alphabet::protein, "chain A");
  const Msa a3m =
      make_msa({{"x.a3m", ">q\nADEGF\n>1\nAkD-GF\n"}}, "ADEGF", Alphabet::protein, "chain A");
  EXPECT_EQ(plain.classes, a3m.classes);
  EXPECT_EQ(plain.deletions, a3m.deletions);
}

TEST(Alignment, WrittenAsA3mItIsReadTheSame) {
  const Msa msa = read(">q\nACDX\n>1\naaA-eDX\n>2\nAC--\n", "ACDX");
  const Msa again = read(a3m_text("q", msa.classes, msa.deletions, msa.columns), "ACDX");
  EXPECT_EQ(again.classes, msa.classes);
  EXPECT_EQ(again.deletions, msa.deletions);
  for (const char* name : {"tr|A0A1|A0A1_FUNHE/1-90", "UniRef100_A0A1_8078/", "sp|P1|P1_9CAUD"}) {
    const Species species = species_of(name);
    ASSERT_NE(species, kNoSpecies) << name;
    EXPECT_EQ(species_of(name_with_species({species.data(), species.size()}, 7)), species) << name;
  }
}

TEST(Alignment, TheQueryIsReadOfTheFirstBytes) {
  const std::string text = "# a remark\n>q x\nAC\nD-E\n>1\nACDEF\n";
  const size_t second = text.find(">1");
  for (size_t size = 0; size <= text.size(); ++size) {
    const auto query = read_query_of_start({"x.a3m", text.substr(0, size)});
    EXPECT_EQ(query.value_or("none"), size <= second ? "none" : "ACDE") << size;
  }
  EXPECT_FALSE(read_query_of_start({"x.sto", "# STOCKHOLM 1.0\nq AC\n>x\n>y\n"}).has_value());
}

TEST(Alignment, FilesJoinInOrderAndShareTheirQuery) {
  const Msa msa = make_msa({{"a.a3m", ">q\nAC\n>1\nA-\n"}, {"b.a3m", ">q\nAC\n>1\nA-\n>2\n-C\n"}},
                           "AC", Alphabet::protein, "chain A");
  EXPECT_EQ(msa.rows, 3);
  EXPECT_EQ(msa.sources[1].rows_kept, 1);
}

std::string species(std::string_view name) {
  const Species found = species_of(name);
  return found == kNoSpecies ? "" : std::string(found.begin(), found.end());
}

TEST(Alignment, SpeciesStandInNames) {
  EXPECT_EQ(species("tr|A0A146SKV9|A0A146SKV9_FUNHE"), "FUNHE   ");
  EXPECT_EQ(species("sp|P0C2L1|A3X1_LOXLA/12-90"), "LOXLA   ");
  EXPECT_EQ(species("tr|A0A146SKV9_1|A0A146SKV9_9BACT/1-2"), "9BACT   ");
  EXPECT_EQ(species("tr|Q1|Q1_HUMAN_17"), "HUMAN   ");  // reduced BFD counts there
  EXPECT_EQ(species("UniRef100_UPI000B1A43EC_1463901/"), "1463901 ");
  for (const char* const name :
       {"", "q", "tr|A0A146SKV9", "tr|A|B", "tr|A|B_", "tr|A|B_TOOLONG", "tr|A|B_HUMAN_x", "sp||_X",
        "UniRef90_A0A146SKV9", "UniRef100_A_B", "UniRef100_A_123456789", "MGYP1_9606", "1abc_A"})
    EXPECT_EQ(species(name), "") << name;
}

TEST(Alignment, RowsForPairingKeepTheirOrderAndMeetTheMainOnes) {
  const std::string text =
      ">tr|Q|Q_HUMAN\nACD\n>tr|A|A_MOUSE\nA-D\n>nobody\nAAA\n>tr|B|B_HUMAN/1-3\nAggCC\n"
      ">tr|C|C_MOUSE\n---\n>tr|D|D_HUMAN\nACD\n>tr|A|A_MOUSE\nA-D\n";
  const Msa msa = make_msa({{"main.a3m", ">q\nACD\n>1\nCCC\n>2\nA-D\n"}}, "ACD", Alphabet::protein,
                           "chain A", {{"uniprot.a3m", text}});
  EXPECT_EQ(msa.rows, 3);  // and no profile but theirs
  EXPECT_FLOAT_EQ(msa.profile[4], 1.0F / 3);
  const PairingRows& pairing = msa.pairing;
  ASSERT_EQ(pairing.rows, 4);  // without the query, the unnamed and the empty; equal ones stay
  EXPECT_EQ(pairing.hit, (std::vector<int32_t>{1, 3, 5, 6}));
  EXPECT_EQ(pairing.main_row, (std::vector<int32_t>{2, -1, 0, 2}));
  EXPECT_EQ(pairing.species[1], species_of("tr|Q|Q_HUMAN"));
  EXPECT_EQ(pairing.deletions, (std::vector<uint8_t>{0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(msa.sources.back().rows_kept, 4);

  std::string many = ">q\nACD\n";
  for (int i = 0; i < 700; ++i) many += ">tr|A|A_MOUSE\nA-D\n";
  const Msa alone = make_msa({}, "ACD", Alphabet::protein, "chain A", {{"u.a3m", many}});
  EXPECT_EQ(alone.rows, 1);
  EXPECT_EQ(alone.pairing.rows, kMaxRowsOfSpecies);
  EXPECT_EQ(make_msa({}, "AGU", Alphabet::rna, "chain A", {{"u.a3m", ">q\nAGU\n"}}).rows, 1);
}

TEST(Alignment, NucleicLetters) {
  const Msa rna = read(">q\nAGCUN\n>1\nTYagcuN-A\n", "AGCUN", Alphabet::rna);
  EXPECT_EQ(row(rna, 0), (std::vector<uint8_t>{21, 22, 23, 24, 25}));
  EXPECT_EQ(row(rna, 1), (std::vector<uint8_t>{24, 25, 25, kGap, 21}));
  EXPECT_EQ(restype_of_letter('T', Alphabet::dna), 29);
  EXPECT_EQ(restype_of_letter('x', Alphabet::dna), 30);
}

TEST(Alignment, DeletionsSaturateInTheRowsAndNotInTheMean) {
  const Msa msa = read(">q\nAC\n>1\nA" + std::string(300, 'g') + "C\n", "AC");
  EXPECT_TRUE(msa.rows == 1);  // it is the query again once the insertion is gone
  const Msa other = read(">q\nAC\n>1\nG" + std::string(300, 'g') + "C\n", "AC");
  EXPECT_EQ(deletions(other, 1)[1], 255);
  EXPECT_FLOAT_EQ(other.deletion_mean[1], 150);
}

TEST(Alignment, UnknownLettersOnEitherSideFit) {
  EXPECT_EQ(row(read(">q\nAXD\n", "ACX"), 0), (std::vector<uint8_t>{0, 4, 20}));
  EXPECT_TRUE(is_query_of("AUD", "ACD", Alphabet::protein));
  EXPECT_FALSE(is_query_of("AC", "ACD", Alphabet::protein));
}

TEST(Alignment, BadFilesAreRefusedWithTheirPlace) {
  EXPECT_TRUE(has(refusal("", "ACD"), "x.a3m: the alignment is empty"));
  EXPECT_TRUE(has(refusal("\n\n", "ACD"), "empty"));
  EXPECT_TRUE(has(refusal("hello", "ACD"), "x.a3m:1"));
  EXPECT_TRUE(has(refusal(">q\nACD\n>1\nA*D\n", "ACD"), "x.a3m:4:2: odd character '*' (0x2a)"));
  EXPECT_TRUE(has(refusal(std::string(">q\nACD\n>1\nA\0D\n", 14), "ACD"), "(0x00)"));
  EXPECT_TRUE(has(refusal(">q\nACD\n>one\nAC\n", "ACD"), "x.a3m:4: the row 'one' has 2 columns"));
  EXPECT_TRUE(has(refusal(">q\nACD\n>1\n>2\nACD\n", "ACD"), "x.a3m:3: the row '1' has no letters"));
  EXPECT_TRUE(has(refusal("# STOCKHOLM 1.0\nq ACD\n", "ACD"), "without '//'"));
  EXPECT_TRUE(has(refusal("# STOCKHOLM 1.0\nq ACD\nh AC\n//\n", "ACD"), "x.a3m:3"));
  EXPECT_TRUE(has(refusal("# STOCKHOLM 1.0\n//\n", "ACD"), "empty"));
}

TEST(Alignment, OtherQueryIsShownBesideTheChain) {
  const std::string message = refusal(">q\nACDEF\n", "ACDGF");
  EXPECT_TRUE(has(message, "differs from chain A at position 4")) << message;
  EXPECT_TRUE(has(message, "chain ACDGF\n  query ACDEF\n           ^")) << message;
  EXPECT_TRUE(has(refusal(">q\nACD\n", "ACDE"), "position 4 (lengths 3 and 4)"));
}

TEST(Alignment, FuzzedFilesAreReadOrRefused) {
  Random random(1, 2, 3, Purpose::msa);
  const std::string a3m = ">q\nACDEF\n>1 x\nAcC-EF\n>2\n--DEF\n";
  const std::string sto = "# STOCKHOLM 1.0\nq ACDE.F\nh A-DEfF\n\n//\n";
  for (int round = 0; round < 5000; ++round) {
    std::string text = round % 2 == 0 ? a3m : sto;
    for (uint64_t i = random.below(4) + 1; i > 0; --i)
      text[random.below(text.size())] = static_cast<char>(random.below(256));
    if (round % 3 == 0) text.resize(random.below(text.size()));
    try {
      const Msa msa = read(text, "ACDEF");
      ASSERT_EQ(msa.classes.size(), static_cast<size_t>(msa.rows * 5));
      for (const uint8_t c : msa.classes) ASSERT_LT(c, 32);
    } catch (const BadInput&) {
    }
  }
}

}  // namespace
}  // namespace megafold
