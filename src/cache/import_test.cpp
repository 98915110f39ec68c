// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/import.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "alignment/alignment.h"
#include "base/errors.h"
#include "base/publish.h"
#include "cache/inputs.h"
#include "structure/entry.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

/// A source folder made of files, and where its import goes; both leave with the test.
class Import : public ::testing::Test {
 protected:
  Import() {
    const auto* const test = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ =
        fs::temp_directory_path() / fmt::format("megafold-import-{}-{}", ::getpid(), test->name());
    fs::create_directories(root_ / "source");
  }
  ~Import() override { fs::remove_all(root_); }

  void file(const std::string& name, const std::string& text = ">q\nACD\n") const {
    publish(root_ / "source" / name, text);
  }
  [[nodiscard]] ImportReport run(const std::string& from) const {
    return import_folder({from, root_ / "source", root_ / "out", {}, false});
  }
  [[nodiscard]] std::string refusal(const std::string& from) const {
    try {
      (void)run(from);
    } catch (const BadInput& error) {
      return error.what();
    }
    return "(accepted)";
  }
  [[nodiscard]] std::string text(const std::string& name) const {
    return read_file(root_ / "out" / name);
  }
  [[nodiscard]] bool exists(const std::string& name) const {
    return fs::exists(root_ / "out" / name);
  }

  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }
  static bool noted(const ImportReport& report, const std::string& part) {
    return std::any_of(report.notes.begin(), report.notes.end(),
                       [&](const std::string& note) { return has(note, part); });
  }
  fs::path root_;
};

TEST_F(Import, OpenProteinSet) {
  file("pdb/1abc_A/a3m/uniref90_hits.a3m");
  file("pdb/1abc_A/a3m/bfd_uniclust_hits.a3m");
  file("pdb/1abc_A/hhr/pdb70_hits.hhr", "Query x\n");
  file("pdb/1abc_B/a3m/uniref90_hits.a3m", "");
  file("uniclust30/A0A123/a3m/uniclust30.a3m");
  file("duplicate_pdb_chains.txt", "9xyz_A 9xyz_B\n1abc_A 2def_C 2def_D\n");
  file("mmcif/1abc.cif", "data_x\n");
  const ImportReport report = run("openproteinset");
  EXPECT_EQ(report.entries, 1U);
  EXPECT_EQ(report.alignments, 4U);  // 1abc_A, its two duplicates, uniclust30's
  EXPECT_TRUE(noted(report, "1abc_B/a3m/uniref90_hits.a3m: empty"));
  EXPECT_TRUE(exists("alignments/2def_D/bfd_uniclust_hits.a3m"));
  EXPECT_TRUE(exists("alignments/1abc_A/pdb70_hits.hhr"));
  // What the cache's builder sees of it.
  const DataFolder data = scan_data_folder(root_ / "out");
  EXPECT_EQ(data.entries.at(0).id, "1abc");
  EXPECT_EQ(data.alignments.at("1abc_A").paths.size(), 2U);
  EXPECT_TRUE(data.alignments.contains("seq_A0A123"));
  EXPECT_TRUE(fs::is_symlink(root_ / "out/alignments/1abc_A/uniref90_hits.a3m"));
}

TEST_F(Import, OpenFold3) {
  file("alignments/2q2k_A/uniref90_hits.sto", "# STOCKHOLM 1.0\nq ACD\n//\n");
  file("alignments/2q2k_A/hmm_output.sto", "# STOCKHOLM 1.0\nq ACD\n//\n");
  file("stray.a3m");
  file("mmcifs/2q2k.cif.gz", "data_x\n");
  const ImportReport report = run("openfold3");
  EXPECT_EQ(report.alignments, 1U);
  EXPECT_TRUE(noted(report, "stray.a3m: in no folder of a chain"));
  EXPECT_TRUE(exists("alignments/2q2k_A/hmm_output.sto"));
  EXPECT_TRUE(exists("entries/2q2k.cif.gz"));
}

