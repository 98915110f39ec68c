// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "base/errors.h"
#include "base/publish.h"
#include "batch/loader.h"
#include "batch/sample.h"
#include "batch/sampling.h"
#include "batch/synthetic.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

StructureView view(const std::string& id) {
  return StructureView(synthetic::cache()->structure(id));
}

RecordSource alignments() {
  return [cache = synthetic::cache()](const std::string& key) { return cache->alignment(key); };
}

Random stream(uint64_t visit, Purpose purpose = Purpose::crop) {
  return Random(7, stream_id("test"), visit, purpose);
}

TEST(StructureView, RefusesWhatDoesNotFit) {
  const auto broken = [](auto&& change) {
    auto record = synthetic::structure("x", {{.length = 5}});
    change(*record);
    try {
      const StructureView unused(record);
    } catch (const Corrupt& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(broken([](auto&) {}), "");
  EXPECT_NE(broken([](auto& r) {
              r.template set<int32_t>("token_chain", ArrayType::i32, {5}, {0, 0, 9, 0, 0});
            }).find("chain of row 2 is 9"),
            std::string::npos);
  EXPECT_NE(broken([](auto& r) {
              r.template set<int32_t>("token_chain", ArrayType::i32, {4}, {0, 0, 0, 0});
            }).find("has shape [4], the schema says [N] with N=5"),
            std::string::npos);
  EXPECT_NE(broken([](auto& r) {
              r.template set<float>("token_chain", ArrayType::f32, {5}, {0, 0, 0, 0, 0});
            }).find("has type 5"),
            std::string::npos);
  EXPECT_NE(broken([](auto& r) {
              r.template set<int32_t>("token_bond", ArrayType::i32, {1, 2}, {0, 5});
            }).find("bonded token of row 0 is 5"),
            std::string::npos);
  EXPECT_NE(broken([](auto& r) { r.set_meta({{"id", "x"}}); }).find("meta"), std::string::npos);
}

TEST(Crop, ThatFitsIsWhole) {
  const auto structure = view("mono");
  auto random = stream(0);
  const Crop crop = draw_crop(structure, {.tokens = 30}, {}, random);
  EXPECT_EQ(crop.kind, CropKind::whole);
  EXPECT_EQ(std::ssize(crop.tokens), 30);
  auto again = stream(0);
  EXPECT_NE(draw_crop(structure, {.tokens = 30, .atoms = 119}, {}, again).kind, CropKind::whole);
}

TEST(Crop, ContiguousFillsTheBudgetWithOnePiecePerChain) {
  const auto structure = view("dimer");  // 40 + 40 + 12
  std::set<int64_t> lengths;
  for (uint64_t visit = 0; visit < 300; ++visit) {
    auto random = stream(visit);
    const auto tokens = crop_contiguous(structure, {.tokens = 50}, random);
    ASSERT_EQ(std::ssize(tokens), 50);
    ASSERT_TRUE(std::ranges::is_sorted(tokens));
    int breaks = 0;
    int64_t in_first = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      in_first += tokens[i] < 40;
      if (i > 0 && tokens[i] != tokens[i - 1] + 1) {
        ++breaks;
        // A gap lies at a border between chains: at least one of its ends is another chain's.
        ASSERT_NE(structure.chain[static_cast<size_t>(tokens[i])],
                  structure.chain[static_cast<size_t>(tokens[i - 1])]);
      }
    }
    ASSERT_LE(breaks, 2);
    lengths.insert(in_first);
  }
  EXPECT_TRUE(lengths.contains(0));   // nothing forces a chain in ...
  EXPECT_TRUE(lengths.contains(40));  // ... or out
  EXPECT_GT(lengths.size(), 25U);
}

TEST(Crop, SpatialTakesTheNearestResolvedTokens) {
  const auto structure = view("dimer");
  for (uint64_t visit = 0; visit < 100; ++visit) {
    auto random = stream(visit);
    const auto tokens = crop_spatial(structure, {.tokens = 20}, {}, false, random);
    ASSERT_EQ(std::ssize(tokens), 20);
    for (const int32_t t : tokens) ASSERT_TRUE(structure.center_resolved(t));
    // Some resolved token is the reference: none outside is nearer to it than any inside.
    const auto distance = [&](int32_t a, int32_t b) {
      double sum = 0;
      for (int k = 0; k < 3; ++k)
        sum += std::pow(double{structure.center(a)[k]} - double{structure.center(b)[k]}, 2);
      return sum;
    };
    bool explained = false;
    for (const int32_t reference : tokens) {
      double farthest = 0, nearest_outside = 1e30;
      for (int32_t t = 0; t < structure.num_tokens(); ++t) {
        if (!structure.center_resolved(t)) continue;
        if (std::ranges::binary_search(tokens, t)) {
          farthest = std::max(farthest, distance(reference, t));
        } else {
          nearest_outside = std::min(nearest_outside, distance(reference, t));
        }
      }
      explained |= farthest <= nearest_outside;
    }
    ASSERT_TRUE(explained);
  }
}

TEST(Crop, InterfaceReferenceIsNearAnotherChain) {
  const auto structure = view("trimer");  // chain 2 is 92 A away from the others
  for (uint64_t visit = 0; visit < 100; ++visit) {
    auto random = stream(visit);
    const auto tokens = crop_spatial(structure, {.tokens = 1}, {}, true, random);
    ASSERT_EQ(std::ssize(tokens), 1);  // the reference itself
    ASSERT_NE(structure.chain[static_cast<size_t>(tokens[0])], 2);
    auto other = stream(visit);
    const auto preferred = crop_spatial(structure, {.tokens = 1}, {.a = 1, .b = 0}, true, other);
    ASSERT_NE(structure.chain[static_cast<size_t>(preferred[0])], 2);
    auto lonely = stream(visit);  // no interface: any centre of the preferred chain
    const auto far = crop_spatial(structure, {.tokens = 1}, {.a = 2, .b = -1}, true, lonely);
    ASSERT_EQ(structure.chain[static_cast<size_t>(far[0])], 2);
  }
}

TEST(Crop, KindsAreDrawnByTheirWeights) {
  const auto structure = view("dimer");
  std::array<int, 4> seen{};
  const int draws = 4000;
  for (uint64_t visit = 0; visit < draws; ++visit) {
    auto random = stream(visit);
    const auto crop = draw_crop(structure, {.tokens = 20}, {}, random);
    ++seen[static_cast<size_t>(crop.kind)];
  }
  const double sd = std::sqrt(draws * 0.4 * 0.6);
  EXPECT_EQ(seen[0], 0);
  EXPECT_NEAR(seen[1], 0.2 * draws, 5 * sd);
  EXPECT_NEAR(seen[2], 0.4 * draws, 5 * sd);
  EXPECT_NEAR(seen[3], 0.4 * draws, 5 * sd);
}

TEST(Crop, AtomBudgetHolds) {
  const auto structure = view("dimer");
  for (uint64_t visit = 0; visit < 200; ++visit) {
    auto random = stream(visit);
    const auto crop = draw_crop(structure, {.tokens = 40, .atoms = 61}, {}, random);
    int64_t atoms = 0;
    for (const int32_t t : crop.tokens) atoms += structure.atom_count[static_cast<size_t>(t)];
    ASSERT_LE(atoms, 61);
    ASSERT_GT(atoms, 0);
  }
}

TEST(Crop, WithoutALabelIsRefused) {
  auto record = synthetic::structure("dark", {{.length = 5}});
  record->set("atom_resolved", ArrayType::u8, {20}, std::vector<uint8_t>(20, 0));
  const StructureView structure(record);
  auto random = stream(0);
  EXPECT_THROW(draw_crop(structure, {.tokens = 3}, {}, random), BadInput);
  EXPECT_THROW(draw_crop(structure, {.tokens = 9}, {}, random), BadInput);
}

TEST(Gather, IndicesLabelsAndBondsFollowTheCrop) {
  const auto structure = view("dimer");
  const std::vector<int32_t> tokens = {3, 4, 41, 80, 81, 91};
  auto random = stream(0, Purpose::reference);
  const Batch batch = gather(structure, tokens, random);
  EXPECT_EQ(batch.num_tokens(), 6);
  EXPECT_EQ(batch.num_atoms(), 3 * 4 + 3);
  EXPECT_EQ(batch.token_index[2].item<int64_t>(), 41);
  EXPECT_EQ(batch.center_atom[1].item<int64_t>(), 5);
  EXPECT_EQ(batch.representative_atom[1].item<int64_t>(), 7);
  EXPECT_EQ(batch.asym_id[2].item<int64_t>(), 2);
  EXPECT_EQ(batch.sym_id[2].item<int64_t>(), 2);
  EXPECT_TRUE(batch.is_ligand[3].item<bool>());
  EXPECT_EQ(batch.token_bonds.sum().item<float>(),
            2.0F);  // 80-81 and its mirror; 91 has no partner
  EXPECT_EQ(batch.token_bonds[3][4].item<float>(), 1.0F);
  EXPECT_EQ(batch.atom_resolved_mask.slice(0, 4, 8).sum().item<float>(), 0.0F);  // token 4
  EXPECT_EQ(batch.atom_positions.slice(0, 4, 8).abs().sum().item<float>(), 0.0F);
  EXPECT_EQ(batch.ref_atom_name_chars[1][0].item<int64_t>(), 'C' - 32);
  EXPECT_EQ(batch.ref_atom_name_chars[1][3].item<int64_t>(), 0);
}

TEST(Gather, ConformersMoveRigidly) {
  const auto structure = view("dimer");
  const std::vector<int32_t> tokens = {0, 1, 80, 81, 82, 83};
  auto first = stream(0, Purpose::reference), second = stream(1, Purpose::reference);
  const Batch a = gather(structure, tokens, first), b = gather(structure, tokens, second);
  EXPECT_GT((a.ref_pos - b.ref_pos).abs().min().item<float>(), 0.0F);
  const auto distances = [](const at::Tensor& x) {
    return (x.unsqueeze(0) - x.unsqueeze(1)).square().sum(-1).sqrt();
  };
  const auto raw = at::from_blob(const_cast<float*>(structure.ref_position.data()),
                                 {structure.num_atoms(), 3}, at::kFloat);
  for (const auto& [from, to, source] : {std::tuple{0, 4, 0}, {4, 8, 4}, {8, 12, 320}}) {
    const auto moved = distances(a.ref_pos.slice(0, from, to));
    EXPECT_LT((moved - distances(b.ref_pos.slice(0, from, to))).abs().max().item<float>(), 1e-5F);
    EXPECT_LT(
        (moved - distances(raw.slice(0, source, source + to - from))).abs().max().item<float>(),
        1e-5F);
  }
}

/// The first residue, of four atoms, has two conformers more: straight lines with steps of 2 and 3.
std::shared_ptr<synthetic::MemoryRecord> with_conformers() {
  auto record = synthetic::structure("x", {{.length = 5}});
  std::vector<float> lines;
  for (const float step : {2.0F, 3.0F})
    for (int k = 0; k < 4; ++k) lines.insert(lines.end(), {step * static_cast<float>(k), 0, 0});
  const auto atoms = static_cast<size_t>(record->array("atom_element").size());
  std::vector<int32_t> place(atoms, 0);
  for (size_t k = 0; k < 4; ++k) place[k] = static_cast<int32_t>(3 - k);  // another order
  record->set("atom_conformer_place", ArrayType::i32, {static_cast<int64_t>(atoms)}, place);
  record->set("residue_conformer", ArrayType::i32, {5}, std::vector<int32_t>{0, -1, -1, -1, -1});
  record->set("conformer_atoms", ArrayType::i32, {1}, std::vector<int32_t>{4});
  record->set("conformer_start", ArrayType::i32, {1}, std::vector<int32_t>{0});
  record->set("conformer_count", ArrayType::i32, {1}, std::vector<int32_t>{2});
  record->set("conformer_position", ArrayType::f32, {8, 3}, lines);
  return record;
}

TEST(Gather, OneOfAComponentsConformersIsDrawn) {
  const StructureView structure(with_conformers()),
      plain(synthetic::structure("x", {{.length = 5}}));
  std::map<int, int> seen;
  const int draws = 600;
  for (uint64_t visit = 0; visit < draws; ++visit) {
    auto random = stream(visit, Purpose::reference);
    const Batch batch = gather(structure, {0, 1}, random);
    const at::Tensor x = batch.ref_pos;
    const auto apart = [&](int64_t i, int64_t j) { return (x[i] - x[j]).norm().item<float>(); };
    const float step = apart(0, 1);
    int which = 0;
    for (const int line : {2, 3})
      if (std::abs(step - static_cast<float>(line)) < 1e-4F) which = line;
    ++seen[which];
    if (which > 0) {
      EXPECT_NEAR(apart(0, 3), 3 * which, 1e-4);
    }
  }
  const double sd = std::sqrt(draws * 2.0 / 9);
  for (const int which : {0, 2, 3}) EXPECT_NEAR(seen[which], draws / 3.0, 5 * sd) << which;
  // Without further conformers nothing is drawn for them: the motion is as it was.
  auto random = stream(0, Purpose::reference), same = stream(0, Purpose::reference);
  (void)gather(plain, {1}, random);
  (void)gather(structure, {1}, same);
  EXPECT_EQ(random.next_u64(), same.next_u64());
}

TEST(StructureView, ConformersThatDoNotFitAreRefused) {
  const auto broken = [](const char* array, std::vector<int32_t> values) {
    auto record = with_conformers();
    record->set(array, ArrayType::i32, {std::ssize(values)}, values);
    try {
      const StructureView unused(record);
    } catch (const Corrupt& error) {
      return std::string(error.what());
    }
    return std::string("(accepted)");
  };
  EXPECT_NE(broken("conformer_count", {3}).find("first conformer"), std::string::npos);
  EXPECT_NE(broken("conformer_count", {1}).find("number of conformers"), std::string::npos);
  EXPECT_NE(broken("residue_conformer", {1, -1, -1, -1, -1}).find("conformers of residue"),
            std::string::npos);
  const auto atoms = static_cast<size_t>(with_conformers()->array("atom_element").size());
  EXPECT_NE(broken("atom_conformer_place", std::vector<int32_t>(atoms, 4)).find("place in the"),
            std::string::npos);
}

TEST(Msa, RowsStandSideBySideAndCopiesShareThem) {
  const auto structure = view("dimer");
  std::vector<int32_t> tokens = {0, 7, 40, 47, 80};  // columns 0 and 7 of both copies, the ligand
  Batch batch;
  auto random = stream(0, Purpose::msa);
  assemble_msa(structure, tokens, alignments(), {.draw_rows = false}, random, batch);
  ASSERT_EQ(batch.msa.sizes(), at::IntArrayRef({9, 5}));
  for (int64_t s = 0; s < 9; ++s) {
    EXPECT_EQ(batch.msa[s][1].item<uint8_t>(), (s + 7) % 20);
    EXPECT_EQ(batch.msa[s][3].item<uint8_t>(), (s + 7) % 20);
    EXPECT_EQ(batch.deletion[s][0].item<uint8_t>(), static_cast<float>(s % 7));
    EXPECT_EQ(batch.msa[s][4].item<uint8_t>(), kRestypeGap);
  }
  EXPECT_EQ(batch.profile[4][kRestypeGap].item<float>(), 1.0F);
  EXPECT_EQ(batch.deletion_mean[1].item<float>(), 0.5F);
}

TEST(Msa, DrawsAreOrderedSubsetsOfEverySize) {
  const auto structure = view("mono");
  std::vector<int32_t> tokens = {0};
  std::vector<int> sizes(51), used(50);
  const int draws = 5000;
  for (uint64_t visit = 0; visit < draws; ++visit) {
    Batch batch;
    auto random = stream(visit, Purpose::msa);
    assemble_msa(structure, tokens, alignments(), {}, random, batch);
    const int64_t S = batch.msa.size(0);
    ++sizes[static_cast<size_t>(S)];
    ASSERT_EQ(batch.msa[0][0].item<uint8_t>(), 0);  // the query
    ASSERT_EQ(batch.deletion[0][0].item<uint8_t>(), 0.0F);
  }
  EXPECT_EQ(sizes[0], 0);
  for (size_t k = 1; k <= 50; ++k) EXPECT_NEAR(sizes[k], draws / 50.0, 5 * std::sqrt(draws / 50.0));
  Batch capped;
  auto random = stream(0, Purpose::msa);
  assemble_msa(structure, tokens, alignments(), {.max_rows = 4, .draw_rows = false}, random,
               capped);
  EXPECT_EQ(capped.msa.size(0), 4);
  EXPECT_EQ(capped.msa[3][0].item<uint8_t>(), 3);
}

TEST(Msa, ChainsWithoutAlignmentFollowTheDialect) {
  const auto structure = view("trimer");  // 30 residues (33 tokens), then 25 without an alignment
  const std::vector<int32_t> tokens = {3, 4, 5, 6, 33};
  const int64_t own = structure.restype[33];
  Batch query, gap;
  auto random = stream(0, Purpose::msa);
  assemble_msa(structure, tokens, alignments(), {.draw_rows = false}, random, query);
  EXPECT_EQ(query.msa[0][4].item<uint8_t>(), own);
  EXPECT_EQ(query.profile[4][own].item<float>(), 1.0F);
  EXPECT_EQ(query.msa[1][4].item<uint8_t>(), kRestypeGap);
  for (int64_t i = 0; i < 4; ++i)  // the modified residue's tokens repeat its column
    EXPECT_EQ(query.msa[2][i].item<uint8_t>(), 5);
  assemble_msa(structure, tokens, alignments(),
               {.draw_rows = false, .missing = MissingAlignment::gap}, random, gap);
  EXPECT_EQ(gap.msa[0][4].item<uint8_t>(), kRestypeGap);
  EXPECT_EQ(gap.profile[4].sum().item<float>(), 0.0F);
}

TEST(Sampling, WeightsAndInterfaces) {
  const auto cache = synthetic::cache();
  EXPECT_EQ(find_interfaces(view("mono")).size(), 0U);
  // Cell grid against every pair of atoms.
  for (const double distance : {3.0, 5.0, 9.0, 120.0}) {
    for (const char* id : {"dimer", "trimer"}) {
      const auto s = view(id);
      std::set<std::pair<int32_t, int32_t>> expected;
      for (size_t t = 0; t < s.chain.size(); ++t)
        for (size_t u = 0; u < s.chain.size(); ++u)
          for (int32_t a = s.atom_start[t]; a < s.atom_start[t] + s.atom_count[t]; ++a)
            for (int32_t b = s.atom_start[u]; b < s.atom_start[u] + s.atom_count[u]; ++b) {
              const auto i = static_cast<size_t>(a), j = static_cast<size_t>(b);
              if (s.chain[t] >= s.chain[u] || s.resolved[i] == 0 || s.resolved[j] == 0) continue;
              double sum = 0;
              for (size_t k = 0; k < 3; ++k)
                sum += std::pow(double{s.position[3 * i + k]} - double{s.position[3 * j + k]}, 2);
              if (sum < distance * distance) expected.emplace(s.chain[t], s.chain[u]);
            }
      const auto found = find_interfaces(s, distance);
      EXPECT_TRUE(std::ranges::equal(found, expected)) << id << " at " << distance;
    }
  }
  const auto elements = weighted_elements(sampling_table(*cache, "", {}), cache->entries());
  const auto weight_of = [&](const std::string& entry, int32_t a, int32_t b) {
    for (const auto& e : elements)
      if (e.entry == entry && e.preferred.a == a && e.preferred.b == b) return e.weight;
    return -1.0;
  };
  // Two copies of a chain are a cluster of two: 0.5 / 2 x 3; the ligand's: 0.5 x 1.
  EXPECT_DOUBLE_EQ(weight_of("dimer", 0, -1), 0.75);
  EXPECT_DOUBLE_EQ(weight_of("dimer", 1, -1), 0.75);
  EXPECT_DOUBLE_EQ(weight_of("dimer", 2, -1), 0.5);
  EXPECT_DOUBLE_EQ(weight_of("mono", 0, -1), 1.5);
}

TEST(Sampling, HomologyClustersShareTheirWeight) {
  const auto cache = synthetic::cache();
  const SamplingTable table = sampling_table(*cache, "", cache->entries());
  const auto weight = [&](const Clusters& homology, const std::string& entry, int32_t chain) {
    for (const auto& e : weighted_elements(table, cache->entries(), homology))
      if (e.entry == entry && e.preferred.a == chain && e.preferred.b == -1) return e.weight;
    return -1.0;
  };
  const std::string mono = "mono_" + table.at("mono").chains[0].label,
                    dimer = "dimer_" + table.at("dimer").chains[0].label,
                    ligand = "dimer_" + table.at("dimer").chains[2].label;
  EXPECT_DOUBLE_EQ(weight({}, "mono", 0), 1.5);
  EXPECT_DOUBLE_EQ(weight({{mono, dimer}, {dimer, dimer}}, "mono", 0), 0.75);
  EXPECT_DOUBLE_EQ(weight({{ligand, "x"}, {mono, "x"}}, "mono", 0), 1.5)
      << "ligands have no homologs";
}

TEST(Sampling, ATableKeptInTheFolderIsTheSameAndIsMadeAgainWhereItIsNot) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("mf_sampling_{}", ::getpid());
  fs::remove_all(folder);
  fs::create_directories(folder);
  const auto cache = synthetic::cache();
  const auto text = [](const SamplingTable& table) { return pack_sampling_table(table, "key"); };
  const std::string made = text(sampling_table(*cache, folder, cache->entries()));
  const std::string file = read_file(folder / kSamplingTable);
  // Read now, and not made: the cache has no structure any more.
  synthetic::MemoryCache empty;
  EXPECT_EQ(text(sampling_table(empty, folder, cache->entries())), made);
  EXPECT_TRUE(unpack_sampling_table(file, "another cache").empty());
  for (size_t at = 0; at < file.size(); at += 7) {
    std::string damaged = file;
    damaged[at] ^= 1;
    EXPECT_TRUE(unpack_sampling_table(damaged, cache->content_key()).empty()) << at;
    EXPECT_TRUE(unpack_sampling_table(file.substr(0, at), cache->content_key()).empty()) << at;
  }
  publish(folder / kSamplingTable, file.substr(0, 100));
  EXPECT_EQ(text(sampling_table(*cache, folder, cache->entries())), made);
  EXPECT_EQ(read_file(folder / kSamplingTable), file);
  // An entry that cannot be read ends a run that wants it, and no other; such a table is not kept.
  cache->add("broken", nullptr);
  fs::remove(folder / kSamplingTable);
  EXPECT_EQ(sampling_table(*cache, folder, {"mono"}).size(), 3U);
  EXPECT_FALSE(fs::exists(folder / kSamplingTable));
  EXPECT_THROW((void)sampling_table(*cache, folder, {"broken"}), Corrupt);
  fs::remove_all(folder);
}

