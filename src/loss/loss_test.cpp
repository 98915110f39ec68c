// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/errors.h"
#include "loss/bond_loss.h"
#include "loss/confidence_losses.h"
#include "loss/diffusion_mse.h"
#include "loss/distogram_loss.h"
#include "loss/smooth_lddt.h"
#include "loss/total.h"
#include "loss/weighted_rigid_align.h"
#include "model/diffusion_conditioning.h"
#include "model/sampler.h"
#include "model/test_batch.h"

namespace megafold {
namespace {

at::Tensor normal(std::vector<int64_t> shape, uint64_t stream, double scale = 1) {
  at::Tensor out = at::empty(shape, at::kDouble);
  Random random(11, stream, 0, Purpose::noise);
  for (int64_t i = 0; i < out.numel(); ++i) out.data_ptr<double>()[i] = scale * random.normal();
  return out;
}

/// |analytic - numeric| / scale of the derivative of f along a fixed direction, at x.
template <class F>
double derivative_error(F&& f, const at::Tensor& x, double step = 1e-5) {
  at::Tensor leaf = x.detach().clone().set_requires_grad(true);
  f(leaf).backward();
  const at::Tensor direction = normal(x.sizes().vec(), 99);
  const double analytic = (leaf.grad() * direction).sum().template item<double>();
  const auto value = [&](double h) {
    return f(x.detach() + h * direction).template item<double>();
  };
  const double numeric =
      (8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / (12 * step);
  return std::abs(analytic - numeric) / std::max(std::abs(numeric), 1e-3);
}

struct Cloud {
  at::Tensor x_true = normal({40, 3}, 1, 8), x = x_true.unsqueeze(0) + normal({2, 40, 3}, 2, 2);
  at::Tensor resolved = normal({40}, 3).gt(-0.8).to(at::kDouble);
  at::Tensor nucleotide = normal({40}, 4).gt(0.5).to(at::kDouble);
};

std::pair<at::Tensor, at::Tensor> motion(int64_t samples) {
  SampleStreams streams(5, 6, 7, Purpose::augmentation, samples);
  auto [rotation, shift] = streams.rigid();
  // Orthonormal to f64, not only to f32.
  const auto [u, s, vh] = at::linalg_svd(rotation.to(at::kDouble));
  return {at::matmul(u, vh), shift.to(at::kDouble) * 10};
}

TEST(WeightedRigidAlign, RecoversAKnownMotionAndNeverMirrors) {
  const Cloud c;
  const auto [rotation, shift] = motion(2);
  const at::Tensor weight = c.resolved * (1 + 5 * c.nucleotide);
  const at::Tensor moved = centre_augment(c.x_true, {}, rotation, shift);
  const at::Tensor aligned =
      weighted_rigid_align(c.x_true.unsqueeze(0).expand({2, 40, 3}), moved, weight);
  EXPECT_LT((aligned - moved).abs().max().item<double>(), 1e-12);
  // The mirror image cannot be reached: distances within the result are the truth's, and its
  // handedness too.
  const at::Tensor mirror = moved * at::tensor({-1.0, 1.0, 1.0}, at::kDouble);
  const at::Tensor back =
      weighted_rigid_align(c.x_true.unsqueeze(0).expand({2, 40, 3}), mirror, weight);
  const auto handedness = [](const at::Tensor& x) {
    return at::linalg_det(x.slice(0, 1, 4) - x.slice(0, 0, 1)).item<double>();
  };
  EXPECT_GT(handedness(back[0]) * handedness(c.x_true), 0);
  EXPECT_GT((back - mirror).abs().max().item<double>(), 1);
  // No other rotation brings it nearer.
  const auto cost = [&](const at::Tensor& x) {
    return ((x - mirror[0]).square().sum(-1) * weight).sum().item<double>();
  };
  const double best = cost(back[0]);
  for (int64_t axis = 0; axis < 3; ++axis)
    for (const double angle : {-0.01, 0.01}) {
      at::Tensor turn = at::eye(3, at::kDouble);
      const int64_t a = (axis + 1) % 3, b = (axis + 2) % 3;
      turn[a][a].fill_(std::cos(angle)), turn[b][b].fill_(std::cos(angle));
      turn[a][b].fill_(-std::sin(angle)), turn[b][a].fill_(std::sin(angle));
      const at::Tensor centre = (mirror[0] * weight.unsqueeze(1)).sum(0, true) / weight.sum();
      EXPECT_GT(cost(at::matmul(back[0] - centre, turn) + centre), best);
    }
}

TEST(DiffusionMse, ValueMotionAndGradient) {
  const Cloud c;
  const at::Tensor zero = at::zeros({40}, at::kDouble);
  const at::Tensor weight = diffusion_atom_weights(c.resolved, zero, zero, c.nucleotide);
  EXPECT_EQ(weight.max().item<double>(), 11);
  const auto loss = [&](const at::Tensor& x) {
    return diffusion_mse(x, c.x_true, weight, c.resolved).sum();
  };
  const auto [rotation, shift] = motion(2);
  EXPECT_NEAR(loss(c.x).item<double>(),
              loss(centre_augment(c.x, {}, rotation, shift)).item<double>(), 1e-10);
  EXPECT_LT(loss(centre_augment(c.x_true, {}, rotation, shift)).item<double>(), 1e-20);
  // At the best alignment the derivative through the alignment itself vanishes.
  EXPECT_LT(derivative_error(loss, c.x), 1e-7);
  // Unresolved atoms do not matter, whatever they hold.
  const at::Tensor elsewhere = c.x + 100 * (1 - c.resolved).unsqueeze(-1);
  EXPECT_NEAR(loss(c.x).item<double>(), loss(elsewhere).item<double>(), 1e-9);
}

TEST(SmoothLddt, ValueMotionMasksAndGradient) {
  const Cloud c;
  const auto loss = [&](const at::Tensor& x) {
    return smooth_lddt_loss(x, c.x_true, c.resolved, c.nucleotide).sum();
  };
  // The equation, written out.
  const at::Tensor pairs = smooth_lddt_pairs(c.x_true, c.resolved, c.nucleotide);
  double expected = 0;
  for (int64_t s = 0; s < 2; ++s) {
    double sum = 0, count = 0;
    for (int64_t l = 0; l < 40; ++l)
      for (int64_t m = 0; m < 40; ++m) {
        const double truth = (c.x_true[l] - c.x_true[m]).norm().item<double>();
        const bool counted = l != m && c.resolved[l].item<double>() > 0 &&
                             c.resolved[m].item<double>() > 0 &&
                             truth < (c.nucleotide[l].item<double>() > 0 ? 30 : 15);
        EXPECT_EQ(pairs[l][m].item<bool>(), counted);
        if (!counted) continue;
        const double error = std::abs((c.x[s][l] - c.x[s][m]).norm().item<double>() - truth);
        for (const double t : {0.5, 1.0, 2.0, 4.0}) sum += 0.25 / (1 + std::exp(error - t));
        ++count;
      }
    expected += 1 - sum / count;
  }
  EXPECT_NEAR(loss(c.x).item<double>(), expected, 1e-9);
  const auto [rotation, shift] = motion(2);
  EXPECT_NEAR(loss(centre_augment(c.x, {}, rotation, shift)).item<double>(), expected, 1e-10);
  EXPECT_LT(derivative_error(loss, c.x), 1e-8);
  // The form for other devices is the same function.
  const auto by_blocks = [&](const at::Tensor& x) {
    return smooth_lddt_loss_by_blocks(x, c.x_true, c.resolved, c.nucleotide).sum();
  };
  EXPECT_NEAR(by_blocks(c.x).item<double>(), expected, 1e-9);
  EXPECT_LT(derivative_error(by_blocks, c.x), 1e-8);
  // Perfect positions, and two atoms in one place: finite, no NaN in the gradient.
  at::Tensor same = c.x_true.unsqueeze(0).repeat({2, 1, 1});
  same[1][3].copy_(same[1][4]);
  same.set_requires_grad(true);
  (loss(same) + by_blocks(same)).backward();
  EXPECT_TRUE(same.grad().isfinite().all().item<bool>());
}

TEST(BondLoss, ValueGradientAndNoBonds) {
  const Cloud c;
  const at::Tensor bonds = at::tensor({0, 1, 5, 9, 20, 33}, at::kLong).view({3, 2});
  const auto loss = [&](const at::Tensor& x) { return bond_loss(x, c.x_true, bonds).sum(); };
  EXPECT_LT(derivative_error(loss, c.x), 1e-8);
  EXPECT_LT(loss(c.x_true.unsqueeze(0)).item<double>(), 1e-20);
  EXPECT_EQ(bond_loss(c.x, c.x_true, at::empty({0, 2}, at::kLong)).abs().sum().item<double>(), 0);
}

TEST(DistogramLoss, PicksTheBinOfTheDistance) {
  const at::Tensor x =
      at::tensor({0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 90.0, 0.0, 0.0}, at::kDouble).view({3, 3});
  const at::Tensor resolved = at::ones({3}, at::kDouble);
  // Edges 2.3125 + 0.3125 k: 0 A is bin 0, 5 A is bin 9, 85 A and more is bin 63.
  at::Tensor logits = at::zeros({3, 3, 64}, at::kDouble);
  const int64_t bins[3][3] = {{0, 9, 63}, {9, 0, 63}, {63, 63, 0}};
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = 0; j < 3; ++j) logits[i][j][bins[i][j]].fill_(50);
  EXPECT_LT(distogram_loss(logits, x, resolved).item<double>(), 1e-6);
  logits[0][1][9].fill_(0);
  EXPECT_NEAR(distogram_loss(logits, x, resolved).item<double>(), std::log(64) / 9, 1e-5);
  const auto loss = [&](const at::Tensor& l) { return distogram_loss(l, x, resolved); };
  EXPECT_LT(derivative_error(loss, normal({3, 3, 64}, 8)), 1e-8);
}

TEST(ConfidenceLosses, PerfectLogitsCostNothingAndGradientsHold) {
  const Cloud c;
  const at::Tensor tokens = at::arange(0, 40, 4), partners = c.resolved.nonzero().squeeze(-1);
  const TokenFrames frames{at::stack({tokens + 1, tokens, tokens + 2}, -1),
                           at::ones({10}, at::kBool)};
  const at::Tensor exact = c.x_true.unsqueeze(0);
  const auto [rotation, shift] = motion(1);
  const at::Tensor moved = centre_augment(exact, {}, rotation, shift);
  // A structure that is right up to a motion: no error, so the lowest bin of PAE and PDE and the
  // highest of pLDDT.
  const auto one_bin = [](std::vector<int64_t> shape, int64_t bin) {
    at::Tensor logits = at::zeros(shape, at::kDouble);
    logits.select(-1, bin).fill_(40);
    return logits;
  };
  EXPECT_LT(
      pae_loss(one_bin({1, 10, 10, 64}, 0), moved, c.x_true, c.resolved, frames, frames, tokens)
          .item<double>(),
      1e-9);
  EXPECT_LT(
      pde_loss(one_bin({1, 10, 10, 64}, 0), moved, c.x_true, c.resolved, tokens).item<double>(),
      1e-9);
  EXPECT_LT(
      plddt_loss(one_bin({1, 40, 50}, 49), moved, c.x_true, c.resolved, c.nucleotide, partners)
          .item<double>(),
      1e-9);
  const auto of = [&](auto&& f, std::vector<int64_t> shape) {
    return derivative_error(f, normal(shape, 12));
  };
  EXPECT_LT(of(
                [&](const at::Tensor& l) {
                  return pae_loss(l, c.x, c.x_true, c.resolved, frames, frames, tokens);
                },
                {2, 10, 10, 64}),
            1e-8);
  EXPECT_LT(of([&](const at::Tensor& l) { return pde_loss(l, c.x, c.x_true, c.resolved, tokens); },
               {2, 10, 10, 64}),
            1e-8);
  EXPECT_LT(of(
                [&](const at::Tensor& l) {
                  return plddt_loss(l, c.x, c.x_true, c.resolved, c.nucleotide, partners);
                },
                {2, 40, 50}),
            1e-8);
  EXPECT_LT(of([&](const at::Tensor& l) { return resolved_loss(l, c.resolved); }, {2, 40, 2}),
            1e-8);
}

/// A loss along a random direction in the parameters of each part, f64: analytic and numeric.
template <class Value>
void expect_derivatives(const Model& model, const Value& value,
                        std::initializer_list<const char*> parts) {
  value().backward();
  for (const char* part : parts) {
    double analytic = 0;
    std::vector<std::pair<at::Tensor, at::Tensor>> moves;
    for (const Parameters::Entry& entry : model.parameters().entries()) {
      if (!entry.trainable || entry.name.find(part) == std::string::npos) continue;
      const at::Tensor direction = normal(entry.tensor.sizes().vec(), stream_id(entry.name));
      if (entry.tensor.grad().defined())  // a first cycle leaves the recycling norms' scale out
        analytic += (entry.tensor.grad() * direction).sum().template item<double>();
      moves.emplace_back(entry.tensor.detach(), direction);
    }
    ASSERT_FALSE(moves.empty()) << part;
    const auto at_step = [&](double h) {
      for (auto& [tensor, direction] : moves) tensor.add_(direction, h);
      const double result = value().template item<double>();
      for (auto& [tensor, direction] : moves) tensor.sub_(direction, h);
      return result;
    };
    constexpr double kStep = 1e-7;  // small: relu's kinks are many
    const double numeric =
        (8 * (at_step(kStep) - at_step(-kStep)) - (at_step(2 * kStep) - at_step(-2 * kStep))) /
        (12 * kStep);
    EXPECT_TRUE(std::isfinite(numeric)) << part;
    EXPECT_NEAR(analytic, numeric, 1e-5 * std::max(1.0, std::abs(numeric))) << part;
    EXPECT_NE(numeric, 0) << part;
  }
}

Model shaken_model(int64_t msa_blocks) {
  at::set_num_threads(1);  // small tensors: a barrier costs more than it saves
  ModelConfig config = ModelConfig::preset("tiny");
  config.msa_blocks = msa_blocks;
  Model model(config, 3);
  test::shake(model.parameters());
  model.parameters().to(at::kCPU, at::kDouble);
  return model;
}

TEST(TotalLoss, GradientOfEveryModuleByFiniteDifferences) {
  Batch batch = test::small_batch("trimer", 24);
  batch.token_bonds[2][9].fill_(1), batch.token_bonds[9][2].fill_(1);
  const Model model = shaken_model(2);
  const auto value = [&] {
    return training_losses(model.forward_train(batch, {.seed = 1, .cycles = 1, .samples = 2}),
                           batch, {})
        .total;
  };
  expect_derivatives(model, value,
                     {"input_embedder",
                      "relative_position",
                      "token_bond",
                      "single_init",
                      "pair_init",
                      "recycle_norm",
                      "recycle_pair",
                      "recycle_single",
                      "outer_product_mean",
                      "averaging",
                      "msa_transition",
                      "triangle_multiplication_out",
                      "triangle_multiplication_in",
                      "triangle_attention_start",
                      "triangle_attention_end",
                      "pair_transition",
                      "pairformer.blocks.0.attention_pair_bias",
                      "pairformer.blocks.0.single_transition",
                      "diffusion.conditioning",
                      "diffusion.atom_encoder",
                      "diffusion.single",
                      "diffusion.transformer",
                      "diffusion.atom_decoder",
                      "distogram"});
}

TEST(TotalLoss, GradientOfTheConfidenceHeadByFiniteDifferences) {
  const Batch batch = test::small_batch("trimer", 24);
  const Model model = shaken_model(1);
  TrainingOutput output;
  TrunkOutput trunk;
  {
    const c10::NoGradGuard no_grad;  // the structure and the trunk stand; the head moves
    output = model.forward_train(batch, {.seed = 1, .cycles = 1, .samples = 2, .rollout_steps = 3});
    trunk = model.denoise(batch, output.x_noisy, output.t_hat, 1).trunk;
  }
  const LossWeights weights{
      .diffusion = 0, .smooth_lddt = 0, .distogram = 0, .confidence = 1, .pae = 1};
  const auto value = [&] {
    output.confidence = model.confidence(batch, trunk, output.x_rollout).front();
    return training_losses(output, batch, weights).total;
  };
  expect_derivatives(model, value,
                     {"confidence.norm_s", "confidence.pair_from_column",
                      "confidence.pair_from_row", "confidence.distance_bin", "confidence.distance.",
                      "confidence.pairformer", "confidence.norm_pae", "confidence.norm_pde",
                      "confidence.norm_plddt", "confidence.norm_resolved", "confidence.pae",
                      "confidence.pde", "confidence.plddt", "confidence.resolved"});
}

TEST(TotalLoss, ConfidenceCountsWithinTheResolutionsAlone) {
  Batch batch = test::small_batch("dimer", 40);
  const Model model(ModelConfig::preset("tiny"), 3);
  const TrainingOutput output =
      model.forward_train(batch, {.seed = 1, .samples = 2, .rollout_steps = 2});
  const LossWeights weights{.confidence = 2};
  const TrainingLosses with = training_losses(output, batch, weights);
  // An untrained head says every bin alike.
  EXPECT_NEAR(with.plddt.item<double>(), std::log(50), 1e-4);
  EXPECT_NEAR(with.pae.item<double>(), std::log(64), 1e-4);
  EXPECT_NEAR(with.pde.item<double>(), std::log(64), 1e-4);
  EXPECT_NEAR(with.experimentally_resolved.item<double>(), std::log(2), 1e-4);
  for (const double resolution : {-1.0, 0.05, 4.5, std::nan("")}) {
    batch.resolution = resolution;
    const TrainingLosses without = training_losses(output, batch, weights);
    EXPECT_FALSE(without.plddt.defined()) << resolution;
    EXPECT_NEAR(with.total.item<double>() - without.total.item<double>(),
                2 * (std::log(50) + std::log(64) + std::log(2)), 1e-3)
        << resolution;  // PAE's weight is 0
  }
}

TEST(BondLoss, JoinsTheNearestResolvedAtomsOfPolymerAndLigand) {
  Batch batch = test::small_batch("dimer", 92);
  batch.token_bonds.zero_();
  EXPECT_EQ(bonded_atoms(batch).sizes(), at::IntArrayRef({0, 2}));
  const int64_t ligand = batch.is_ligand.nonzero()[0].item<int64_t>();
  const auto bond = [&](int64_t i, int64_t j) {
    batch.token_bonds[i][j].fill_(1), batch.token_bonds[j][i].fill_(1);
  };
  bond(ligand, ligand + 1);  // within the ligand: not of SI eq. 5
  EXPECT_EQ(bonded_atoms(batch).size(0), 0);
  bond(2, ligand);
  const at::Tensor pair = bonded_atoms(batch);
  ASSERT_EQ(pair.sizes(), at::IntArrayRef({1, 2}));
  const int64_t l = pair[0][0].item<int64_t>(), m = pair[0][1].item<int64_t>();
  EXPECT_EQ(batch.atom_to_token[l].item<int64_t>(), 2);
  EXPECT_EQ(batch.atom_to_token[m].item<int64_t>(), ligand);
  const at::Tensor d = (batch.atom_positions - batch.atom_positions[m]).norm(2, -1);
  EXPECT_EQ(d[l].item<float>(), d.masked_select(batch.atom_to_token.eq(2)).min().item<float>());
  batch.atom_resolved_mask[m].fill_(0);
  EXPECT_EQ(bonded_atoms(batch).size(0), 0);  // its one atom is not resolved
}

TEST(TotalLoss, TrivialPredictorAndRefusals) {
  const Batch batch = test::small_batch("dimer", 40);
  // An untrained model's output layer is zero, so it IS the trivial predictor.
  Model model(ModelConfig::preset("tiny"), 3);
  TrainingOutput output = model.forward_train(batch, {.seed = 1, .samples = 3});
  const TrainingLosses losses = training_losses(output, batch, {});
  EXPECT_EQ(losses.diffusion_mse.sizes(), at::IntArrayRef({3}));
  EXPECT_LT((losses.diffusion_mse / losses.trivial_mse - 1).abs().max().item<double>(), 1e-4);
  EXPECT_GT(losses.trivial_mse.min().item<double>(), 0);
  // The supplement prints another weight of the level.
  const TrainingLosses printed =
      training_losses(output, batch, {}, conventions_of(Dialect::alphafold3));
  const at::Tensor t = output.t_hat, ratio = (t * kSigmaData).square() / (t + kSigmaData).square();
  EXPECT_LT((printed.diffusion_mse / losses.diffusion_mse / ratio - 1).abs().max().item<double>(),
            1e-5);
  EXPECT_NEAR(losses.distogram.item<double>(), std::log(64), 1e-5);
  output.labels.resolved = at::zeros_like(batch.atom_resolved_mask);
  EXPECT_THROW((void)training_losses(output, batch, {}), BadInput);
}

}  // namespace
}  // namespace megafold
