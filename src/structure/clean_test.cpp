// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/clean.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "structure/test_entry.h"

namespace megafold {
namespace {

using testing::demo_dictionary;
using testing::EntryText;
using testing::was_removed;
using Where = EntryText::Where;

const std::vector<std::string> kFive = {"ALA", "GLY", "SER", "ALA", "LEU"};
const char* const kXray = "_exptl.method 'X-RAY DIFFRACTION'\n";

EntryText five(const std::vector<int>& unresolved = {}) {
  EntryText text;
  text.polymer_entity("1", "polypeptide(L)", kFive).protein("A", "1", kFive, 0, unresolved);
  return text;
}

TEST(Clean, KeepsAChain) {
  const Cleaned cleaned = five().clean();
  EXPECT_EQ(cleaned.dropped, "");
  ASSERT_EQ(cleaned.structure.chains.size(), 1U);
  const Chain& chain = cleaned.structure.chains[0];
  EXPECT_EQ(chain.type, ChainType::protein);
  ASSERT_EQ(chain.residues.size(), 5U);
  EXPECT_EQ(chain.residues[0].auth_seq_id, 101);
  // ALA without OXT, then the last one with it, all heavy atoms there in the dictionary's order.
  EXPECT_EQ(chain.residues[0].atoms.size(), 5U);
  EXPECT_EQ(chain.residues[4].atoms.size(), 9U);
  EXPECT_EQ(chain.residues[4].find("OXT")->resolved, false);
  EXPECT_EQ(chain.residues[2].find("OG")->resolved, false);
  EXPECT_TRUE(chain.residues[2].find("CB")->resolved);
  EXPECT_EQ(cleaned.structure.bonds.size(), 4U);  // the peptide bonds
}

/// An entry to predict: a protein, a ligand and a bond between them, and no coordinates.
EntryText to_predict(const std::string& bond_atom = "SG") {
  const std::vector<std::string> codes = {"CYS", "GLY"};
  return EntryText()
      .polymer_entity("1", "polypeptide(L)", codes)
      .ligand_entity("2")
      .more(
          "loop_\n_struct_asym.id\n_struct_asym.entity_id\nA 1\nL 2\n#\n"
          "loop_\n_pdbx_nonpoly_scheme.asym_id\n_pdbx_nonpoly_scheme.entity_id\n"
          "_pdbx_nonpoly_scheme.mon_id\n_pdbx_nonpoly_scheme.pdb_seq_num\nL 2 EPE 1\n#\n")
      .more(fmt::format(
          "loop_\n_struct_conn.id\n_struct_conn.conn_type_id\n_struct_conn.ptnr1_label_asym_id\n"
          "_struct_conn.ptnr1_label_comp_id\n_struct_conn.ptnr1_label_seq_id\n"
          "_struct_conn.ptnr1_auth_seq_id\n_struct_conn.ptnr1_label_atom_id\n"
          "_struct_conn.ptnr2_label_asym_id\n_struct_conn.ptnr2_label_comp_id\n"
          "_struct_conn.ptnr2_label_seq_id\n_struct_conn.ptnr2_auth_seq_id\n"
          "_struct_conn.ptnr2_label_atom_id\nc covale A CYS 1 1 {} L EPE . 1 C2\n#\n",
          bond_atom));
}

TEST(Clean, AnEntryToPredictHasItsAtomsUnresolved) {
  const Cleaned cleaned = to_predict().clean();
  EXPECT_EQ(cleaned.dropped, "");
  ASSERT_EQ(cleaned.structure.chains.size(), 2U);
  EXPECT_EQ(cleaned.structure.chains[0].type, ChainType::protein);
  EXPECT_EQ(cleaned.structure.chains[0].residues.size(), 2U);  // fewer than 4, and kept
  EXPECT_EQ(cleaned.structure.chains[1].type, ChainType::ligand);
  EXPECT_EQ(cleaned.structure.chains[1].residues[0].atoms.size(), 15U);  // EPE
  for (const Chain& chain : cleaned.structure.chains)
    for (const Residue& residue : chain.residues) EXPECT_FALSE(residue.any_resolved());
  EXPECT_EQ(cleaned.structure.bonds.size(), 2U);  // the peptide's and the ligand's
  // A file that was cut off before its coordinates looks the same, so it is said.
  ASSERT_EQ(cleaned.structure.inferred.size(), 1U);
  EXPECT_EQ(cleaned.structure.inferred[0], "no coordinates: an entry to predict, none to train on");
}

TEST(Clean, ABondThatAnEntryToPredictCannotHaveIsAnError) {
  try {
    (void)to_predict("SD").clean();
    FAIL();
  } catch (const BadInput& error) {
    EXPECT_NE(std::string(error.what()).find("the bond of A CYS 1 SD to L EPE 1 C2"),
              std::string::npos)
        << error.what();
  }
}

TEST(Clean, WithoutCoordinatesAndChainsThereIsNoEntry) {
  try {
    (void)EntryText().polymer_entity("1", "polypeptide(L)", kFive).clean();
    FAIL();
  } catch (const BadInput& error) {
    EXPECT_NE(std::string(error.what()).find("no coordinates"), std::string::npos);
  }
}

TEST(Clean, MissingResiduesComeFromTheSequence) {
  const Chain chain = five({3}).clean().structure.chains.at(0);
  ASSERT_EQ(chain.residues.size(), 5U);
  EXPECT_EQ(chain.residues[2].code, ShortName("SER"));
  EXPECT_FALSE(chain.residues[2].any_resolved());
  EXPECT_EQ(chain.residues[2].auth_seq_id, 103);  // continues the neighbour's numbers
}

TEST(Clean, ShortChainsLeave) {
  const Cleaned cleaned = five({1, 2}).clean();  // three resolved residues
  EXPECT_TRUE(was_removed(cleaned, "chain A", "3 resolved residues"));
  EXPECT_NE(cleaned.dropped, "");
}

TEST(Clean, UnknownChainsLeave) {
  const std::vector<std::string> unknown(6, "UNK");
  EntryText text = five();
  text.polymer_entity("2", "polypeptide(L)", unknown).protein("B", "2", unknown, 30);
  const Cleaned cleaned = text.clean();
  EXPECT_EQ(cleaned.structure.chains.size(), 1U);
  EXPECT_TRUE(was_removed(cleaned, "chain B", "unknown"));
}

TEST(Clean, SelenomethionineBecomesMethionine) {
  std::vector<std::string> codes = kFive;
  codes[1] = "MSE";
  EntryText text;
  text.polymer_entity("1", "polypeptide(L)", codes).protein("A", "1", codes);
  text.atom("SE", "SE", 7.6, -3, 1, {"A", "1", "2", "102", "MSE"});
  const Residue residue = text.clean().structure.chains.at(0).residues.at(1);
  EXPECT_EQ(residue.code, ShortName("MET"));
  ASSERT_NE(residue.find("SD"), nullptr);
  EXPECT_TRUE(residue.find("SD")->resolved);
  EXPECT_EQ(residue.find("SD")->element, 16);
  EXPECT_EQ(residue.find("SE"), nullptr);
}

TEST(Clean, ArginineNamesItsNearerNitrogenNh1) {
  std::vector<std::string> codes = kFive;
  codes[1] = "ARG";
  EntryText text;
  text.polymer_entity("1", "polypeptide(L)", codes).protein("A", "1", codes);
  const Where w{"A", "1", "2", "102", "ARG"};
  text.atom("CD", "C", 7, -4, 0, w).atom("NH1", "N", 7, -9, 0, w).atom("NH2", "N", 7, -7, 0, w);
  const Residue residue = text.clean().structure.chains.at(0).residues.at(1);
  EXPECT_FLOAT_EQ(residue.find("NH1")->position[1], -7);
  EXPECT_FLOAT_EQ(residue.find("NH2")->position[1], -9);
}

TEST(Clean, WatersHydrogensAndAidsLeave) {
  EntryText text = five();
  text.more(kXray).ligand_entity("2").ligand_entity("3").ligand_entity("4", "water");
  text.atom("H", "H", 3, 1, 1, {"A", "1", "1", "101", "ALA"});
  text.atom("S", "S", 50, 0, 0, {"B", "2", ".", "201", "SO4"});
  text.atom("ZN", "ZN", 60, 0, 0, {"C", "3", ".", "202", "ZN"});
  text.atom("O", "O", 70, 0, 0, {"D", "4", ".", "301", "HOH"});
  const Cleaned cleaned = text.clean();
  ASSERT_EQ(cleaned.structure.chains.size(), 2U);
  EXPECT_EQ(cleaned.structure.chains[1].type, ChainType::ligand);
  EXPECT_EQ(cleaned.structure.chains[1].residues[0].code, ShortName("ZN"));
  EXPECT_TRUE(was_removed(cleaned, "1 x SO4", "aid"));
  EXPECT_TRUE(was_removed(cleaned, "1 x HOH", "water"));
  EXPECT_EQ(cleaned.structure.chains[0].residues[0].find("H"), nullptr);
}

TEST(Clean, AidsStayInSolution) {
  EntryText text = five();
  text.more("_exptl.method 'SOLUTION NMR'\n").ligand_entity("2");
  text.atom("S", "S", 50, 0, 0, {"B", "2", ".", "201", "SO4"});
  EXPECT_EQ(text.clean().structure.chains.size(), 2U);
}

TEST(Clean, ClashingChainLeaves) {
  EntryText text = five();
  // One more copy, half an Angstrom beside the first; and a larger one far away stays.
  text.protein("B", "1", kFive, 0.5, {5}).protein("C", "1", kFive, 40);
  const Cleaned cleaned = text.clean();
  ASSERT_EQ(cleaned.structure.chains.size(), 2U);
  EXPECT_TRUE(was_removed(cleaned, "chain B", "clash"));  // the larger share of its atoms
  EXPECT_EQ(cleaned.structure.chains[1].label, "C");
}

TEST(Clean, BrokenChainLeaves) {
  EntryText text = five();
  std::vector<std::string> codes = kFive;
  text.polymer_entity("2", "polypeptide(L)", codes).protein("B", "2", codes, 40, {5});
  text.atom("CA", "C", 100, 40, 0, {"B", "2", "5", "105", "LEU"});
  const Cleaned cleaned = text.clean();
  EXPECT_TRUE(was_removed(cleaned, "chain B", "CA of residues 4 and 5"));
  EXPECT_EQ(cleaned.structure.chains.size(), 1U);
}

TEST(Clean, ForeignAtomsLeave) {
  EntryText text = five();
  text.atom("XX", "C", 3, 3, 3, {"A", "1", "1", "101", "ALA"});
  EXPECT_TRUE(was_removed(text.clean(), "1 atoms", "not in the component's definition"));
}

TEST(Clean, UnknownComponentIsAnError) {
  EntryText text = five();
  text.ligand_entity("2").atom("C1", "C", 50, 0, 0, {"B", "2", ".", "201", "Q9Q"});
  try {
    (void)text.clean();
    FAIL() << "accepted a component that no dictionary has";
  } catch (const BadInput& error) {
    EXPECT_NE(std::string(error.what()).find("chain B residue Q9Q 201"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("--ccd"), std::string::npos);
  }
}

TEST(Clean, AltlocsByOccupancy) {
  EntryText text = five();
  const auto serine = [](const char* altloc, double occupancy) {
    return Where{"A", "1", "3", "103", "SER", altloc, occupancy};
  };
  text.atom("OG", "O", 11, -2, 1, serine("A", 0.4)).atom("OG", "O", 11, -2, 2, serine("B", 0.6));
  EXPECT_FLOAT_EQ(text.clean().structure.chains.at(0).residues.at(2).find("OG")->position[2], 2);
  EntryText tie = five();  // equal: the first in the alphabet, whatever the file's order
  tie.atom("OG", "O", 11, -2, 2, serine("B", 0.5)).atom("OG", "O", 11, -2, 1, serine("A", 0.5));
  EXPECT_FLOAT_EQ(tie.clean().structure.chains.at(0).residues.at(2).find("OG")->position[2], 1);
}

TEST(Clean, MicroheterogeneityByOccupancy) {
  EntryText text = five({3});
  for (const char* name : {"N", "CA", "C", "O"}) {
    text.atom(name, name, 11, 0, 0, {"A", "1", "3", "103", "SER", "A", 0.3});
    text.atom(name == std::string("CA") ? "CA" : name, "C", 11, 0, 0,
              {"A", "1", "3", "103", "THR", "B", 0.7});
  }
  EXPECT_EQ(text.clean().structure.chains.at(0).residues.at(2).code, ShortName("THR"));
}

TEST(Clean, UnoccupiedEntryIsDropped) {
  EntryText text;
  text.polymer_entity("1", "polypeptide(L)", kFive);
  text.atom("CA", "C", 0, 0, 0, {"A", "1", "1", "1", "ALA", ".", 0});
  EXPECT_EQ(text.clean().dropped, "every atom has occupancy 0");
}

TEST(Clean, AssemblyProductsApplyTheRightFactorFirst) {
  EntryText text = five();
  text.more(
      "loop_\n_pdbx_struct_assembly_gen.assembly_id\n_pdbx_struct_assembly_gen.oper_expression\n"
      "_pdbx_struct_assembly_gen.asym_id_list\n2 1 A\n1 '(1,X)(Y)' A\n");
  std::string rows;
  const auto operation = [&](const char* id, const char* matrix, const char* shift) {
    rows += fmt::format("{} {} {}\n", id, matrix, shift);
  };
  operation("1", "1 0 0 0 1 0 0 0 1", "0 0 0");
  operation("X", "0 -1 0 1 0 0 0 0 1", "0 0 0");  // 90 degrees about z
  operation("Y", "1 0 0 0 1 0 0 0 1", "100 0 0");
  std::string head = "loop_\n_pdbx_struct_oper_list.id\n";
  for (int i = 1; i <= 3; ++i)
    for (int j = 1; j <= 3; ++j)
      head += fmt::format("_pdbx_struct_oper_list.matrix[{}][{}]\n", i, j);
  for (int i = 1; i <= 3; ++i) head += fmt::format("_pdbx_struct_oper_list.vector[{}]\n", i);
  text.more(head + rows);
  const Structure structure = text.clean().structure;
  ASSERT_EQ(structure.chains.size(), 2U);
  EXPECT_EQ(structure.chains[0].label, "A");
  EXPECT_EQ(structure.chains[1].label, "A-2");
  EXPECT_EQ(structure.chains[1].origin, "A");
  const auto& first = structure.chains[0].residues[0].find("CA")->position;
  const auto& second = structure.chains[1].residues[0].find("CA")->position;
  EXPECT_NEAR(first[0], 103.8, 1e-4);
  EXPECT_NEAR(second[1], 103.8, 1e-4);  // shifted, then turned
  EXPECT_NEAR(second[0], 0, 1e-4);
}

std::string connection(const char* type, const char* a, const char* b) {
  return fmt::format(
      "loop_\n_struct_conn.conn_type_id\n_struct_conn.ptnr1_label_asym_id\n"
      "_struct_conn.ptnr1_label_comp_id\n_struct_conn.ptnr1_label_seq_id\n"
      "_struct_conn.ptnr1_auth_seq_id\n_struct_conn.ptnr1_label_atom_id\n"
      "_struct_conn.ptnr2_label_asym_id\n_struct_conn.ptnr2_label_comp_id\n"
      "_struct_conn.ptnr2_label_seq_id\n_struct_conn.ptnr2_auth_seq_id\n"
      "_struct_conn.ptnr2_label_atom_id\n{} {} {}\n",
      type, a, b);
}

EntryText glycosylated(const char* type) {
  std::vector<std::string> codes = kFive;
  codes[2] = "ASN";
  EntryText text;
  text.polymer_entity("1", "polypeptide(L)", codes).protein("A", "1", codes).ligand_entity("2");
  text.atom("ND2", "N", 11.4, -4, 0, {"A", "1", "3", "103", "ASN"});
  text.atom("C1", "C", 11.4, -5.4, 0, {"B", "2", ".", "201", "NAG"});
  text.atom("O1", "O", 11.4, -6.8, 0, {"B", "2", ".", "201", "NAG"});
  text.more(connection(type, "A ASN 3 103 ND2", "B NAG . 201 C1"));
  return text;
}

TEST(Clean, BoundGlycanLosesItsLeavingAtom) {
  const Structure structure = glycosylated("covale").clean().structure;
  ASSERT_EQ(structure.chains.size(), 2U);
  EXPECT_EQ(structure.bonds.size(), 5U);  // four peptide bonds and the glycan's
  EXPECT_EQ(structure.chains[1].residues[0].find("O1"), nullptr);
  EXPECT_NE(structure.chains[1].residues[0].find("O4"), nullptr);
}

TEST(Clean, MetalContactsBetweenChainsAreNoBonds) {
  EXPECT_EQ(glycosylated("metalc").clean().structure.bonds.size(), 4U);
}

TEST(Clean, BondThatACopyLacksLeaves) {
  EntryText text = glycosylated("covale");
  std::vector<std::string> codes = kFive;
  codes[2] = "ASN";
  text.protein("C", "1", codes, 60);  // a second copy without the glycan
  const Structure structure = text.clean().structure;
  ASSERT_EQ(structure.chains.size(), 3U);
  EXPECT_EQ(structure.bonds.size(), 8U);  // peptide bonds alone
}

TEST(Clean, LigandLeavesWithItsPolymer) {
  EntryText text = glycosylated("covale");
  text.polymer_entity("3", "polypeptide(L)", kFive).protein("C", "3", kFive, 60);
  text.atom("CA", "C", 3.8, 90, 0, {"A", "1", "1", "101", "ALA"});  // second CA: not the first kept
  FileEntry entry = text.read();
  for (Atom& atom : entry.chains[0].residues[1].atoms) atom.position[2] = 30;  // breaks the chain
  const Cleaned cleaned = clean(std::move(entry), demo_dictionary());
  EXPECT_TRUE(was_removed(cleaned, "chain A", "CA of residues"));
  EXPECT_TRUE(was_removed(cleaned, "chain B", "bound to chain A"));
  EXPECT_EQ(cleaned.structure.chains.size(), 1U);
}

TEST(Clean, FileWithoutEntitiesIsRead) {
  // As programs write it that put a chain's ligands and waters under its own label.
  EntryText text;
  for (size_t i = 0; i < kFive.size(); ++i)
    text.atom("CA", "C", 3.8 * static_cast<double>(i), 0, 0,
              {"A", "?", std::to_string(i + 1), std::to_string(i + 1), kFive[i]});
  text.atom("MG", "MG", 50, 0, 0, {"A", "?", "6", "167", "MG"});
  const Structure structure = text.clean().structure;
  ASSERT_EQ(structure.chains.size(), 2U);
  EXPECT_EQ(structure.chains[0].type, ChainType::protein);
  EXPECT_EQ(structure.chains[0].sequence.size(), 5U);
  EXPECT_EQ(structure.chains[1].type, ChainType::ligand);
  EXPECT_EQ(structure.chains[1].label, "A.MG167");
}

}  // namespace
}  // namespace megafold
