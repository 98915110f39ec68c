// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Files as other programs write them. tests/oracle/ and docs/data.md say what was seen on real
// ones.
#include "structure/infer.h"

#include <gtest/gtest.h>

#include "structure/test_entry.h"

namespace megafold {
namespace {

using testing::demo_dictionary;

/// Only _atom_site, as Biopython and PyMOL write it.
class Bare {
 public:
  struct Place {
    std::string label, auth, seq, number;
    std::string ins = "?";
    std::string group = "ATOM";
  };
  Bare& residue(const std::string& code, const Place& at, double x, double y = 0) {
    const auto add = [&](const char* name, const char* element, double dx, double dy) {
      rows_ += fmt::format("{} {} {} {} . {} {} ? {} {} {:.3f} {:.3f} 0.000 1.00 {} {} 1\n",
                           at.group, ++count_, symbols_ ? element : "?", name, code, at.label,
                           at.seq, at.ins, x + dx, y + dy, at.number, at.auth);
    };
    // C to the next N: 1.33 A when residues follow each other by 3.8 A.
    add("N", "N", -1.2, 0.4);
    add("CA", "C", 0, 0);
    add("C", "C", 1.27, 0.4);
    add("O", "O", 1.3, 1.6);
    add("HA", "H", 0, 1);
    return *this;
  }
  Bare& without_symbols() {
    symbols_ = false;
    return *this;
  }
  [[nodiscard]] Cleaned clean() const {
    const std::string text =
        "data_x\nloop_\n_atom_site.group_PDB\n_atom_site.id\n_atom_site.type_symbol\n"
        "_atom_site.label_atom_id\n_atom_site.label_alt_id\n_atom_site.label_comp_id\n"
        "_atom_site.label_asym_id\n_atom_site.label_entity_id\n_atom_site.label_seq_id\n"
        "_atom_site.pdbx_PDB_ins_code\n_atom_site.Cartn_x\n_atom_site.Cartn_y\n"
        "_atom_site.Cartn_z\n_atom_site.occupancy\n_atom_site.auth_seq_id\n"
        "_atom_site.auth_asym_id\n_atom_site.pdbx_PDB_model_num\n" +
        rows_;
    return megafold::clean(read_entry(*Document::parse(text, "odd.cif"), "odd"), demo_dictionary());
  }