TEST(Sampling, AFileOfClustersIsReadOrItsLineIsNamed) {
  const fs::path path = fs::temp_directory_path() / fmt::format("mf_clusters_{}", ::getpid());
  publish(path, "a_A\ta_A\na_A\tb_B\n\nc_A\tc_A\n");
  EXPECT_EQ(read_clusters(path), (Clusters{{"a_A", "a_A"}, {"b_B", "a_A"}, {"c_A", "c_A"}}));
  for (const char* const odd : {"a_A a_B\n", "a\tb\tc\n", "\tb\n"}) {
    publish(path, std::string("x\tx\n") + odd);
    try {
      (void)read_clusters(path);
      FAIL() << odd;
    } catch (const BadInput& error) {
      EXPECT_NE(std::string(error.what()).find(path.string() + ":2"), std::string::npos);
    }
  }
  fs::remove(path);
}

TEST(Sampling, DrawsFollowTheWeights) {
  const Sampler sampler({{"a", {}, 1}, {"zero", {}, 0}, {"b", {}, 3}}, 5);
  int b = 0;
  for (uint64_t visit = 0; visit < 4000; ++visit) {
    ASSERT_NE(sampler.at(visit).entry, "zero");
    b += sampler.at(visit).entry == "b";
  }
  EXPECT_NEAR(b, 3000, 5 * std::sqrt(4000 * 0.75 * 0.25));
  EXPECT_THROW(Sampler({}, 1), BadInput);
  EXPECT_THROW(Sampler({{"a", {}, -1}}, 1), BadInput);
  EXPECT_THROW(Sampler({{"a", {}, std::nan("")}}, 1), BadInput);
  EXPECT_THROW(Sampler({{"a", {}, 0}}, 1), BadInput);
}

