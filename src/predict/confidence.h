// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From the confidence head's logits to AlphaFold 3's scores of a sample (SI 4.3, 5.9; af3-facts
// 13). N tokens, A atoms, C chains in the order of their first token.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "batch/batch.h"
#include "model/confidence_head.h"
#include "model/conventions.h"

namespace megafold {

struct Confidence {
  std::vector<float> plddt;    // [A], 0 .. 100
  std::vector<float> pae;      // [N, N], Angstrom: of token j seen from token i's frame
  std::vector<float> contact;  // [N, N], probability of a distance under 8 A, from the distogram

  double ptm = 0;
  double iptm = 0;                         // NaN where there is one chain
  std::vector<double> chain_ptm;           // [C]
  std::vector<double> chain_iptm;          // [C], mean of the chain's row below; NaN for one chain
  std::vector<double> chain_pair_iptm;     // [C, C]; the diagonal is chain_ptm
  std::vector<double> chain_pair_pae_min;  // [C, C], Angstrom
  bool has_clash = false;
  double fraction_disordered = 0;  // not computed (it needs solvent accessibility): always 0
  double ranking_score = 0;        // 0.8 iptm + 0.2 ptm + 0.5 disorder - 100 clash
};

/// d0 of the TM-score for n tokens, Angstrom: 1.24 (max(n, 19) - 15)^(1/3) - 1.8.
[[nodiscard]] double tm_scale(int64_t n);

/// probabilities [N, N, 64] of the aligned error; rows: tokens with a frame; pairs bool [N, N] that
/// count. max over i of the mean over j of E[1 / (1 + (e / d0)^2)] (SI eqs. 17, 18); NaN when no
/// pair counts.
[[nodiscard]] double predicted_tm(const at::Tensor& probabilities, const at::Tensor& has_frame,
                                  const at::Tensor& pairs, int64_t n);

/// Two polymer chains with more than 100 pairs of atoms, or more than half as many as the smaller
/// chain has atoms, nearer than 1.1 A (SI 5.9.2). x [A, 3].
[[nodiscard]] bool chains_clash(const Batch& batch, const at::Tensor& x);

/// All of them for one sample x [A, 3] of a batch without padding. The conventions say whether the
/// frames that pTM looks from are the reference conformers' or x's own.
[[nodiscard]] Confidence confidence_scores(const Batch& batch, const ConfidenceLogits& logits,
                                           const at::Tensor& distogram_logits, const at::Tensor& x,
                                           const Conventions& conventions = {});

}  // namespace megafold
