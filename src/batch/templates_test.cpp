// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/templates.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>

#include "base/errors.h"
#include "batch/sample.h"
#include "batch/synthetic.h"

namespace megafold {
namespace {

/// T candidates of L residues. Candidate t has class t % 20 everywhere, its residue c lies at
/// random, and c % 7 == 6 lacks its backbone, c % 5 == 4 its CB.
std::shared_ptr<synthetic::MemoryRecord> candidates(const std::string& key, int64_t L,
                                                    const std::vector<int32_t>& dates) {
  auto record = std::make_shared<synthetic::MemoryRecord>(key);
  const auto T = std::ssize(dates);
  std::vector<uint8_t> restype, mask;
  std::vector<float> position;
  Random random(5, stream_id(key), 0, Purpose::template_pick);
  for (int64_t t = 0; t < T; ++t)
    for (int64_t c = 0; c < L; ++c) {
      restype.push_back(static_cast<uint8_t>(t % 20));
      mask.push_back(static_cast<uint8_t>((c % 7 == 6 ? 0 : 1) | (c % 5 == 4 ? 0 : 2)));
      for (int k = 0; k < 12; ++k) position.push_back(static_cast<float>(8 * random.normal()));
    }
  record->set("template_restype", ArrayType::u8, {T, L}, restype);
  record->set("template_mask", ArrayType::u8, {T, L}, mask);
  record->set("template_position", ArrayType::f32, {T, L, 12}, position);
  record->set("template_date", ArrayType::i32, {T}, dates);
  record->set_meta({{"sequence", ""}});
  return record;
}

/// Two copies of 20 residues with templates and a chain without; released 2020-03-01, so the last
/// day of a template's release is 2020-01-01 (a leap year's February lies between).
StructureView complex(const char* released = "2020-03-01") {
  auto record = synthetic::structure(
      "x", {{.length = 20}, {.length = 20, .x = 8}, {.length = 20, .entity = 2, .x = 16}});
  auto meta = nlohmann::json::parse(record->meta());
  meta["chains"][0]["templates"] = meta["chains"][1]["templates"] = "t";
  if (released != nullptr) meta["release_date"] = released;
  record->set_meta(meta);
  return StructureView(record);
}

RecordSource source(const std::vector<int32_t>& dates) {
  return [record = candidates("t", 20, dates)](const std::string&) { return record; };
}

std::vector<int32_t> all_tokens() {
  std::vector<int32_t> out(60);
  for (int32_t i = 0; i < 60; ++i) out[static_cast<size_t>(i)] = i;
  return out;
}

Batch assemble(const StructureView& s, const std::vector<int32_t>& dates, TemplateOptions options,
               uint64_t visit = 0, std::vector<int32_t> tokens = all_tokens()) {
  Batch batch;
  Random random(3, 1, visit, Purpose::template_pick);
  assemble_templates(s, tokens, source(dates), options, random, batch);
  return batch;
}

/// The class that a slot shows at a token: 31 where the slot is empty.
int64_t shown(const Batch& batch, int64_t slot, int64_t token) {
  return batch.template_restype[slot][token].item<int64_t>();
}

TEST(Templates, NoneThatIsTooLateOrHasNoDate) {
  // Candidates 1, 3 and 5 are old enough; 0 is a day late, 2 has no date, 4 is from today.
  const std::vector<int32_t> dates = {20200102, 20200101, 0, 20191231, 20261124, 19990101};
  const Batch first = assemble(complex(), dates, {.draw = false, .released_by = {}});
  EXPECT_EQ(shown(first, 0, 0), 1);
  EXPECT_EQ(shown(first, 1, 0), 3);
  EXPECT_EQ(shown(first, 2, 0), 5);
  EXPECT_EQ(shown(first, 3, 0), kRestypeGap);
  for (uint64_t visit = 0; visit < 300; ++visit) {
    const Batch drawn = assemble(complex(), dates, {}, visit);
    for (int64_t slot = 0; slot < 4; ++slot)
      for (const int64_t token : {0, 20})
        ASSERT_TRUE((std::set<int64_t>{1, 3, 5, kRestypeGap}.contains(shown(drawn, slot, token))));
  }
  // A run's own cut-off, changed without a rebuild, holds whatever the entry's date is.
  const Batch cut = assemble(complex(), dates, {.draw = false, .released_by = "2000-01-01"});
  EXPECT_EQ(shown(cut, 0, 0), 5);
  EXPECT_EQ(shown(cut, 1, 0), kRestypeGap);
  const Batch late = assemble(complex(), dates, {.draw = false, .released_by = "2030-01-01"});
  EXPECT_EQ(shown(late, 0, 0), 1);
  // Without any date nothing can be shown to be old enough.
  EXPECT_EQ(shown(assemble(complex(nullptr), dates, {.draw = false, .released_by = {}}), 0, 0),
            kRestypeGap);
  EXPECT_EQ(
      shown(assemble(complex(nullptr), dates, {.draw = false, .released_by = "2020-01-02"}), 0, 0),
      0);
  EXPECT_THROW(assemble(complex(), dates, {.released_by = "2020-02-30"}), BadInput);
}

TEST(Templates, OfTheFirstTwentyUpToFourAreDrawn) {
  const std::vector<int32_t> dates(30, 20000101);
  std::vector<int> sizes(5), used(30);
  const int visits = 2000;
  for (uint64_t visit = 0; visit < visits; ++visit) {
    const Batch batch = assemble(complex(), dates, {}, visit);
    std::set<int64_t> seen;
    int size = 0;
    for (int64_t slot = 0; slot < 4; ++slot) {
      const int64_t t = shown(batch, slot, 0);
      if (t == kRestypeGap) continue;
      EXPECT_EQ(slot, size++);  // empty slots are the last
      EXPECT_TRUE(seen.insert(t).second);
      ++used[static_cast<size_t>(t)];
    }
    ++sizes[static_cast<size_t>(size)];
  }
  // k ~ U{0..20}, cut to four: 0, 1, 2, 3 have 1/21 each, 4 has the rest.
  for (size_t k = 0; k < 4; ++k) EXPECT_NEAR(sizes[k], visits / 21.0, 5 * std::sqrt(visits / 21.0));
  const double each = (6 + 17 * 4) / 21.0 / 20 * visits;
  for (size_t t = 0; t < 20; ++t) EXPECT_NEAR(used[t], each, 5 * std::sqrt(each));
}

TEST(Templates, TokensShowTheirColumns) {
  std::vector<int32_t> tokens = {3, 4, 5, 6, 7, 8, 9, 25, 26, 45};  // 2 of the copy: too few
  const auto record = candidates("t", 20, {20000101});
  const Batch batch =
      assemble(complex(), {20000101}, {.draw = false, .released_by = {}}, 0, tokens);
  const auto* const position = record->array("template_position").as<float>();
  for (int64_t i = 0; i < 10; ++i) {
    const bool has = i < 7;
    const int64_t c = 3 + i;
    EXPECT_EQ(shown(batch, 0, i), has ? 0 : kRestypeGap);
    EXPECT_EQ(batch.template_backbone_frame_mask[0][i].item<float>(), has && c % 7 != 6 ? 1 : 0);
    EXPECT_EQ(batch.template_pseudo_beta_mask[0][i].item<float>(), has && c % 5 != 4 ? 1 : 0);
    for (int64_t k = 0; k < 12; ++k)
      EXPECT_EQ(batch.template_position[0][i][k / 3][k % 3].item<float>(),
                has ? position[12 * c + k] : 0.0F);
  }
  EXPECT_FALSE(
      assemble(complex(), {20000101}, {.count = 0, .released_by = {}}).template_restype.defined());
  EXPECT_FALSE(
      assemble(complex(), {20000101}, {}, 0, {45, 46, 47, 48, 49}).template_restype.defined());
}

TEST(Templates, DamageIsNamed) {
  auto record = candidates("t", 20, {20000101});
  record->set<int32_t>("template_date", ArrayType::i32, {2}, {1, 2});
  Batch batch;
  Random random(3, 1, 0, Purpose::template_pick);
  EXPECT_THROW(
      assemble_templates(
          complex(), all_tokens(), [&](const std::string&) { return record; }, {}, random, batch),
      Corrupt);
  const auto narrow = candidates("t", 19, {20000101});
  EXPECT_THROW(assemble_templates(
                   complex(), all_tokens(), [&](const std::string&) { return narrow; },
                   {.draw = false, .released_by = {}}, random, batch),
               Corrupt);
}

/// The pair features in plain loops and double precision, as af3-facts' rules say them.
TEST(Templates, PairsAreThoseOfTheRules) {
  const Batch batch = assemble(complex(), {20000101, 20000102}, {.draw = false, .released_by = {}});
  const TemplatePairs pairs = template_pairs(batch);
  ASSERT_EQ(pairs.distogram.sizes(), at::IntArrayRef({4, 60, 60, 39}));
  ASSERT_EQ(pairs.unit_vector.sizes(), at::IntArrayRef({4, 60, 60, 3}));
  const auto x = batch.template_position.accessor<float, 4>();
  const auto beta = batch.template_pseudo_beta_mask.accessor<float, 2>();
  const auto backbone = batch.template_backbone_frame_mask.accessor<float, 2>();
  const auto distogram = pairs.distogram.accessor<float, 4>();
  const auto unit = pairs.unit_vector.accessor<float, 4>();
  using Vector = std::array<double, 3>;
  const auto dot = [](const Vector& a, const Vector& b) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  };
  const auto scaled = [](const Vector& a, double f) {
    return Vector{a[0] * f, a[1] * f, a[2] * f};
  };
  int64_t binned = 0, directed = 0;
  for (int64_t t = 0; t < 4; ++t)
    for (int64_t i = 0; i < 60; ++i)
      for (int64_t j = 0; j < 60; ++j) {
        const auto between = [&](int64_t from, int64_t a, int64_t to, int64_t b) {
          Vector out{};
          for (int64_t k = 0; k < 3; ++k)
            out[static_cast<size_t>(k)] = double{x[t][to][b][k]} - double{x[t][from][a][k]};
          return out;
        };
        const Vector cb = between(i, 3, j, 3);
        const double distance = std::sqrt(dot(cb, cb));
        int64_t bin = -1;
        if (distance > 3.25)
          bin = std::min<int64_t>(38, static_cast<int64_t>((distance - 3.25) / 1.25));
        const bool counted = beta[t][i] * beta[t][j] > 0;
        for (int64_t b = 0; b < 39; ++b) {
          ASSERT_EQ(distogram[t][i][j][b], counted && b == bin ? 1.0F : 0.0F);
          binned += distogram[t][i][j][b] > 0;
        }
        Vector want{};
        if (backbone[t][i] * backbone[t][j] > 0 && i != j) {
          Vector e1 = between(i, 1, i, 2);
          e1 = scaled(e1, 1 / std::sqrt(dot(e1, e1)));
          Vector e2 = between(i, 1, i, 0);
          const double along = dot(e1, e2);
          for (size_t k = 0; k < 3; ++k) e2[k] -= along * e1[k];
          e2 = scaled(e2, 1 / std::sqrt(dot(e2, e2)));
          const Vector e3 = {e1[1] * e2[2] - e1[2] * e2[1], e1[2] * e2[0] - e1[0] * e2[2],
                             e1[0] * e2[1] - e1[1] * e2[0]};
          const Vector away = between(i, 1, j, 1);
          const double length = std::sqrt(dot(away, away));
          if (length > 0)  // copies that show one template lie on each other
            want = {dot(e1, away) / length, dot(e2, away) / length, dot(e3, away) / length};
          ++directed;
        }
        for (int64_t k = 0; k < 3; ++k)
          ASSERT_NEAR(unit[t][i][j][k], want[static_cast<size_t>(k)], 1e-4);
      }
  EXPECT_GT(binned, 1000);
  EXPECT_GT(directed, 1000);
  EXPECT_THROW(template_pairs(Batch{}), BadInput);
}

TEST(Templates, ComeWithTheBatch) {
  const RecordSource none = [](const std::string& key) -> std::shared_ptr<const Record> {
    fail<BadInput>("no alignment {}", key);
  };
  const BatchOptions options{.crop = {.tokens = 30}};
  EXPECT_FALSE(make_batch(complex(), none, options, {}, 1, 0).template_restype.defined());
  const std::vector<int32_t> dates(30, 20000101);
  const Batch a = make_batch(complex(), none, options, {}, 1, 4, source(dates)),
              b = make_batch(complex(), none, options, {}, 1, 4, source(dates));
  ASSERT_TRUE(a.template_restype.defined());
  EXPECT_TRUE(a.template_restype.equal(b.template_restype));
  EXPECT_TRUE(a.template_position.equal(b.template_position));
}

}  // namespace
}  // namespace megafold