/// The bytes of every tensor, with its name and shape.
std::string bytes_of(Batch& batch) {
  std::string all = batch.id + std::to_string(batch.visit);
  batch.for_each([&](const char* name, at::Tensor& tensor) {
    all += name;
    for (const int64_t extent : tensor.sizes()) all.append(1, ',').append(std::to_string(extent));
    const auto flat = tensor.contiguous();
    all.append(static_cast<const char*>(flat.data_ptr()), flat.nbytes());
  });
  return all;
}

std::vector<std::string> run(int threads, int64_t queue, uint64_t first, int count,
                             uint64_t seed = 3) {
  const auto cache = synthetic::cache();
  Loader loader(cache, Sampler(uniform_elements(cache->entries()), seed), {.crop = {.tokens = 32}},
                {.threads = threads, .queue = queue, .first_visit = first}, seed);
  std::vector<std::string> batches;
  for (int i = 0; i < count; ++i) {
    Batch batch = loader.next();
    batches.push_back(bytes_of(batch));
  }
  return batches;
}

TEST(Loader, OrderAndBytesDependOnTheSeedAlone) {
  const auto one = run(1, 1, 0, 60);
  EXPECT_EQ(run(2, 3, 0, 60), one);
  EXPECT_EQ(run(8, 16, 0, 60), one);
  const auto resumed = run(8, 5, 23, 37);
  EXPECT_TRUE(std::equal(resumed.begin(), resumed.end(), one.begin() + 23));
  EXPECT_NE(run(1, 1, 0, 60, 4), one);
  EXPECT_EQ(std::set<std::string>(one.begin(), one.end()).size(), 60U);  // every visit is anew
}

