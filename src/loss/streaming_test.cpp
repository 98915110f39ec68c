// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Of atoms x atoms nothing is held: the losses of 8,000 atoms stay under one such matrix.
#include <gtest/gtest.h>

#include <fstream>
#include <iostream>
#include <string>

#include "base/philox.h"
#include "loss/bond_loss.h"
#include "loss/confidence_losses.h"
#include "loss/smooth_lddt.h"

namespace megafold {
namespace {

constexpr int64_t kAtoms = 8000, kTokens = 400;
constexpr double kMatrix = kAtoms * kAtoms * 4.0;  // bytes of f32 [A, A]

at::Tensor normal(std::vector<int64_t> shape, uint64_t stream, double scale) {
  at::Tensor out = at::empty(shape, at::kFloat);
  Random random(21, stream, 0, Purpose::noise);
  for (int64_t i = 0; i < out.numel(); ++i)
    out.data_ptr<float>()[i] = static_cast<float>(scale * random.normal());
  return out;
}

/// Resident bytes of this process at most since the last call, and now (Linux); 0 where the system
/// does not say.
struct Resident {
  double most = 0, now = 0;
};
Resident resident() {
  Resident out;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) out.most = 1024 * std::stod(line.substr(6));
    if (line.starts_with("VmRSS:")) out.now = 1024 * std::stod(line.substr(6));
  }
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew
  return out;
}

TEST(Streaming, LossesOf8000AtomsHoldNoMatrixOfThem) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory is counted with it";
#endif
  // A ball of 28 A: most pairs of nucleotides count.
  const at::Tensor x_true = normal({kAtoms, 3}, 1, 12);
  at::Tensor x = (x_true.unsqueeze(0) + normal({1, kAtoms, 3}, 2, 1)).set_requires_grad(true);
  const at::Tensor resolved = at::ones({kAtoms}), nucleotide = at::ones({kAtoms});
  const at::Tensor tokens = at::arange(0, kAtoms, kAtoms / kTokens);
  const TokenFrames frames{at::stack({tokens + 1, tokens, tokens + 2}, -1),
                           at::ones({kTokens}, at::kBool)};
  const auto logits =
      [](std::vector<int64_t> shape) {  // and their gradients: no part of the losses
        at::Tensor out = at::zeros(shape).set_requires_grad(true);
        out.mutable_grad() = at::ones(shape);
        return out;
      };
  const at::Tensor plddt = logits({1, kAtoms, 50}), pae = logits({1, kTokens, kTokens, 64}),
                   pde = logits({1, kTokens, kTokens, 64});
  const at::Tensor bonds = at::arange(200).view({100, 2});
  (void)resident();
  const double before = resident().now;
  if (before == 0) GTEST_SKIP() << "this system does not tell a process' memory";

  const auto grown = [&](const char* loss) {
    const double bytes = resident().most - before;
    EXPECT_LT(bytes, 0.75 * kMatrix) << loss;
    std::cout << loss << ": " << bytes / kMatrix << " of a matrix of the atoms\n";
  };
  smooth_lddt_loss(x, x_true, resolved, nucleotide).sum().backward();
  grown("smooth lDDT");
  EXPECT_TRUE(x.grad().isfinite().all().item<bool>());
  EXPECT_GT(x.grad().abs().max().item<float>(), 0);

  bond_loss(x, x_true, bonds).sum().backward();
  grown("bond");
  plddt_loss(plddt, x.detach(), x_true, resolved, nucleotide, tokens).backward();
  grown("pLDDT");
  pae_loss(pae, x.detach(), x_true, resolved, frames, frames, tokens).backward();
  grown("PAE");
  pde_loss(pde, x.detach(), x_true, resolved, tokens).backward();
  grown("PDE");
}

TEST(Streaming, ManyListsOfPairsGiveWhatOneDoes) {
  // 5,000 nucleotides have more pairs than a list: the sums by blocks know nothing of lists.
  const int64_t atoms = 5000;
  const at::Tensor x_true = normal({atoms, 3}, 3, 9).to(at::kDouble);
  const at::Tensor shaken = x_true.unsqueeze(0) + normal({1, atoms, 3}, 4, 1);
  const at::Tensor ones = at::ones({atoms}, at::kDouble);
  const auto of = [&](const auto& loss) {
    at::Tensor x = shaken.clone().set_requires_grad(true);
    const at::Tensor value = loss(x, x_true, ones, ones, SmoothLddtEpsilons{}).sum();
    value.backward();
    return std::pair{value.template item<double>(), x.grad()};
  };
  const auto [listed, gradient] = of(smooth_lddt_loss);
  const auto [blocks, expected] = of(smooth_lddt_loss_by_blocks);
  EXPECT_NEAR(listed, blocks, 1e-12);
  EXPECT_LT((gradient - expected).abs().max().item<double>(),
            1e-11 * expected.abs().max().item<double>());
}

}  // namespace
}  // namespace megafold
