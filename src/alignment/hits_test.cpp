// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "alignment/hits.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/errors.h"

namespace megafold {
namespace {

using Pairs = std::vector<std::array<int32_t, 2>>;

//                              0123456789012345678901
const std::string kQuery = "MNDRQKFLKAVAELHWCGYPTS";

std::vector<TemplateHit> read(const std::string& text) {
  return read_template_hits({"hits", text}, kQuery);
}

std::string refusal(const std::string& text) {
  try {
    read(text);
  } catch (const BadInput& error) {
    return error.what();
  }
  return "(accepted)";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Hits, EmptyFilesHaveNone) {
  EXPECT_TRUE(read("").empty());
  EXPECT_TRUE(read("\n\n").empty());
}

TEST(Hits, M8WithCigar) {
  const auto hits = read(
      "101\t6O25_A\t0.675\t8\t2\t1\t2\t8\t11\t18\t2.421E-38\t141\t3M2D1I3M\n"
      "101\t721p_B\t1.000\t4\t0\t0\t1\t4\t3\t6\t1E-3\t20\t4M\r\n");
  ASSERT_EQ(hits.size(), 2U);
  EXPECT_EQ(hits[0].entry, "6o25");
  EXPECT_EQ(hits[0].chain, "A");
  EXPECT_DOUBLE_EQ(hits[0].e_value, 2.421e-38);
  EXPECT_EQ(hits[0].first, 10);
  EXPECT_EQ(hits[0].last, 18);
  EXPECT_TRUE(hits[0].letters.empty());
  // D steps in the hit alone, I in the query alone.
  EXPECT_EQ(hits[0].pairs, (Pairs{{1, 10}, {2, 11}, {3, 12}, {5, 15}, {6, 16}, {7, 17}}));
  EXPECT_EQ(hits[1].pairs, (Pairs{{0, 2}, {1, 3}, {2, 4}, {3, 5}}));
  EXPECT_EQ(hits[1].line, 2);
}

TEST(Hits, M8WithoutCigar) {
  const auto hits = read(
      "q\tpdb|1ABC|AA\t100\t4\t0\t0\t1\t4\t3\t6\t0\t20\n"
      "q\t1abc\t90\t5\t0\t1\t1\t5\t3\t6\t0\t20\n");
  ASSERT_EQ(hits.size(), 2U);
  EXPECT_EQ(hits[0].entry, "1abc");
  EXPECT_EQ(hits[0].chain, "AA");
  EXPECT_TRUE(hits[0].is_aligned);  // no gaps: the ranges say it all
  EXPECT_EQ(hits[0].pairs.size(), 4U);
  EXPECT_FALSE(hits[1].is_aligned);  // a gap somewhere
  EXPECT_TRUE(hits[1].pairs.empty());
  EXPECT_EQ(hits[1].chain, "A");
}

TEST(Hits, M8Refusals) {
  const std::string good = "q\t1abc_A\t1\t4\t0\t0\t1\t4\t3\t6\t0\t20\t4M\n";
  EXPECT_TRUE(has(refusal(good + "q\t1abc_A\t1\n"), "hits:2: 3 columns"));
  EXPECT_TRUE(has(refusal("q\t1abc_A\t1\t4\t0\t0\t1\t23\t3\t25\t0\t20\n"), "of a query of 22"));
  EXPECT_TRUE(has(refusal("q\t1abc_A\t1\t4\t0\t0\t1\t4\t3\tsix\t0\t20\n"), "'six'"));
  EXPECT_TRUE(has(refusal("q\t1abc_A\t1\t4\t0\t0\t0\t4\t3\t6\t0\t20\n"), "residues 0 to 4"));
  EXPECT_TRUE(has(refusal("q\t1abc_A\t1\t4\t0\t0\t1\t4\t3\t6\t0\t20\t5M\n"), "CIGAR 5M"));
  EXPECT_TRUE(has(refusal("q\t1abc_A\t1\t4\t0\t0\t1\t4\t3\t6\t0\t20\t4Q\n"), "step 'Q'"));
  EXPECT_TRUE(has(refusal("q\t1abc_A\t1\t4\t0\t0\t1\t4\t3\t6\t0\t20\tM4\n"), "not a CIGAR"));
  EXPECT_TRUE(has(refusal("q\t1abc_A\t1\t4\t0\t0\t1\t4\t3\t6\t0\t20\t99999999999M\n"), "number"));
  EXPECT_TRUE(has(refusal("not a table at all\n"), "hits:1"));
}

const std::string kHhr =
    "Query         query\n"
    "Match_columns 22\n"
    "\n"
    " No Hit                             Prob E-value P-value  Score    SS Cols Query HMM\n"
    "  1 6T1Z_A Multidrug transporter   100.0 8.7E-49 3.3E-53  368.8   0.0   12    3-16\n"
    "\n"
    "No 1\n"
    ">6T1Z_A Multidrug transporter; membrane\n"
    "Probab=100.00  E-value=8.7e-49  Score=368.75  Aligned_cols=7  Identities=18%\n"
    "\n"
    "Q ss_pred             HHHH--HHH\n"
    "Q query             3 DRQK--FLK    9 (22)\n"
    "Q Consensus         3 dr~k--flk    9 (22)\n"
    "                      ||||  |||\n"
    "T Consensus         5 ~rqkaa--k   11 (390)\n"
    "T 6T1Z_A            5 NRQKaa--K   11 (390)\n"
    "T ss_dssp             HHHHHH--H\n"
    "Confidence            5678  789\n"
    "\n"
    "Q query            10 AVA   12 (22)\n"
    "T 6T1Z_A           12 AIA   14 (390)\n"
    "\n"
    "No 2\n"
    ">1abc\n"
    "Probab=10.00  E-value=3  Score=1\n"
    "\n"
    "Q query             1 MN    2 (22)\n"
    "T 1abc              1 MN    2 (20)\n"
    "\n"
    "Done!\n";

TEST(Hits, Hhr) {
  const auto hits = read(kHhr);
  ASSERT_EQ(hits.size(), 2U);
  EXPECT_EQ(hits[0].name, "6T1Z_A");
  EXPECT_EQ(hits[0].entry, "6t1z");
  EXPECT_DOUBLE_EQ(hits[0].e_value, 8.7e-49);
  EXPECT_EQ(hits[0].letters, "NRQKAAKAIA");
  EXPECT_EQ(hits[0].first, 4);
  EXPECT_EQ(hits[0].last, 14);
  EXPECT_EQ(hits[0].pairs,
            (Pairs{{2, 4}, {3, 5}, {4, 6}, {5, 7}, {8, 10}, {9, 11}, {10, 12}, {11, 13}}));
  EXPECT_EQ(hits[1].pairs, (Pairs{{0, 0}, {1, 1}}));
}

TEST(Hits, HhrRefusals) {
  const auto changed = [](const std::string& from, const std::string& to) {
    std::string text = kHhr;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  // Another query: its letters are told apart.
  EXPECT_TRUE(has(refusal(changed("3 DRQK--FLK", "3 DRWK--FLK")), "residue 5 is W here and Q"));
  EXPECT_TRUE(has(refusal(changed("9 (22)", "8 (22)")), "7 letters from residue 3 to 8"));
  EXPECT_TRUE(
      has(refusal(changed("12 AIA   14", "13 AIA   15")), "goes on at residue 13 after 11"));
  EXPECT_TRUE(has(refusal(changed("T 1abc              1 MN    2 (20)\n", "")), "no alignment"));
  EXPECT_TRUE(
      has(refusal(changed("T 6T1Z_A           12 AIA   14", "T 6T1Z_A           12 AI   13")),
          "2 columns"));
  EXPECT_TRUE(has(refusal(changed("E-value=3", "E-value=x")), "'x' is not a number"));
  EXPECT_TRUE(has(refusal(kHhr.substr(0, kHhr.find("Q query"))), "no alignment"));
}

TEST(Hits, StockholmOfAProfileByHand) {
  // 22 match states, an insertion after the fourth; the second hit is a nucleic acid.
  const auto hits = read(
      "# STOCKHOLM 1.0\n"
      "#=GS 2jsf_A/4-9    DE [subseq from] mol:protein length:117  envelope\n"
      "#=GS 9zzz_B/1-4    DE mol:na length:4\n"
      "\n"
      "2jsf_A/4-9          --DRa.QKF---\n"
      "#=GR 2jsf_A/4-9  PP ..999.999...\n"
      "9zzz_B/1-4          ACGU..------\n"
      "#=GC RF             xxxx..xxxxxx\n"
      "\n"
      "2jsf_A/4-9          ------------\n"
      "9zzz_B/1-4          ------------\n"
      "#=GC RF             xxxxxxxxxxxx\n"
      "//\n");
  ASSERT_EQ(hits.size(), 1U);
  EXPECT_EQ(hits[0].name, "2jsf_A");
  EXPECT_EQ(hits[0].letters, "DRAQKF");
  EXPECT_EQ(hits[0].first, 3);
  EXPECT_EQ(hits[0].last, 9);
  EXPECT_EQ(hits[0].pairs, (Pairs{{2, 3}, {3, 4}, {4, 6}, {5, 7}, {6, 8}}));  // A is an insertion
  EXPECT_TRUE(std::isnan(hits[0].e_value));
}

TEST(Hits, StockholmWithTheQueryFirst) {
  const auto hits = read(
      "# STOCKHOLM 1.0\n"
      "query        mn.DRQKFLKAVAELHWCGYPTS\n"
      "7cnw_A/5-8   --aDRQ-----------------\n"
      "//\n");
  ASSERT_EQ(hits.size(), 1U);
  EXPECT_EQ(hits[0].pairs, (Pairs{{2, 5}, {3, 6}, {4, 7}}));
}

TEST(Hits, StockholmOfAnotherProfileMustBeAlignedAnew) {
  const auto hits = read(
      "# STOCKHOLM 1.0\n"
      "2jsf_A/4-8   LQLKG--\n"
      "4ut6_A/1-7   kLQLKGM\n"
      "//\n");
  ASSERT_EQ(hits.size(), 2U);
  EXPECT_FALSE(hits[0].is_aligned);
  EXPECT_TRUE(hits[1].pairs.empty());
  EXPECT_EQ(hits[1].letters, "KLQLKGM");
}

TEST(Hits, A3m) {
  // A query with a gap: the template's residue there is beside nothing.
  const auto hits = read(
      ">query\nMNDRQ-KFLKAVAELHWCGYPTS\n"
      ">2jsf_A/4-7 [subseq from] mol:protein length:117\n--DRaQ-----------------\n-\n"
      ">4ut6_A/2-4\nM---QW-----------------\n");
  ASSERT_EQ(hits.size(), 2U);
  EXPECT_EQ(hits[0].pairs, (Pairs{{2, 3}, {3, 4}, {4, 6}}));
  EXPECT_EQ(hits[1].pairs, (Pairs{{0, 1}, {4, 2}}));
}

TEST(Hits, UnalignedFastaMustBeAlignedAnew) {
  const auto hits = read(">2jsf_A\nLQLKG\n>4ut6_A/2-4\nQWE\n");
  ASSERT_EQ(hits.size(), 2U);
  EXPECT_FALSE(hits[0].is_aligned);
  EXPECT_EQ(hits[0].first, 0);  // no place: the letters are to be found in the chain
  EXPECT_EQ(hits[1].first, 1);
}

TEST(Hits, APartOfTheQueryFirst) {
  const auto hits = read(">7cnw_A/3-12\nDRQKFLKAVA\n>2jsf_A/1-2\nDR--------\n");
  ASSERT_EQ(hits.size(), 2U);
  EXPECT_EQ(hits[0].pairs.front(), (std::array<int32_t, 2>{2, 2}));
  EXPECT_EQ(hits[1].pairs, (Pairs{{2, 0}, {3, 1}}));
}

TEST(Hits, RowRefusals) {
  EXPECT_TRUE(has(refusal(">1abc_A/2-9\nMND\n"), "'1abc_A/2-9' has 3 letters"));
  EXPECT_TRUE(has(refusal(">1abc_A/x-9\nMND\n"), "should end in a range"));
  EXPECT_TRUE(has(refusal(">1abc_A/1-3\nM*ND\n"), "odd character 0x2a"));
  EXPECT_TRUE(
      has(refusal("# STOCKHOLM 1.0\na_A/1-2 MN\nb_A/1-2 MN-\n//\n"), "3 columns, the first 2"));
  EXPECT_TRUE(has(refusal("# STOCKHOLM 1.0\na_A/1-2 MN\n#=GC RF xxx\n//\n"), "#=GC RF"));
  EXPECT_TRUE(has(refusal("# STOCKHOLM 1.0\na_A/1-2 MN\n"), "without '//'"));
}

TEST(Hits, M8RowIsReadAsItWasWritten) {
  const auto hits = read("q\t6O25_A\t0.675\t8\t2\t1\t2\t8\t11\t18\t2.421E-38\t141\t3M2D1I3M\n");
  const std::string row = m8_row("q", hits[0]);
  EXPECT_EQ(row, "q\t6O25_A\t0\t6\t0\t0\t2\t8\t11\t18\t2.421e-38\t0\t3M1I2D3M\n");
  const auto again = read(row);
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].pairs, hits[0].pairs);
  TemplateHit none;
  EXPECT_THROW(static_cast<void>(m8_row("q", none)), BadInput);
}

TEST(Hits, RowsOfHmmerBesideTheQuery) {
  const auto rows = [](const std::string& body) {
    return rows_beside_query({"found", "# STOCKHOLM 1.0\n" + body + "//\n"}, "q", "ACDEF");
  };
  // By the query's own row: its gap is a column that it does not have.
  EXPECT_EQ(rows("query AC-DEF\nx/3-6 -CwDE.\n"), ">q\nACDEF\n>x/3-6\n-CwDE-\n");
  // By the profile's match states.
  EXPECT_EQ(rows("x/1-5 ACwD.E\ny/2-3 .C-D..\n#=GC RF xx.xxx\n"),
            ">q\nACDEF\n>x/1-5\nACwD-E\n>y/2-3\n-CD--\n");
  EXPECT_EQ(rows_beside_query({"found", "\n"}, "q", "ACDEF"), ">q\nACDEF\n");
  EXPECT_THROW(rows("x/1-3 WWW\n#=GC RF xxx\n"), BadInput);
  EXPECT_THROW(rows("query ACDEF\nx/1-6 ACDEFG\n"), BadInput);
}

}  // namespace
}  // namespace megafold