TEST_F(Import, ColabFoldCutsAComplex) {
  file("job_1.a3m",
       "#3,2\t1,1\n>101\t102\nACDGH\n>pair1\tpair2\nAC-GH\n>101\nACD--\n>x\nAaaCD--\n>102\n---GH\n"
       ">y\n---G-k\n");
  const ImportReport report = run("colabfold");
  EXPECT_EQ(report.alignments, 2U);
  // The rows of a pair have a species of their own, whatever their names.
  const std::string one = text("alignments/seq_job-1.1/pairing.a3m"),
                    two = text("alignments/seq_job-1.2/pairing.a3m");
  const size_t at = one.find("\n>", 1) + 2;
  const std::string name = one.substr(at, one.find('\n', at) - at);
  EXPECT_EQ(one, ">101\t102\nACD\n>" + name + "\nAC-\n");
  EXPECT_EQ(two, ">101\t102\nGH\n>" + name + "\nGH\n");
  EXPECT_NE(species_of(name), kNoSpecies);
  EXPECT_EQ(text("alignments/seq_job-1.1/colabfold.a3m"), ">101\t102\nACD\n>101\nACD\n>x\nAaaCD\n");
  EXPECT_EQ(text("alignments/seq_job-1.2/colabfold.a3m"), ">101\t102\nGH\n>102\nGH\n>y\nG-\n");
}

TEST_F(Import, ColabFoldServerFiles) {
  file("job_env/uniref.a3m", std::string(">101\nACD\n>x\nAC-\n\0>102\nGH\n\0", 26));
  file("job_env/pdb70.m8", "101\t1abc_A\t1\n102\t2def_B\t1\n101\t3ghi_A\t1\n");
  const ImportReport report = run("colabfold");
  EXPECT_EQ(report.alignments, 2U);
  EXPECT_EQ(text("alignments/seq_job-env.102/uniref.a3m"), ">102\nGH\n");
  EXPECT_EQ(text("alignments/seq_job-env.101/pdb70.m8"), "101\t1abc_A\t1\n101\t3ghi_A\t1\n");
}

TEST_F(Import, ColabFoldPairsOfTheServer) {
  using namespace std::string_literals;
  file("job_env/uniref.a3m", ">101\nACD\n\0>102\nGH\n\0"s);
  file("job_env/pair.a3m", ">101\nACD\n>x\nAaC-\n>y\n---\n\0>102\nGH\n>x\nG-\n>y\nGH\n\0"s);
  EXPECT_EQ(run("colabfold").alignments, 2U);
  const auto species = [&](const std::string& query) {
    std::vector<Species> out;
    const std::string all = text("alignments/seq_job-env." + query + "/pairing.a3m");
    for (size_t at = all.find("\n>"); at != std::string::npos; at = all.find("\n>", at + 1))
      out.push_back(
          species_of(std::string_view(all).substr(at + 2, all.find('\n', at + 1) - at - 2)));
    return out;
  };
  const auto one = species("101"), two = species("102");
  ASSERT_EQ(one.size(), 1U);  // the row of gaps alone is none
  ASSERT_EQ(two.size(), 2U);
  EXPECT_NE(one[0], kNoSpecies);
  EXPECT_EQ(one[0], two[0]);
  EXPECT_NE(two[0], two[1]);
  file("job_env/pair.a3m", ">101\nACD\n>x\nAC-\n\0>102\nGH\n\0"s);
  fs::remove_all(root_ / "out");
  EXPECT_TRUE(has(refusal("colabfold"), "1 rows of the query 102, and 2 of 101"));
}

TEST_F(Import, ColabFoldRefusals) {
  file("job.a3m", "#3,2\t1,1\n>101\nACDG\n");
  EXPECT_TRUE(has(refusal("colabfold"), "job.a3m:2: the row '>101' has 4 columns"));
  file("job.a3m", "#3,x\t1,1\n>101\nACDG\n");
  EXPECT_TRUE(has(refusal("colabfold"), "not a list of lengths"));
  file("job.a3m", "#3\t1\n");
  EXPECT_TRUE(has(refusal("colabfold"), "empty"));
}