 private:
  std::string rows_;
  int count_ = 0;
  bool symbols_ = true;
};

std::vector<int32_t> numbers(const Chain& chain) {
  std::vector<int32_t> out;
  for (const Residue& residue : chain.residues) out.push_back(residue.seq_id);
  return out;
}

bool said(const Cleaned& cleaned, const std::string& part) {
  for (const std::string& note : cleaned.structure.inferred)
    if (note.find(part) != std::string::npos) return true;
  return false;
}

TEST(Infer, AModifiedResidueDoesNotCutItsChain) {
  // Biopython: a label for every run of ATOM or HETATM, no number for HETATM.
  Bare file;
  file.residue("ALA", {"A", "X", "1", "1"}, 0).residue("GLY", {"A", "X", "2", "2"}, 3.8);
  file.residue("MSE", {"B", "X", ".", "3", "?", "HETATM"}, 7.6);
  file.residue("SER", {"C", "X", "4", "4"}, 11.4).residue("ALA", {"C", "X", "5", "5"}, 15.2);
  const Cleaned cleaned = file.clean();
  ASSERT_EQ(cleaned.structure.chains.size(), 1U) << cleaned.dropped;
  const Chain& chain = cleaned.structure.chains[0];
  EXPECT_EQ(numbers(chain), (std::vector<int32_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(chain.residues[2].code, ShortName("MET"));
  EXPECT_EQ(cleaned.structure.bonds.size(), 4U);
  EXPECT_TRUE(said(cleaned, "author's names"));
}

TEST(Infer, InsertionCodesCountOn) {
  Bare file;
  file.residue("ALA", {"A", "A", "52", "52"}, 0).residue("GLY", {"A", "A", "52", "52", "A"}, 3.8);
  file.residue("SER", {"A", "A", "53", "53"}, 7.6);
  // Numbers skipped without a gap in the chain, then a gap of one number that is a real break.
  file.residue("ALA", {"A", "A", "60", "60"}, 11.4).residue("LEU", {"A", "A", "63", "63"}, 30);
  EXPECT_EQ(numbers(file.clean().structure.chains.at(0)), (std::vector<int32_t>{1, 2, 3, 4, 7}));
}

TEST(Infer, LabelsThatCountOverABreakAreNoPlaces) {
  // Biopython's test of 7CFN: labels 1 to n over what is there; a loop of 144 residues is not.
  Bare file;
  const std::vector<std::string> codes = {"ALA", "GLY", "SER", "ALA", "LEU", "GLY"};
  for (int i = 0; i < 6; ++i)
    file.residue(codes[static_cast<size_t>(i)],
                 {"A", "A", std::to_string(i + 1), std::to_string(i < 3 ? i + 10 : i + 57)},
                 3.8 * i + (i < 3 ? 0 : 15));
  const Cleaned cleaned = file.clean();
  ASSERT_EQ(cleaned.structure.chains.size(), 1U) << cleaned.dropped;
  EXPECT_EQ(numbers(cleaned.structure.chains[0]), (std::vector<int32_t>{10, 11, 12, 60, 61, 62}));
  EXPECT_TRUE(said(cleaned, "author's numbers"));
}

TEST(Infer, ADeclaredPolymerNeedsNoNumbersAndNoBonds) {
  // gemmi, from a PDB file of CA atoms: an entity of type polymer, no sequence, no label_seq_id,
  // and an assembly that names no chain.
  std::string text =
      "data_x\n_entity.id 1\n_entity.type polymer\nloop_\n_struct_asym.id\n_struct_asym.entity_id\n"
      "Axp 1\nloop_\n_pdbx_struct_assembly_gen.assembly_id\n"
      "_pdbx_struct_assembly_gen.oper_expression\n_pdbx_struct_assembly_gen.asym_id_list\n"
      "1 1 Axp,\nloop_\n_pdbx_struct_oper_list.id\n_pdbx_struct_oper_list.vector[1]\n1 0\nloop_\n"
      "_atom_site.group_PDB\n_atom_site.type_symbol\n_atom_site.label_atom_id\n"
      "_atom_site.label_comp_id\n_atom_site.label_asym_id\n_atom_site.label_entity_id\n"
      "_atom_site.label_seq_id\n_atom_site.Cartn_x\n_atom_site.Cartn_y\n_atom_site.Cartn_z\n"
      "_atom_site.auth_seq_id\n_atom_site.auth_asym_id\n";
  for (int i = 0; i < 5; ++i)
    text += fmt::format("ATOM C CA ALA Axp 1 . {:.1f} 0.0 0.0 {} A\n", 3.8 * i, i + 1);
  text += "HETATM C C1 NAG . . . 0.0 40.0 0.0 1 B\n";
  const Cleaned cleaned =
      clean(read_entry(*Document::parse(text, "ca.cif"), "ca"), demo_dictionary());
  ASSERT_EQ(cleaned.structure.chains.size(), 2U) << cleaned.dropped;
  EXPECT_EQ(cleaned.structure.chains[0].type, ChainType::protein);
  EXPECT_EQ(numbers(cleaned.structure.chains[0]), (std::vector<int32_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(cleaned.structure.chains[1].auth, "B");
}

TEST(Infer, CopiesShareWhatEachResolves) {
  Bare file;
  const std::vector<std::string> codes = {"ALA", "GLY", "SER", "ALA", "LEU", "GLY"};
  for (int i = 0; i < 6; ++i) {
    const std::string a = std::to_string(i + 1), b = std::to_string(i + 501);
    if (i != 5) file.residue(codes[static_cast<size_t>(i)], {"A", "A", a, a}, 3.8 * i);
    if (i != 0) file.residue(codes[static_cast<size_t>(i)], {"B", "B", b, b}, 3.8 * i, 30);
  }
  const Cleaned cleaned = file.clean();
  ASSERT_EQ(cleaned.structure.chains.size(), 2U);
  const Chain &a = cleaned.structure.chains[0], &b = cleaned.structure.chains[1];
  EXPECT_EQ(a.sequence, b.sequence);  // one entity
  EXPECT_EQ(a.residues.size(), 6U);
  EXPECT_EQ(b.residues.size(), 5U + (b.residues[0].any_resolved() ? 0U : 1U));
  EXPECT_TRUE(said(cleaned, "chains A B"));
}

TEST(Infer, AFreeAminoAcidIsALigand) {
  Bare file;
  for (int i = 0; i < 5; ++i) {
    const std::string n = std::to_string(i + 1);
    file.residue("ALA", {"A", "A", n, n}, 3.8 * i);
  }
  file.residue("GLU", {"A", "A", "401", "401", "?", "HETATM"}, 5, 40);
  const Cleaned cleaned = file.clean();
  ASSERT_EQ(cleaned.structure.chains.size(), 2U);
  EXPECT_EQ(cleaned.structure.chains[1].type, ChainType::ligand);
  EXPECT_EQ(cleaned.structure.chains[0].residues.size(), 5U);
}

TEST(Infer, ElementsFromNames) {
  EXPECT_EQ(infer_element("CA", "ALA"), 6);
  EXPECT_EQ(infer_element("CA", "CA"), 20);
  EXPECT_EQ(infer_element("1HB", "ALA"), 1);
  EXPECT_EQ(infer_element("D", "ALA"), 1);
  EXPECT_EQ(infer_element("MG", "MG"), 12);
  EXPECT_EQ(infer_element("SE", "MSE"), 34);
  EXPECT_EQ(infer_element("CL1", "XYZ"), 17);
  EXPECT_EQ(infer_element("12", "XYZ"), 0);
  Bare file;
  file.without_symbols();
  for (int i = 0; i < 5; ++i) {
    const std::string n = std::to_string(i + 1);
    file.residue("ALA", {"A", "A", n, n}, 3.8 * i);
  }
  const Cleaned cleaned = file.clean();
  EXPECT_TRUE(said(cleaned, "25 atoms: elements from their names"));
  EXPECT_FALSE(testing::was_removed(cleaned, "chain A", "not in the component"));  // no hydrogen
}

TEST(Infer, SequencesInLetters) {
  testing::EntryText text;
  text.protein("A", "1", {"ALA", "GLY", "SER", "ALA", "LEU"}, 0, {3});
  text.more(
      "_entity.id 1\n_entity.type polymer\n_entity_poly.entity_id 1\n"
      "_entity_poly.type 'polypeptide(L)'\n_entity_poly.pdbx_seq_one_letter_code 'AG(SER)AL K'\n");
  const Cleaned cleaned = text.clean();
  ASSERT_EQ(cleaned.structure.chains.size(), 1U);
  EXPECT_EQ(cleaned.structure.chains[0].residues.size(), 6U);
  EXPECT_EQ(cleaned.structure.chains[0].sequence[5], ShortName("LYS"));
  EXPECT_TRUE(said(cleaned, "6 residues from its one-letter code"));
}

TEST(Infer, OldNamesOfAtoms) {
  Residue residue;
  residue.component = demo_dictionary().find("DT");
  ASSERT_NE(residue.component, nullptr);
  for (const char* name : {"O1P", "C5*", "C5M", "P"}) residue.atoms.push_back({.name = name});
  EXPECT_TRUE(rename_old_atoms(residue));
  EXPECT_NE(residue.find("OP1"), nullptr);
  EXPECT_NE(residue.find("C5'"), nullptr);
  EXPECT_NE(residue.find("C7"), nullptr);
  EXPECT_FALSE(rename_old_atoms(residue));
}

}  // namespace
}  // namespace megafold
