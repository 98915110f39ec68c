// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/write_mmcif.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <gemmi/cif.hpp>
#include <gemmi/mmcif.hpp>
#include <limits>

#include "base/errors.h"
#include "base/publish.h"
#include "predict/record_fixture.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
using fixture::complex_chains;
using fixture::make_record;

class WriteMmcif : public ::testing::Test {
 protected:
  void SetUp() override { fs::remove_all(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_ =
      fs::temp_directory_path() / (std::string("megafold_mmcif_") +
                                   ::testing::UnitTest::GetInstance()->current_test_info()->name());
  Entry entry_ = read_entry(make_record("1abc", complex_chains()));
};

// Places that are like no other atom's, to three decimals.
PredictedModel model_of(const Entry& entry, float shift = 0) {
  PredictedModel model;
  for (size_t i = 0; i < 3 * entry.num_atoms(); ++i) {
    model.position.push_back(shift + static_cast<float>(i) * 1.125F - 7.5F);
  }
  return model;
}

TEST_F(WriteMmcif, GemmiReadsTheSameNamesOrderAndCounts) {
  PredictedModel model = model_of(entry_);
  for (size_t r = 0; r < entry_.residues.size(); ++r) {
    model.residue_score.push_back(static_cast<double>(r) / 10);
  }
  model.residue_score.back() = std::numeric_limits<double>::quiet_NaN();
  write_mmcif(folder_ / "p.cif", entry_, std::vector{model});
  const auto document = gemmi::cif::read_file((folder_ / "p.cif").string());
  const gemmi::Structure structure = gemmi::make_structure_from_block(document.blocks.at(0));
  ASSERT_EQ(structure.models.size(), 1U);
  // gemmi collects the residues of an author chain; within one label chain the order is the file's.
  size_t atoms = 0, residues = 0;
  for (const EntryChain& chain : entry_.chains) {
    size_t r = static_cast<size_t>(chain.first_residue);
    for (const gemmi::Chain& read_chain : structure.models[0].chains) {
      for (const gemmi::Residue& read : read_chain.residues) {
        if (read.subchain != chain.label) continue;
        const EntryResidue& residue = entry_.residues.at(r);
        EXPECT_EQ(read_chain.name, chain.auth);
        EXPECT_EQ(read.name, residue.component);
        EXPECT_EQ(*read.seqid.num, residue.author_id);
        EXPECT_EQ(read.seqid.icode, residue.insertion_code);
        EXPECT_EQ(read.het_flag, residue.is_atomized ? 'H' : 'A');
        if (chain.type != ChainType::ligand) {
          EXPECT_EQ(*read.label_seq, residue.sequence_id);
        }
        ASSERT_EQ(read.atoms.size(), static_cast<size_t>(residue.num_atoms));
        for (size_t i = 0; i < read.atoms.size(); ++i, ++atoms) {
          const size_t a = static_cast<size_t>(residue.first_atom) + i;
          EXPECT_EQ(read.atoms[i].name, entry_.atom_name[a]);
          EXPECT_EQ(read.atoms[i].element.atomic_number(), entry_.element[a]);
          EXPECT_EQ(read.atoms[i].charge, entry_.charge[a]);
          EXPECT_EQ(read.atoms[i].occ, 1.0F);
          EXPECT_NEAR(read.atoms[i].pos.x, model.position[3 * a], 5e-4);
          EXPECT_NEAR(read.atoms[i].pos.z, model.position[3 * a + 2], 5e-4);
          const double score = model.residue_score[r];
          EXPECT_NEAR(read.atoms[i].b_iso, std::isnan(score) ? 0 : 100 * score, 5e-3);
        }
        ++r, ++residues;
      }
    }
    EXPECT_EQ(r, static_cast<size_t>(chain.first_residue + chain.num_residues)) << chain.label;
  }
  EXPECT_EQ(atoms, entry_.num_atoms());
  EXPECT_EQ(residues, entry_.residues.size());
}

TEST_F(WriteMmcif, EntitiesAndSequences) {
  const std::string text = mmcif_text(entry_, std::vector{model_of(entry_)});
  const auto document = gemmi::cif::read_string(text);
  const gemmi::Structure structure = gemmi::make_structure_from_block(document.blocks.at(0));
  ASSERT_EQ(structure.entities.size(), 4U);
  const gemmi::Entity& protein = structure.entities[0];
  EXPECT_EQ(protein.entity_type, gemmi::EntityType::Polymer);
  EXPECT_EQ(protein.polymer_type, gemmi::PolymerType::PeptideL);
  EXPECT_EQ(protein.subchains, (std::vector<std::string>{"A", "B"}));
  // Residue 3 has no token: its name comes from the sequence's letter.
  EXPECT_EQ(protein.full_sequence, (std::vector<std::string>{"GLY", "MSE", "ALA", "SER"}));
  EXPECT_EQ(structure.entities[1].polymer_type, gemmi::PolymerType::Dna);
  EXPECT_EQ(structure.entities[1].full_sequence, (std::vector<std::string>{"DA", "DC"}));
  EXPECT_EQ(structure.entities[2].entity_type, gemmi::EntityType::NonPolymer);
  auto poly = document.blocks[0];
  EXPECT_EQ(poly.find("_entity_poly.", {"pdbx_seq_one_letter_code"})[0].str(0), "G(MSE)AS");
  EXPECT_EQ(poly.find("_entity_poly.", {"pdbx_seq_one_letter_code"})[1].str(0), "(DA)(DC)");
  EXPECT_EQ(poly.find("_entity_poly.", {"nstd_monomer"})[0].str(0), "yes");
  EXPECT_EQ(poly.find("_entity_poly.", {"nstd_monomer"})[1].str(0), "no");
  EXPECT_EQ(poly.find("_entity_poly.", {"pdbx_strand_id"})[0].str(0), "X,Y");
}

TEST_F(WriteMmcif, SeveralModelsAndBack) {
  const std::vector<PredictedModel> models{model_of(entry_), model_of(entry_, 100)};
  write_mmcif(folder_ / "p.cif", entry_, models);
  for (const int m : {1, 2}) {
    const auto read = read_predicted_positions(folder_ / "p.cif", entry_, m);
    const auto& wrote = models[static_cast<size_t>(m) - 1].position;
    ASSERT_EQ(read.size(), wrote.size());
    for (size_t i = 0; i < read.size(); ++i) ASSERT_NEAR(read[i], wrote[i], 5.1e-4);
  }
  EXPECT_THROW((void)read_predicted_positions(folder_ / "p.cif", entry_, 3), BadInput);
}

TEST_F(WriteMmcif, NothingIsWrittenForAStructureThatIsNone) {
  PredictedModel model = model_of(entry_);
  model.position[4] = std::numeric_limits<float>::quiet_NaN();
  try {
    write_mmcif(folder_ / "p.cif", entry_, std::vector{model});
    FAIL() << "a NaN coordinate was written";
  } catch (const BadInput& error) {
    EXPECT_NE(std::string(error.what()).find("coordinate y of atom CA in GLY 10"),
              std::string::npos)
        << error.what();
  }
  EXPECT_FALSE(fs::exists(folder_ / "p.cif"));
  model.position.pop_back();
  EXPECT_THROW((void)mmcif_text(entry_, std::vector{model}), BadInput);
  model = model_of(entry_);
  model.residue_score = {0.5};
  EXPECT_THROW((void)mmcif_text(entry_, std::vector{model}), BadInput);
  EXPECT_THROW((void)mmcif_text(entry_, {}), BadInput);
}

TEST_F(WriteMmcif, RefusesAFileOfAnotherEntry) {
  auto chains = complex_chains();
  chains[0].residues[0].component = "ALA";
  const Entry other = read_entry(make_record("1abd", chains));
  write_mmcif(folder_ / "p.cif", other, std::vector{model_of(other)});
  try {
    (void)read_predicted_positions(folder_ / "p.cif", entry_);
    FAIL() << "another entry's file was accepted";
  } catch (const BadInput& error) {
    EXPECT_NE(std::string(error.what()).find("atom 1 of model 1 is A ALA N"), std::string::npos)
        << error.what();
  }
  publish(folder_ / "empty.cif", "");
  publish(folder_ / "garbage.cif", "data_x\nloop_\n_a.b 'unfinished");
  publish(folder_ / "no_atoms.cif", "data_x\n_a.b c\n");
  for (const char* name : {"empty.cif", "garbage.cif", "no_atoms.cif", "missing.cif"}) {
    EXPECT_THROW((void)read_predicted_positions(folder_ / name, entry_), BadInput) << name;
  }
}

TEST(ReadEntry, RowsOfTheRecord) {
  const Entry entry = read_entry(make_record("1abc", complex_chains()));
  EXPECT_EQ(entry.id, "1abc");
  ASSERT_EQ(entry.chains.size(), 5U);
  ASSERT_EQ(entry.residues.size(), 10U);  // a modified residue and a ligand are one residue each
  EXPECT_EQ(entry.residues[1].component, "MSE");
  EXPECT_EQ(entry.residues[1].num_atoms, 3);
  EXPECT_EQ(entry.atom_name[static_cast<size_t>(entry.residues[1].center_atom)], "CA");
  EXPECT_EQ(entry.residues[2].insertion_code, 'A');
  EXPECT_EQ(entry.residue.back(), 9);
}

TEST(ReadEntry, DamagedRecordsAreNamed) {
  for (const char* array : {"token_chain", "atom_name", "meta", "chain_type"}) {
    auto record = make_record("1abc", complex_chains());
    record.erase(array);
    EXPECT_THROW((void)read_entry(record), Corrupt) << array;
  }
  auto record = make_record("1abc", complex_chains());
  record.put("atom_resolved", ArrayType::u8, std::vector<uint8_t>{1});
  EXPECT_THROW((void)read_entry(record), Corrupt);
  record = make_record("1abc", complex_chains());
  const ArrayView view = record.array("token_atom_count");
  std::vector<int32_t> counts(view.as<int32_t>(), view.as<int32_t>() + view.size());
  counts[0] = 1000000;
  record.put("token_atom_count", ArrayType::i32, counts);
  EXPECT_THROW((void)read_entry(record), Corrupt);
}

}  // namespace
}  // namespace megafold