TEST_F(Import, Protenix) {
  file("seq_to_pdb_index.json", R"({"ACD": 0, "GH": 17, "WWW": 18})");
  file("mmcif_msa_template/0/non_pairing.a3m");
  file("mmcif_msa_template/0/pairing.a3m");
  file("mmcif_msa_template/0/hmmsearch.a3m", ">1abc_A/1-3\nACD\n");
  file("mmcif_msa_template/17/non_pairing.a3m", ">q\nGH\n");
  file("mmcif_msa_template/99/non_pairing.a3m", ">q\nGH\n");
  file("indices/all.csv", "type,pdb_id,cluster\nchain,1abc,x\ninterface,1abc,y\n");
  file("mmcif/1abc.cif", "data_x\n");
  file("mmcif/2def.cif", "data_x\n");
  const ImportReport report = run("protenix");
  EXPECT_EQ(report.entries, 1U);
  EXPECT_EQ(report.alignments, 2U);
  EXPECT_TRUE(noted(report, "has no index 99"));
  EXPECT_TRUE(noted(report, "1 of 3 sequences have no alignment"));
  EXPECT_TRUE(noted(report, "1 entries that indices/*.csv does not name"));
  const DataFolder data = scan_data_folder(root_ / "out");
  EXPECT_EQ(data.alignments.at("seq_0").paths.size(), 1U);
  EXPECT_EQ(data.alignments.at("seq_0").pairing.size(), 1U);
  EXPECT_TRUE(exists("alignments/seq_0/pairing.a3m"));
  EXPECT_TRUE(exists("alignments/seq_0/hmm_output.a3m"));
}

TEST_F(Import, ProtenixRefusals) {
  EXPECT_TRUE(has(refusal("protenix"), "no seq_to_pdb_index.json"));
  file("seq_to_pdb_index.json", "{\"ACD\": 0,");
  EXPECT_TRUE(has(refusal("protenix"), "seq_to_pdb_index.json: "));
  file("seq_to_pdb_index.json", R"({"ACD": [0]})");
  EXPECT_TRUE(has(refusal("protenix"), "the index of ACD is [0]"));
  file("seq_to_pdb_index.json", R"({"ACW": 0})");
  file("mmcif_msa/0/non_pairing.a3m");
  EXPECT_TRUE(has(refusal("protenix"), "the query is not the sequence of index 0"));
  file("seq_to_pdb_index.json", R"({"ACD": 0})");
  file("indices/a.csv", "type,id\n");
  fs::remove_all(root_ / "out");
  EXPECT_TRUE(has(refusal("protenix"), "no column pdb_id"));
}

TEST_F(Import, Refusals) {
  EXPECT_TRUE(has(refusal("alphafold9"), "--from alphafold9"));
  EXPECT_TRUE(has(refusal("openfold3"), "nothing in it"));
  file("a_A/x.a3m");
  (void)run("openfold3");
  EXPECT_TRUE(has(refusal("openfold3"), "holds something already"));
  EXPECT_THROW((void)import_folder({"openfold3", root_ / "none", root_ / "out2", {}, false}),
               BadInput);
}

/// A job of AlphaFold 3 with one more top-level field, or another list of sequences.
std::string job(const std::string& more = "",
                const std::string& sequences = R"([{"protein": {"id": "A", "sequence": "ACD"}}])") {
  return fmt::format(
      R"({{"name": "My Job", "modelSeeds": [7], "dialect": "alphafold3", "version": 4{}, )"
      R"("sequences": {}}})",
      more, sequences);
}