TEST(Loader, BrokenSampleStopsOrIsListed) {
  const auto cache = synthetic::cache();
  cache->add("broken", nullptr);
  const auto make = [&](bool skip, int threads) {
    return Loader(cache, Sampler(uniform_elements(cache->entries()), 3), {.crop = {.tokens = 32}},
                  {.threads = threads, .queue = 4, .skip_broken = skip}, 3);
  };
  std::vector<uint64_t> expected;  // visits of good entries
  const Sampler sampler(uniform_elements(cache->entries()), 3);
  size_t broken = 0;
  for (uint64_t visit = 0; expected.size() < 30; ++visit)
    sampler.at(visit).entry == "broken" ? void(++broken) : expected.push_back(visit);
  ASSERT_GT(broken, 0U);
  for (const int threads : {1, 4}) {
    Loader loader = make(true, threads);
    for (const uint64_t visit : expected) EXPECT_EQ(loader.next().visit, visit);
    EXPECT_EQ(loader.skipped().size(), broken);
    EXPECT_EQ(loader.skipped()[0].entry, "broken");
    EXPECT_NE(loader.skipped()[0].reason.find("block 3"), std::string::npos);
    EXPECT_EQ(loader.next_visit(), expected.back() + 1);
  }
  Loader loader = make(false, 2);
  try {
    for (int i = 0; i < 100; ++i) loader.next();
    FAIL() << "the broken entry went by";
  } catch (const Corrupt& error) {
    EXPECT_NE(std::string(error.what()).find("entry broken: entry broken: block 3"),
              std::string::npos)
        << error.what();
  }
}

TEST(Loader, AllBrokenEnds) {
  auto cache = std::make_shared<synthetic::MemoryCache>();
  cache->add("broken", nullptr);
  Loader loader(cache, Sampler(uniform_elements(cache->entries()), 3), {},
                {.threads = 2, .skip_broken = true, .max_skips_in_a_row = 7}, 3);
  EXPECT_THROW(loader.next(), Device);
  EXPECT_EQ(loader.skipped().size(), 7U);
}

}  // namespace
}  // namespace megafold
