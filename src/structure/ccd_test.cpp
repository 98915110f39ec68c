// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/ccd.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "structure/test_entry.h"

namespace megafold {
namespace {

using testing::demo_dictionary;

TEST(Dictionary, KnowsWhatAComponentIs) {
  const Component* const serine = demo_dictionary().find("SER");
  ASSERT_NE(serine, nullptr);
  EXPECT_EQ(serine->linking, Linking::peptide);
  EXPECT_EQ(serine->one_letter, 'S');
  ASSERT_EQ(serine->atoms.size(), 7U);  // N CA C O CB OG OXT, no hydrogen
  EXPECT_EQ(serine->bonds.size(), 6U);
  EXPECT_TRUE(serine->atoms.back().leaving);
  EXPECT_EQ(demo_dictionary().find("MSE")->one_letter, 'M');  // its parent's
  EXPECT_EQ(demo_dictionary().find("DG")->linking, Linking::dna);
  EXPECT_EQ(demo_dictionary().find("U")->linking, Linking::rna);
  EXPECT_EQ(demo_dictionary().find("GNP")->linking, Linking::none);
  EXPECT_EQ(demo_dictionary().find("MG")->atoms.at(0).charge, 2);
  EXPECT_EQ(demo_dictionary().find("Q9Q"), nullptr);
}

TEST(Dictionary, TextCifOfOneBlockPerComponent) {
  const auto block = [](const char* code, const char* letter) {
    return fmt::format(
        "data_{0}\n_chem_comp.id {0}\n_chem_comp.type 'L-PEPTIDE LINKING'\n"
        "_chem_comp.one_letter_code {1}\nloop_\n_chem_comp_atom.comp_id\n"
        "_chem_comp_atom.atom_id\n_chem_comp_atom.type_symbol\n_chem_comp_atom.charge\n"
        "{0} CA C 0\n{0} \"O5'\" O -1\n{0} H1 H 0\n"
        "loop_\n_chem_comp_bond.comp_id\n_chem_comp_bond.atom_id_1\n_chem_comp_bond.atom_id_2\n"
        "{0} CA \"O5'\"\n{0} CA H1\n",
        code, letter);
  };
  const auto dictionary = ComponentDictionary::parse(block("XX1", "K") + block("XX2", "?"), "x");
  ASSERT_EQ(dictionary.components().size(), 2U);
  const Component* const first = dictionary.find("XX1");
  EXPECT_EQ(first->one_letter, 'K');
  ASSERT_EQ(first->atoms.size(), 2U);
  EXPECT_EQ(first->atoms[1].name, ShortName("O5'"));
  EXPECT_EQ(first->atoms[1].charge, -1);
  EXPECT_FALSE(first->atoms[0].has_ideal);
  EXPECT_EQ(first->bonds.size(), 1U);
  EXPECT_EQ(dictionary.find("XX2")->one_letter, 'X');
  EXPECT_THROW(ComponentDictionary::parse(block("A", "A") + block("A", "A"), "x"), BadInput);
  EXPECT_THROW(ComponentDictionary::parse("data_x\n_cell.length_a 1\n", "x"), BadInput);
}

TEST(Dictionary, WrittenAndReadAgainIsTheSame) {
  std::vector<const Component*> all;
  for (const Component& component : demo_dictionary().components()) all.push_back(&component);
  for (const char* const suffix : {".bcif", ".bcif.gz"}) {
    const auto path =
        std::filesystem::temp_directory_path() / fmt::format("mf_ccd_{}{}", ::getpid(), suffix);
    write_dictionary(path, all);
    const auto again = ComponentDictionary::read(path);
    std::filesystem::remove(path);
    ASSERT_EQ(again.components().size(), all.size());
    for (size_t i = 0; i < all.size(); ++i) {
      const Component &a = *all[i], &b = again.components()[i];
      EXPECT_EQ(a.code, b.code);
      EXPECT_EQ(a.name, b.name);
      EXPECT_EQ(a.linking, b.linking);
      EXPECT_EQ(a.one_letter, b.one_letter);
      EXPECT_EQ(a.parent, b.parent);
      EXPECT_EQ(a.bonds, b.bonds);
      EXPECT_EQ(a.bond_kinds, b.bond_kinds);
      ASSERT_EQ(a.atoms.size(), b.atoms.size());
      for (size_t k = 0; k < a.atoms.size(); ++k) {
        const ComponentAtom &p = a.atoms[k], &q = b.atoms[k];
        EXPECT_EQ(p.name, q.name);
        EXPECT_EQ(p.element, q.element) << a.code.view() << ' ' << p.name.view();
        EXPECT_EQ(p.charge, q.charge);
        EXPECT_EQ(p.leaving, q.leaving);
        EXPECT_EQ(p.has_ideal, q.has_ideal);
        EXPECT_EQ(p.has_model, q.has_model);
        EXPECT_EQ(p.ideal, q.ideal);
        EXPECT_EQ(p.model, q.model);
      }
    }
  }
}

/// A component of one atom.
ComponentDictionary one_atom(const std::string& code, const std::string& more,
                             const std::string& file) {
  return ComponentDictionary::parse(
      fmt::format("data_{0}\n_chem_comp.id {0}\n_chem_comp.type 'L-peptide linking'\n{1}"
                  "loop_\n_chem_comp_atom.comp_id\n_chem_comp_atom.atom_id\n"
                  "_chem_comp_atom.type_symbol\n{0} CA C\n",
                  code, more),
      file);
}

TEST(Ccd, OwnComponentsLieOverTheBase) {
  ComponentDictionary dictionary = testing::demo_dictionary();
  const std::string before = dictionary.version();
  const size_t count = dictionary.components().size();
  dictionary.overlay(one_atom("ALA", "", "a.cif"));
  dictionary.overlay(one_atom("MYALA", "_chem_comp.mon_nstd_parent_comp_id SER\n", "b.cif"));
  EXPECT_EQ(dictionary.components().size(), count + 1);
  EXPECT_EQ(dictionary.find("ALA")->atoms.size(), 1U);
  EXPECT_EQ(dictionary.find("MYALA")->one_letter, 'S');  // its parent stands in the base
  EXPECT_EQ(dictionary.find("GLY")->atoms.size(), 5U);
  EXPECT_NE(dictionary.version(), before);
  try {
    dictionary.overlay(one_atom("ALA", "", "c.cif"));
    FAIL();
  } catch (const BadInput& error) {
    EXPECT_NE(std::string(error.what()).find("a.cif and c.cif: both define the component 'ALA'"),
              std::string::npos)
        << error.what();
  }
}

/// ATOM-wise rows of _megafold_conformer for a component XX1 of the atoms C1 and C2.
std::string with_conformers(const std::string& rows) {
  return "data_XX1\n_chem_comp.id XX1\n_chem_comp.type non-polymer\n"
         "loop_\n_chem_comp_atom.comp_id\n_chem_comp_atom.atom_id\n_chem_comp_atom.type_symbol\n"
         "XX1 C1 C\nXX1 C2 C\n"
         "loop_\n_megafold_conformer.comp_id\n_megafold_conformer.number\n"
         "_megafold_conformer.atom_id\n_megafold_conformer.x\n_megafold_conformer.y\n"
         "_megafold_conformer.z\n" +
         rows;
}

TEST(Ccd, FurtherConformersAreReadAndWritten) {
  const auto dictionary = ComponentDictionary::parse(
      with_conformers("XX1 1 C2 4 5 6\nXX1 1 C1 1 2 3\nXX1 2 C1 7 8 9\nXX1 2 C2 0 0 1\n"), "x");
  const std::vector<std::array<float, 3>> want = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {0, 0, 1}};
  EXPECT_EQ(dictionary.components()[0].conformers, want);
  const auto path =
      std::filesystem::temp_directory_path() / fmt::format("mf_conformers_{}.bcif", ::getpid());
  write_dictionary(path, {&dictionary.components()[0]});
  const auto again = ComponentDictionary::read(path);
  std::filesystem::remove(path);
  EXPECT_EQ(again.components()[0].conformers, want);
}

TEST(Ccd, ConformersThatAreNotWholeAreRefused) {
  const auto refusal = [](const std::string& rows) {
    try {
      (void)ComponentDictionary::parse(with_conformers(rows), "x.cif");
    } catch (const BadInput& error) {
      return std::string(error.what());
    }
    return std::string("(accepted)");
  };
  EXPECT_NE(refusal("XX1 1 C1 1 2 3\n").find("a conformer of 'XX1' lacks an atom"),
            std::string::npos);
  EXPECT_NE(refusal("XX1 1 C1 1 2 3\nXX1 1 C1 1 2 3\n").find("stands twice"), std::string::npos);
  EXPECT_NE(refusal("XX1 1 C9 1 2 3\n").find("no heavy atom 'C9'"), std::string::npos);
  EXPECT_NE(refusal("XX1 0 C1 1 2 3\n").find("number from 1"), std::string::npos);
  EXPECT_NE(refusal("XX1 1 C1 1 2 ?\n").find("a coordinate is missing"), std::string::npos);
}

}  // namespace
}  // namespace megafold