TEST_F(Import, AlphaFold3Job) {
  file("own.cif", "data_MYMOL\n");
  file("rows.a3m", ">q\nACDGS\n");
  file("template.cif",
       "data_T\n_pdbx_audit_revision_history.revision_date 2000-01-01\n"
       "loop_\n_entity.id\n_entity.type\n1 polymer\n"
       "loop_\n_entity_poly.entity_id\n_entity_poly.type\n1 polypeptide(L)\n"
       "loop_\n_entity_poly_seq.entity_id\n_entity_poly_seq.num\n_entity_poly_seq.mon_id\n"
       "1 1 ALA\n1 2 CYS\nloop_\n_struct_asym.id\n_struct_asym.entity_id\nX 1\n");
  file("job.json", job(R"(, "userCCDPath": "own.cif",
    "bondedAtomPairs": [[["A", 2, "SG"], ["L", 1, "C1"]], [["B", 2, "SG"], ["M", 1, "C1"]]])",
                       R"([{"protein": {"id": ["A", "B"], "sequence": "ACDGS",
      "description": "a homodimer", "modifications": [{"ptmType": "SEP", "ptmPosition": 5}],
      "unpairedMsaPath": "rows.a3m", "pairedMsa": ">q|x\nACDGS\n",
      "templates": [{"mmcifPath": "template.cif", "queryIndices": [0, 1, 3, 4],
                     "templateIndices": [2, 3, 4, 7]}]}},
    {"rna": {"id": "R", "sequence": "GU", "unpairedMsa": ">q\nGU\n"}},
    {"dna": {"id": "D", "sequence": "GT"}}, {"ligand": {"id": ["L", "M"], "ccdCodes": ["MYMOL"]}},
    {"ligand": {"id": "G", "ccdCodes": ["NAG", "NAG"]}}])"));
  const ImportReport report =
      import_folder({"alphafold3", root_ / "source/job.json", root_ / "out", {}, false});
  EXPECT_EQ(report.entries, 1U);
  EXPECT_EQ(report.alignments, 2U);
  EXPECT_TRUE(noted(report, "modelSeeds are 7: `megafold predict --entry my_job`"));
  EXPECT_TRUE(fs::is_symlink(root_ / "out/alignments/my_job_A/unpaired.a3m"));
  EXPECT_EQ(text("alignments/my_job_A/uniprot_paired.a3m"), ">q|x\nACDGS\n");
  EXPECT_EQ(text("alignments/my_job_R/unpaired.a3m"), ">q\nGU\n");
  EXPECT_TRUE(exists("entries/my_job.components.cif"));
  // Query 1, 2 beside 3, 4 of the template; 3 beside nothing; 4 beside 5; 5 beside 8.
  EXPECT_EQ(text("alignments/my_job_A/templates.m8"),
            "my_job\tmy-job-a-1_X\t0\t4\t0\t0\t1\t5\t3\t8\t0\t0\t2M1I1M2D1M\n");
  const DataFolder data = scan_data_folder(root_ / "out");
  ASSERT_EQ(data.entries.size(), 1U);  // neither components nor templates
  EXPECT_EQ(data.own_components.size(), 1U);
  EXPECT_EQ(data.templates, root_ / "out/templates");
  const FileEntry entry =
      read_entry(*Document::parse(text("entries/my_job.cif"), "my_job.cif"), "my_job");
  EXPECT_TRUE(entry.to_predict);
  ASSERT_EQ(entry.chains.size(), 7U);
  EXPECT_EQ(entry.chains[0].residues.size(), 5U);
  EXPECT_EQ(entry.chains[0].residues[4].code, "SEP");
  EXPECT_EQ(entry.chains[3].residues[1].code, "DT");
  EXPECT_EQ(entry.chains[6].residues[1].auth_seq_id, 2);
  ASSERT_EQ(entry.connections.size(), 2U);
  EXPECT_EQ(entry.connections[1].second.chain, "M");
}

TEST_F(Import, AlphaFold3Refusals) {
  const auto says = [&](const std::string& text, const std::string& part) {
    fs::remove_all(root_ / "source");
    file("job.json", text);
    const std::string message = refusal("alphafold3");
    EXPECT_TRUE(has(message, part)) << message;
    fs::remove_all(root_ / "out");
  };
  says("{", "job.json: ");
  says("[]", "AlphaFold Server's format");
  says(job(R"(, "bondedAtoms": [])"), "unknown key 'bondedAtoms'");
  says(job("", "[]"), "job.json: sequences: [] is not a list with something");
  const auto protein = [](const std::string& more) {
    return job("", R"([{"protein": {"id": "A", "sequence": "ACD")" + more + "}}]");
  };
  says(protein(R"(, "unpairedMsa": ">q\nACD\n")"), "must both be given");
  says(protein(R"(, "unpairedMsaPath": "no.a3m", "pairedMsa": "")"), "no such file: ");
  says(protein(R"(, "modifications": [{"ptmType": "SEP", "ptmPosition": 4}])"),
       "sequences[0].protein.modifications[0].ptmPosition: 4 is not a place from 1 to 3");
  says(job("", R"([{"protein": {"id": "A", "sequence": "AC1"}}])"), "sequence");
  says(job("", R"([{"protein": {"id": "a", "sequence": "AC"}}])"), "capital letters");
  says(job("", R"([{"dna": {"id": ["A", "A"], "sequence": "AC"}}])"), "a name of its own");
  says(job("", R"([{"ligand": {"id": "L", "smiles": "CC"}}])"), "megafold-conformers 'CC'");
  says(job(R"(, "bondedAtomPairs": [[["A", 1, "CA"], ["Z", 1, "C"]]])"),
       "bondedAtomPairs[0][1][0]: \"Z\" is not a chain of this job");
}

}  // namespace
}  // namespace megafold
