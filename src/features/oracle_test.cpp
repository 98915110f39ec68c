// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The six demonstration entries against an independent reading of the same files:
// tests/oracle/make_expected.py (Python, gemmi, biotite), whose integers stand in expected.json.
#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/decompress.h"
#include "base/publish.h"
#include "features/features.h"
#include "structure/clean.h"
#include "structure/entry.h"

namespace megafold {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const fs::path kSource = MEGAFOLD_SOURCE_DIR;

const json& expected() {
  static const json values = json::parse(read_file(kSource / "tests/oracle/expected.json"));
  return values;
}

uint32_t crc(const void* data, size_t size) {
  return static_cast<uint32_t>(crc32(0, static_cast<const Bytef*>(data), static_cast<uInt>(size)));
}

struct Arrays {
  std::vector<NamedArray> all;
  template <class T>
  std::vector<T> get(std::string_view name) const {
    for (const NamedArray& array : all)
      if (array.name == name) {
        std::vector<T> out(array.data.size() / sizeof(T));
        if (!out.empty()) std::memcpy(out.data(), array.data.data(), array.data.size());
        return out;
      }
    ADD_FAILURE() << "no array " << name;
    return {};
  }
};

Arrays read(const fs::path& path, const std::string& id) {
  static const auto dictionary = ComponentDictionary::read(kSource / "data/components.bcif.gz");
  Cleaned cleaned = clean(read_entry(*Document::read(path), id), dictionary);
  EXPECT_EQ(cleaned.dropped, "");
  return {structure_arrays(cleaned.structure, {"x", "y", "1"})};
}

class Oracle : public ::testing::TestWithParam<std::string> {};

TEST_P(Oracle, SameIntegers) {
  const json& want = expected().at("entries").at(GetParam());
  const Arrays got = read(kSource / "data/entries" / (GetParam() + ".cif.gz"), GetParam());
  const auto restype = got.get<uint8_t>("token_restype");
  EXPECT_EQ(restype.size(), want.at("tokens"));
  EXPECT_EQ(crc(restype.data(), restype.size()), want.at("restype_crc"));
  const auto count = got.get<int32_t>("token_atom_count");
  const std::vector<uint8_t> small(count.begin(), count.end());
  EXPECT_EQ(crc(small.data(), small.size()), want.at("atoms_per_token_crc"));
  const auto element = got.get<uint8_t>("atom_element"), name = got.get<uint8_t>("atom_name");
  EXPECT_EQ(element.size(), want.at("atoms"));
  EXPECT_EQ(crc(element.data(), element.size()), want.at("element_crc"));
  EXPECT_EQ(crc(name.data(), name.size()), want.at("atom_name_crc"));
  const auto resolved = got.get<uint8_t>("atom_resolved");
  EXPECT_EQ(crc(resolved.data(), resolved.size()), want.at("resolved_crc"));

  EXPECT_EQ(json(got.get<int32_t>("chain_token_count")), want.at("chain_tokens"));
  const auto types = got.get<uint8_t>("chain_type");
  EXPECT_EQ(json(std::vector<int>(types.begin(), types.end())), want.at("chain_type"));
  EXPECT_EQ(json(got.get<int32_t>("chain_entity_id")), want.at("chain_entity"));
  const auto sym = got.get<int32_t>("token_sym_id"), start = got.get<int32_t>("chain_token_start");
  std::vector<int32_t> chain_sym;
  for (const int32_t first : start) chain_sym.push_back(sym[static_cast<size_t>(first)]);
  EXPECT_EQ(json(chain_sym), want.at("chain_sym"));

  const auto bonds = got.get<int32_t>("token_bond");
  json pairs = json::array();
  for (size_t i = 0; i < bonds.size(); i += 2) pairs.push_back({bonds[i], bonds[i + 1]});
  EXPECT_EQ(pairs, want.at("bonds"));

  const auto position = got.get<float>("atom_position");
  std::array<double, 3> sum{};
  for (size_t i = 0; i < position.size(); ++i) sum[i % 3] += position[i];
  // f32 coordinates: at most half a unit in the last place each, 4e-6 A below 128 A.
  const double bound = 0.0005 + 8e-6 * static_cast<double>(element.size());
  for (size_t i = 0; i < 3; ++i)
    EXPECT_NEAR(sum[i], want.at("position_sum")[i].get<double>() / 1000, bound);
}

INSTANTIATE_TEST_SUITE_P(Demo, Oracle,
                         ::testing::Values("1kd8", "1pzp", "1ubq", "2q2k", "4i6p", "4zey"),
                         [](const auto& entry) { return "e" + entry.param; });

TEST(Features, BinaryCifGivesTheSameArrays) {
  const Arrays text = read(kSource / "data/entries/1ubq.cif.gz", "1ubq");
  const Arrays binary = read(kSource / "tests/oracle/1ubq.bcif.gz", "1ubq");
  ASSERT_EQ(text.all.size(), binary.all.size());
  for (size_t i = 0; i < text.all.size(); ++i)
    EXPECT_EQ(text.all[i].data, binary.all[i].data) << text.all[i].name;
}

TEST(Features, TokensPointAtTheirAtoms) {
  for (const auto& [id, unused] : expected().at("entries").items()) {
    const Arrays got = read(kSource / "data/entries" / (id + ".cif.gz"), id);
    const auto start = got.get<int32_t>("token_atom_start"),
               count = got.get<int32_t>("token_atom_count"),
               center = got.get<int32_t>("token_center_atom"),
               representative = got.get<int32_t>("token_representative_atom");
    const auto restype = got.get<uint8_t>("token_restype"),
               atomized = got.get<uint8_t>("token_is_atomized"),
               name = got.get<uint8_t>("atom_name"), mask = got.get<uint8_t>("atom_ref_mask");
    const auto named = [&](int32_t atom) {
      return std::string(name.begin() + 4 * atom, name.begin() + 4 * atom + 4);
    };
    int32_t next = 0;
    for (size_t t = 0; t < start.size(); ++t) {
      ASSERT_EQ(start[t], next) << id;  // consecutive, without a gap
      next += count[t];
      ASSERT_GE(center[t], start[t]);
      ASSERT_LT(center[t], next);
      if (atomized[t] != 0) continue;
      EXPECT_EQ(named(center[t]), restype[t] <= 20 ? "CA  " : "C1' ");
      const bool glycine = restype[t] == 7, purine = restype[t] % 5 < 3;
      const std::string wanted =
          restype[t] <= 20 ? (glycine ? "CA  " : "CB  ")
                           : (purine && restype[t] != 23 && restype[t] != 28 ? "C4  " : "C2  ");
      EXPECT_EQ(named(representative[t]), wanted) << id << " token " << t;
    }
    for (const uint8_t m : mask) EXPECT_EQ(m, 1) << id;  // the dictionary knows every atom's place
  }
}

TEST(Features, AlignmentOf2q2k) {
  const json& want = expected().at("2q2k");
  const fs::path folder = kSource / "data/alignments/2q2k_A";
  std::vector<AlignmentText> files;
  for (const char* name : {"uniref90_hits.sto", "bfd_uniclust_hits.a3m", "mgnify_hits.sto"})
    files.push_back({name, read_decompressed(folder / name)});
  const std::string sequence = read_query(files[0]);
  const Msa msa = make_msa(files, sequence, Alphabet::protein, "chain A");
  EXPECT_EQ(msa.rows, want.at("rows"));
  EXPECT_EQ(msa.columns, want.at("columns"));
  int64_t read_rows = 0;
  for (const AlignmentSource& source : msa.sources) read_rows += source.rows_read;
  EXPECT_EQ(read_rows, want.at("rows_read"));
  EXPECT_EQ(crc(msa.classes.data(), msa.classes.size()), want.at("msa_crc"));
  EXPECT_EQ(crc(msa.deletions.data(), msa.deletions.size()), want.at("deletion_crc"));
  for (size_t i = 0; i < msa.deletion_mean.size(); ++i) {
    const auto rows = static_cast<double>(msa.rows);
    EXPECT_EQ(msa.deletion_mean[i],
              static_cast<float>(want.at("deletion_sum")[i].get<double>() / rows));
    EXPECT_EQ(msa.profile[32 * i + 31],
              static_cast<float>(want.at("gap_count")[i].get<double>() / rows));
  }
}

TEST(Features, FurtherConformersStandOncePerComponent) {
  auto dictionary = ComponentDictionary::read(kSource / "data/components.bcif.gz");
  std::string own =
      "data_GLY\n_chem_comp.id GLY\n_chem_comp.type 'peptide linking'\n"
      "loop_\n_chem_comp_atom.comp_id\n_chem_comp_atom.atom_id\n_chem_comp_atom.type_symbol\n"
      "_chem_comp_atom.pdbx_leaving_atom_flag\n_chem_comp_atom.pdbx_model_Cartn_x_ideal\n"
      "_chem_comp_atom.pdbx_model_Cartn_y_ideal\n_chem_comp_atom.pdbx_model_Cartn_z_ideal\n"
      "GLY N N N 0 0 0\nGLY CA C N 1 0 0\nGLY C C N 2 0 0\nGLY O O N 2 1 0\nGLY OXT O Y 3 0 0\n"
      "loop_\n_chem_comp_bond.comp_id\n_chem_comp_bond.atom_id_1\n_chem_comp_bond.atom_id_2\n"
      "GLY N CA\nGLY CA C\nGLY C O\nGLY C OXT\n"
      "loop_\n_megafold_conformer.comp_id\n_megafold_conformer.number\n"
      "_megafold_conformer.atom_id\n_megafold_conformer.x\n_megafold_conformer.y\n"
      "_megafold_conformer.z\n";
  for (const char* const atom : {"N", "CA", "C", "O", "OXT"})
    own += fmt::format("GLY 1 {} 7 8 9\nGLY 2 {} 4 5 6\n", atom, atom);
  dictionary.overlay(ComponentDictionary::parse(own, "own.cif"));
  const auto path = kSource / "data/entries/1ubq.cif.gz";
  const Cleaned cleaned = clean(read_entry(*Document::read(path), "1ubq"), dictionary);
  const Arrays arrays{structure_arrays(cleaned.structure, {"x", "y", "1"})};
  EXPECT_EQ(arrays.get<int32_t>("conformer_atoms"), std::vector<int32_t>{5});
  EXPECT_EQ(arrays.get<int32_t>("conformer_count"), std::vector<int32_t>{2});
  EXPECT_EQ(arrays.get<float>("conformer_position").size(), 30U);
  const auto of_residue = arrays.get<int32_t>("residue_conformer");
  EXPECT_EQ(std::count(of_residue.begin(), of_residue.end(), 0), 6);  // ubiquitin's glycines
  EXPECT_EQ(std::count(of_residue.begin(), of_residue.end(), -1), 70);
  EXPECT_EQ(of_residue.back(), 0);  // GLY 76, the only one with OXT
  const auto place = arrays.get<int32_t>("atom_conformer_place");
  EXPECT_EQ(place.back(), 4);
}

}  // namespace
}  // namespace megafold
