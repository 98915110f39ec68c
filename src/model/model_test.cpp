// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/errors.h"
#include "model/atom_windows.h"
#include "model/primitives.h"
#include "model/sampler.h"
#include "model/test_batch.h"
#include "model/token_frames.h"

namespace megafold {
namespace {

using test::padded;
using test::shake;
using test::small_batch;

template <class F>
std::string refusal(F&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

bool all_finite(const at::Tensor& x) {
  return x.isfinite().all().item<bool>();
}

double worst(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_TRUE(all_finite(a) && all_finite(b));
  return (a - b).abs().max().item<double>();
}

Model tiny_model(at::ScalarType dtype) {
  at::set_num_threads(1);  // small tensors: a barrier costs more than it saves
  ModelConfig config = ModelConfig::preset("tiny");
  config.msa_blocks = 2;
  Model model(config, 3);
  shake(model.parameters());
  model.parameters().to(at::kCPU, dtype);
  return model;
}

/// Two templates that hold gaps and nothing else.
void add_empty_templates(Batch& batch) {
  const int64_t n = batch.num_tokens();
  batch.template_restype = at::full({2, n}, 31, at::kLong);
  batch.template_distogram = at::zeros({2, n, n, 39});
  batch.template_unit_vector = at::zeros({2, n, n, 3});
  batch.template_pseudo_beta_mask = at::zeros({2, n});
  batch.template_backbone_frame_mask = at::zeros({2, n});
}

ModelConfig tiny_with_templates() {
  ModelConfig config = ModelConfig::preset("tiny");
  config.template_blocks = 1, config.c_template = 16, config.template_multiplication_width = 16;
  config.template_attention_heads = 2, config.template_attention_width = 8;
  return config;
}

TEST(ModelConfig, EveryPresetIsValidAndRangesAreNamed) {
  for (const char* name : {"initial", "demo", "tiny"})
    EXPECT_NO_THROW(ModelConfig::preset(name).validate()) << name;
  EXPECT_NE(refusal([] { (void)ModelConfig::preset("huge"); }).find("huge"), std::string::npos);
  ModelConfig config;
  config.c_z = 0;
  EXPECT_NE(refusal([&] { config.validate(); }).find("model.c_z is 0"), std::string::npos);
  config = {};
  config.pair_dropout = std::nan("");
  EXPECT_NE(refusal([&] { config.validate(); }).find("pair_dropout"), std::string::npos);
  config = {};
  config.diffusion_heads = 7;
  EXPECT_NE(refusal([&] { config.validate(); }).find("divide model.c_token, which is 768"),
            std::string::npos);
}

TEST(Parameters, ASeedFixesEveryValueByNameAlone) {
  const ModelConfig config = ModelConfig::preset("tiny");
  const Model a(config, 5), b(config, 5), other(config, 6);
  ModelConfig deeper = config;
  deeper.pairformer_blocks = 2;
  const Model c(deeper, 5);
  int64_t differ = 0;
  for (const Parameters::Entry& entry : a.parameters().entries()) {
    EXPECT_TRUE(all_finite(entry.tensor)) << entry.name;
    EXPECT_TRUE(entry.tensor.equal(b.parameters().find(entry.name)->tensor)) << entry.name;
    // Another block beside it changes nothing.
    EXPECT_TRUE(entry.tensor.equal(c.parameters().find(entry.name)->tensor)) << entry.name;
    differ += entry.tensor.equal(other.parameters().find(entry.name)->tensor) ? 0 : 1;
  }
  EXPECT_GT(differ, 20);
}

TEST(Parameters, InitialisationHasTheStatedMoments) {
  Parameters parameters;
  const Scope scope(parameters, 1);
  const at::Tensor w =
      scope.parameter("w", {400, 100}, {kLecun.of(200), kHe.of(100), kZeros.of(50), kOnes});
  const auto deviation = [&](int64_t begin, int64_t end) {
    return w.slice(0, begin, end).std().item<double>();
  };
  EXPECT_NEAR(deviation(0, 200), std::sqrt(1.0 / 100), 0.002);
  EXPECT_NEAR(deviation(200, 300), std::sqrt(2.0 / 100), 0.004);
  EXPECT_EQ(w.slice(0, 300, 350).abs().max().item<double>(), 0);
  EXPECT_TRUE(w.slice(0, 350, 400).eq(1).all().item<bool>());
  // Cut at two standard deviations of the underlying normal.
  EXPECT_LE(w.slice(0, 0, 200).abs().max().item<double>(), 2 * 0.1 / 0.8796 + 1e-6);
  EXPECT_THROW((void)scope.parameter("w", {2, 2}, {kZeros}), BadInput);
  EXPECT_THROW((void)scope.parameter("v", {4, 2}, {kZeros.of(3)}), BadInput);
}

TEST(Parameters, LoadNamesWhatDoesNotFit) {
  Model model(ModelConfig::preset("tiny"), 1);
  EXPECT_NE(refusal([&] { model.parameters().load("no.such", at::zeros({1})); }).find("no.such"),
            std::string::npos);
  const std::string message =
      refusal([&] { model.parameters().load("single_init.weight", at::zeros({2, 3})); });
  EXPECT_NE(message.find("single_init.weight"), std::string::npos);
  EXPECT_NE(message.find("[2, 3]"), std::string::npos);
}

TEST(Parameters, MovingReachesTheModules) {
  const Batch batch = small_batch("mono", 30);
  Model model = tiny_model(at::kFloat);
  const TrainingOutput before = model.forward_train(batch, {.seed = 1});
  model.parameters().to(at::kCPU, at::kDouble);
  const TrainingOutput after = model.forward_train(batch, {.seed = 1});
  EXPECT_EQ(after.x_denoised.scalar_type(), at::kDouble);
  EXPECT_LT(worst(before.x_denoised.to(at::kDouble), after.x_denoised), 2e-2);
}

TEST(AtomWindows, EveryAtomIsAQueryOnceAndKeysSitAroundTheirQueries) {
  for (const int64_t atoms : {1, 31, 32, 33, 98, 128}) {
    const at::Tensor index = at::arange(1, atoms + 1);  // 0 is padding
    const at::Tensor q = query_windows(index), k = key_windows(index);
    EXPECT_EQ(q.size(0), num_windows(atoms));
    EXPECT_EQ(q.sum().item<int64_t>(), atoms * (atoms + 1) / 2);
    for (int64_t w = 0; w < q.size(0); ++w)
      for (int64_t j = 0; j < kWindowKeys; ++j) {
        const int64_t atom = 32 * w - 48 + j;
        EXPECT_EQ(k[w][j].item<int64_t>(), atom >= 0 && atom < atoms ? atom + 1 : 0);
      }
  }
}

TEST(Dropout, MasksAreSharedAndScaled) {
  Dropout drop(Random(1, 2, 3, Purpose::dropout)), again(Random(1, 2, 3, Purpose::dropout)), off;
  const at::Tensor x = at::ones({5, 40, 50});
  const at::Tensor row = drop.rowwise(x, 0.25), column = drop.columnwise(x, 0.25);
  EXPECT_TRUE(row.equal(again.rowwise(x, 0.25)));
  EXPECT_TRUE(row.select(0, 0).unsqueeze(0).expand_as(row).equal(row));
  EXPECT_TRUE(column.select(1, 0).unsqueeze(1).expand_as(column).equal(column));
  EXPECT_FALSE(column.select(0, 0).equal(column.select(0, 1)));
  const double kept = row.select(0, 0).gt(0).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(kept, 0.75, 0.04);
  EXPECT_NEAR(row.max().item<double>(), 1 / 0.75, 1e-6);
  EXPECT_TRUE(off.rowwise(x, 0.25).equal(x));
}

TEST(Sampler, ScheduleAndAugmentation) {
  const auto levels = noise_schedule(200, Conventions{});
  EXPECT_NEAR(levels.front(), 2560, 1e-9);
  EXPECT_EQ(levels.back(), 0);
  EXPECT_TRUE(std::ranges::is_sorted(levels, std::greater<>()));

  SampleStreams streams(1, 2, 3, Purpose::augmentation, 4);
  const auto [rotation, shift] = streams.rigid();
  const at::Tensor identity =
      at::matmul(rotation, rotation.transpose(1, 2)) - at::eye(3).unsqueeze(0);
  EXPECT_LT(identity.abs().max().item<double>(), 1e-6);
  EXPECT_NEAR(at::linalg_det(rotation).min().item<double>(), 1, 1e-6);
  const at::Tensor x = at::arange(30, at::kFloat).view({10, 3}).sin() * 10;
  const at::Tensor moved = centre_augment(x, {}, rotation, shift);
  EXPECT_LT((moved.mean(1) - shift).abs().max().item<double>(), 1e-5);
  EXPECT_LT(worst(at::cdist(moved[0], moved[0]), at::cdist(x, x)), 1e-3);
  // A sample's stream does not depend on how many there are.
  SampleStreams few(1, 2, 3, Purpose::augmentation, 2);
  EXPECT_TRUE(few.rigid().first.equal(rotation.slice(0, 0, 2)));
}

TEST(Model, TrainingOutputIsReproducibleAndRecyclingCutsTheGradient) {
  const Batch batch = small_batch("dimer", 40);
  Model model = tiny_model(at::kDouble);
  const TrainOptions options{.seed = 4, .cycles = 2, .samples = 3, .rollout_steps = 3};
  const TrainingOutput a = model.forward_train(batch, options);
  const TrainingOutput b = model.forward_train(batch, options);
  EXPECT_EQ(a.x_denoised.sizes(), at::IntArrayRef({3, batch.num_atoms(), 3}));
  EXPECT_TRUE(all_finite(a.x_denoised));
  EXPECT_TRUE(a.x_denoised.equal(b.x_denoised));
  const TrainingOutput c = model.forward_train(batch, {.seed = 5, .cycles = 2, .samples = 3});
  EXPECT_FALSE(a.x_denoised.equal(c.x_denoised));
  // One cycle is another function than two; each draws its own rows and masks.
  const TrainingOutput one = model.forward_train(batch, {.seed = 4, .cycles = 1, .samples = 3});
  EXPECT_GT(worst(a.distogram_logits, one.distogram_logits), 1e-6);
  EXPECT_TRUE(one.x_denoised.defined() && !one.confidence);
  ASSERT_TRUE(a.confidence && b.confidence);
  EXPECT_EQ(a.confidence->plddt.sizes(), at::IntArrayRef({batch.num_atoms(), 50}));
  EXPECT_TRUE(a.confidence->pae.equal(b.confidence->pae));
  EXPECT_FALSE(a.x_rollout.requires_grad());
  // The head's gradient stays in the head.
  const auto& head = *a.confidence;
  (head.plddt.sum() + head.pae.square().sum() + head.pde.sum() + head.resolved.sum()).backward();
  for (const Parameters::Entry& entry : model.parameters().entries())
    EXPECT_EQ(entry.tensor.grad().defined(),
              entry.trainable && entry.name.starts_with("confidence."))
        << entry.name;
  (a.x_denoised.sum() + a.distogram_logits.sum()).backward();
  for (const Parameters::Entry& entry : model.parameters().entries())
    EXPECT_TRUE(!entry.trainable || entry.tensor.grad().defined()) << entry.name;
}

TEST(Model, TheMiniRolloutIsMadeOnlyForWhoReadsIt) {
  const Batch batch = small_batch("dimer", 40);
  const TrainOptions options{
      .seed = 4, .cycles = 1, .samples = 1, .rollout_steps = 2, .confidence = false};
  const Model model(ModelConfig::preset("tiny"), 3);
  EXPECT_FALSE(model.forward_train(batch, options).x_rollout.defined());
  int asked = 0;
  TrainOptions named = options;
  named.labels = [&](const Batch& of, const at::Tensor& x) {
    EXPECT_EQ(x.sizes(), of.atom_positions.sizes());
    ++asked;
    return Labels{of.atom_positions, of.atom_resolved_mask};
  };
  EXPECT_TRUE(model.forward_train(batch, named).x_rollout.defined());
  EXPECT_EQ(asked, 1);
  ModelConfig config = ModelConfig::preset("tiny");
  config.confidence_blocks = 0;
  TrainOptions judged = options;
  judged.confidence = true;
  EXPECT_FALSE(Model(config, 3).forward_train(batch, judged).x_rollout.defined());
  EXPECT_TRUE(model.forward_train(batch, judged).x_rollout.defined());
}

TEST(Model, SamplesAreReproducibleAndIndependentOfTheirNumber) {
  const Batch batch = small_batch("mono", 30);
  const Model model = tiny_model(at::kDouble);
  const at::Tensor two = model.sample(batch, {.seed = 9, .samples = 2, .steps = 3}).x;
  const at::Tensor three = model.sample(batch, {.seed = 9, .samples = 3, .steps = 3}).x;
  EXPECT_EQ(two.sizes(), at::IntArrayRef({2, batch.num_atoms(), 3}));
  EXPECT_FALSE(two.requires_grad());
  EXPECT_LT(worst(two, three.slice(0, 0, 2)), 1e-9);
  EXPECT_GT(worst(two[0], two[1]), 1e-3);
}

TEST(Model, ConfidenceOfASampleIsThatOfItsStructure) {
  const Batch batch = small_batch("dimer", 40);
  const Model model = tiny_model(at::kDouble);
  const Samples samples = model.sample(batch, {.seed = 9, .samples = 2, .steps = 3});
  ASSERT_EQ(samples.confidence.size(), 2U);
  EXPECT_FALSE(samples.confidence[0].pae.requires_grad());
  EXPECT_EQ(samples.confidence[0].pae.sizes(),
            at::IntArrayRef({batch.num_tokens(), batch.num_tokens(), 64}));
  EXPECT_GT(worst(samples.confidence[0].pae, samples.confidence[1].pae), 1e-6);
  // Rigid motion of the structure changes no distance, and so nothing.
  TrunkOutput trunk = model.denoise(batch, samples.x, at::ones({2}, at::kDouble), 2).trunk;
  SampleStreams streams(1, 2, 3, Purpose::augmentation, 2);
  const auto [rotation, shift] = streams.rigid();
  const auto still = model.confidence(batch, trunk, samples.x);
  const auto moved = model.confidence(
      batch, trunk, centre_augment(samples.x, {}, rotation.to(at::kDouble), shift.to(at::kDouble)));
  EXPECT_LT(worst(still[0].plddt, moved[0].plddt), 1e-4);  // rotations are f32
  ModelConfig without = ModelConfig::preset("tiny");
  without.confidence_blocks = 0;
  EXPECT_THROW((void)Model(without, 1).confidence(batch, trunk, samples.x), Unsupported);
  ModelConfig small = ModelConfig::preset("tiny");
  small.max_atoms_per_token = 2;
  EXPECT_NE(refusal([&] {
              (void)Model(small, 1).sample(batch, {.seed = 9, .steps = 1});
            }).find("max_atoms_per_token is 2"),
            std::string::npos);
}

TEST(Model, TemplatesOfAChainMoveItsPairsAndNoneMoveNothing) {
  Batch batch = small_batch("dimer", 92);
  Model model(tiny_with_templates(), 3);
  shake(model.parameters());
  model.parameters().to(at::kCPU, at::kDouble);
  const int64_t n = batch.num_tokens();
  const at::Tensor x = at::zeros({1, batch.num_atoms(), 3}, at::kDouble),
                   t = at::ones({1}, at::kDouble);
  const auto pairs = [&] { return model.denoise(batch, x, t, 1).trunk.z; };
  const at::Tensor without = pairs();
  add_empty_templates(batch);
  const at::Tensor empty = pairs();
  EXPECT_GT(worst(without, empty), 1e-6);  // gaps are a feature too
  // A distance between two chains is not read (Protenix), one within a chain is.
  batch.template_distogram[0][0][n - 1][5].fill_(1);
  EXPECT_EQ(worst(empty, pairs()), 0);
  batch.template_distogram[0][0][1][5].fill_(1);
  const at::Tensor with = pairs();
  EXPECT_GT(worst(empty, with), 1e-6);
  with.sum().backward();
  for (const Parameters::Entry& entry : model.parameters().entries()) {
    const bool counts = entry.trainable && entry.name.starts_with("template_embedder.");
    EXPECT_TRUE(!counts || entry.tensor.grad().defined()) << entry.name;
  }
  batch.template_unit_vector = at::zeros({1, n, n, 3});
  EXPECT_NE(refusal([&] { (void)pairs(); }).find("template_unit_vector"), std::string::npos);
}

TEST(Model, ATrunkInBf16IsCloseAndItsWeightsStayAsTheyAre) {
  Batch batch = padded(small_batch("dimer", 24), 7, 45, 3);  // every mask is there
  add_empty_templates(batch);
  ModelConfig config = tiny_with_templates();
  config.msa_blocks = 2;
  for (const Dialect dialect : {Dialect::alphafold3, Dialect::openfold3, Dialect::protenix}) {
    config.dialect = dialect;
    Model model(config, 3);
    shake(model.parameters());
    const auto run = [&](std::optional<at::ScalarType> type) {
      for (at::Tensor& t : model.parameters().trainable()) t.mutable_grad().reset();
      TrainingOutput out =
          model.forward_train(batch, {.seed = 2, .cycles = 2, .samples = 2, .trunk_type = type});
      (out.x_denoised.square().sum() + out.distogram_logits.square().sum()).backward();
      std::vector<at::Tensor> gradients;
      for (const at::Tensor& t : model.parameters().trainable()) {
        EXPECT_EQ(t.scalar_type(), at::kFloat);
        if (t.grad().defined()) gradients.push_back(t.grad().flatten());
      }
      return std::pair(std::move(out), at::cat(gradients));
    };
    const auto off = [](const at::Tensor& a, const at::Tensor& b) {
      EXPECT_TRUE(a.scalar_type() == at::kFloat && all_finite(a));
      return ((a - b).norm() / b.norm()).item<double>();
    };
    const auto [exact, g] = run({});
    const auto [rounded, g16] = run(at::kBFloat16);
    const double logits = off(rounded.distogram_logits, exact.distogram_logits);
    EXPECT_GT(logits, 1e-4);  // bf16 was at work
    EXPECT_LT(logits, 2e-2);
    EXPECT_LT(off(rounded.x_denoised, exact.x_denoised), 2e-2);
    EXPECT_LT(off(g16, g), 4e-2);
  }
}

TEST(Model, ARecomputedStepIsTheStep) {
  const Batch batch = padded(small_batch("dimer", 24), 7, 45, 3);
  Model model = tiny_model(at::kDouble);
  const auto gradients = [&](bool recompute) {
    for (at::Tensor& t : model.parameters().trainable()) t.mutable_grad().reset();
    const TrainingOutput out = model.forward_train(
        batch, {.seed = 2, .cycles = 2, .samples = 2, .rollout_steps = 2, .recompute = recompute});
    (out.x_denoised.square().sum() + out.distogram_logits.square().sum() +
     out.confidence->pae.square().sum())
        .backward();
    std::vector<at::Tensor> found;
    for (const at::Tensor& t : model.parameters().trainable())
      found.push_back(t.grad().defined() ? t.grad().flatten()
                                         : at::zeros({t.numel()}, t.options()));
    return at::cat(found);
  };
  // Dropout draws the same masks again; only the order in which gradients are added differs.
  const at::Tensor kept = gradients(false), again = gradients(true);
  EXPECT_LT(worst(kept, again), 1e-13 * kept.abs().max().item<double>());
  EXPECT_TRUE(again.equal(gradients(true)));
}

TEST(TokenFrames, ResiduesByNameAndLigandsByTheirConformer) {
  const Batch batch = small_batch("dimer", 92);
  const TokenFrames frames = token_frames(batch);
  const at::Tensor ligand = batch.is_atomized;
  ASSERT_TRUE(ligand.any().item<bool>());
  EXPECT_TRUE(frames.has_frame.logical_or(ligand).all().item<bool>());
  for (int64_t i = 0; i < batch.num_tokens(); ++i) {
    if (!frames.has_frame[i].item<bool>()) continue;
    const auto atom = [&](int64_t k) { return frames.atoms[i][k].item<int64_t>(); };
    EXPECT_EQ(atom(1), batch.center_atom[i].item<int64_t>());
    const auto distance = [&](int64_t k) {
      return (batch.ref_pos[atom(k)] - batch.ref_pos[atom(1)]).norm().item<double>();
    };
    if (ligand[i].item<bool>()) {
      EXPECT_LE(distance(0), distance(2));
      EXPECT_EQ(batch.ref_space_uid[atom(0)].item<int64_t>(),
                batch.ref_space_uid[atom(1)].item<int64_t>());
    }
  }
  const at::Tensor place = atom_in_token(batch.atom_to_token, batch.num_tokens());
  for (int64_t a = 1; a < batch.num_atoms(); ++a) {
    const bool same =
        batch.atom_to_token[a].item<int64_t>() == batch.atom_to_token[a - 1].item<int64_t>();
    EXPECT_EQ(place[a].item<int64_t>(), same ? place[a - 1].item<int64_t>() + 1 : 0);
  }
}

TEST(Model, PaddingChangesNothing) {
  for (const char* entry : {"mono", "trimer"}) {
    const Batch batch = small_batch(entry, 40);
    Batch big = padded(batch, 7, 45, 3);
    Model model = tiny_model(at::kDouble);
    const TrainOptions options{.seed = 2, .cycles = 2, .samples = 2, .dropout = false};
    const TrainingOutput a = model.forward_train(batch, options);
    const TrainingOutput b = model.forward_train(big, options);
    const int64_t n = batch.num_tokens(), atoms = batch.num_atoms();
    EXPECT_LT(worst(a.distogram_logits, b.distogram_logits.slice(0, 0, n).slice(1, 0, n)), 1e-10)
        << entry;
    EXPECT_LT(worst(a.x_denoised, b.x_denoised.slice(1, 0, atoms)), 1e-10) << entry;
    // Gradients of the real part are the same, and finite.
    const auto gradient = [&](const TrainingOutput& out) {
      for (at::Tensor& t : model.parameters().trainable()) t.mutable_grad().reset();
      (out.x_denoised.slice(1, 0, atoms).square().sum() +
       out.distogram_logits.slice(0, 0, n).slice(1, 0, n).square().sum())
          .backward();
      std::vector<at::Tensor> all;
      for (const at::Tensor& t : model.parameters().trainable()) all.push_back(t.grad().flatten());
      return at::cat(all);
    };
    const at::Tensor ga = gradient(a), gb = gradient(b);
    EXPECT_LT(worst(ga, gb), 1e-9 * ga.abs().max().item<double>()) << entry;
  }
}

TEST(Model, WrongShapesAreNamed) {
  const Model model = tiny_model(at::kFloat);
  Batch batch = small_batch("mono", 30);
  batch.profile = at::zeros({30, 31});
  EXPECT_NE(refusal([&] {
              (void)model.forward_train(batch, {});
            }).find("profile has shape [30, 31], [30, 32] was expected"),
            std::string::npos);
  batch = small_batch("mono", 30);
  batch.ref_charge = at::zeros({3});
  EXPECT_NE(refusal([&] { (void)model.forward_train(batch, {}); }).find("ref_charge"),
            std::string::npos);
  batch = small_batch("mono", 30);
  batch.msa_mask = at::zeros_like(batch.msa_mask);
  EXPECT_NE(refusal([&] { (void)model.forward_train(batch, {}); }).find("alignment"),
            std::string::npos);
}

}  // namespace
}  // namespace megafold
