// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/confidence.h"

#include <algorithm>
#include <cmath>

#include "base/nan.h"
#include "model/token_frames.h"

namespace megafold {
namespace {

constexpr double kMaxError = 32;          // Angstrom, the end of the error bins
constexpr double kContact = 8;            // Angstrom
constexpr double kFirst = 2, kLast = 22;  // Angstrom, the distogram's range
constexpr double kClashDistance = 1.1;    // Angstrom
constexpr double kClashPairs = 100, kClashShare = 0.5;

/// Middles of `bins` equal bins over 0 .. end.
at::Tensor centres(int64_t bins, double end, const at::Tensor& like) {
  return (at::arange(bins, like.options()) + 0.5) * (end / static_cast<double>(bins));
}

std::vector<float> values(const at::Tensor& x) {
  const at::Tensor flat = x.to(at::kCPU, at::kFloat).contiguous();
  const float* const first = flat.const_data_ptr<float>();
  return {first, first + flat.numel()};
}

/// The chains' asym_id in the order of their first token.
std::vector<int64_t> chain_ids(const at::Tensor& asym_id) {
  const at::Tensor ids = asym_id.to(at::kCPU, at::kLong).contiguous();
  std::vector<int64_t> out;
  for (int64_t i = 0; i < ids.size(0); ++i) {
    const int64_t id = ids.const_data_ptr<int64_t>()[i];
    if (std::ranges::find(out, id) == out.end()) out.push_back(id);
  }
  return out;
}

}  // namespace

double tm_scale(int64_t n) {
  return 1.24 * std::cbrt(static_cast<double>(std::max<int64_t>(n, 19)) - 15) - 1.8;
}

double predicted_tm(const at::Tensor& probabilities, const at::Tensor& has_frame,
                    const at::Tensor& pairs, int64_t n) {
  const double d0 = tm_scale(n);
  const at::Tensor error = centres(probabilities.size(-1), kMaxError, probabilities);
  const at::Tensor score = at::matmul(probabilities, 1 / (1 + (error / d0).square()));  // [N, N]
  const at::Tensor counted =
      pairs.logical_and(has_frame.unsqueeze(1)).to(probabilities.scalar_type());
  const at::Tensor number = counted.sum(1);
  if (!number.gt(0).any().item<bool>()) return kNaN;
  return at::where(number.gt(0), (score * counted).sum(1) / number.clamp_min(1), -1)
      .max()
      .item<double>();
}

bool chains_clash(const Batch& batch, const at::Tensor& x) {
  const at::Tensor polymer = batch.is_ligand.logical_not().index_select(0, batch.atom_to_token);
  const at::Tensor asym = batch.asym_id.index_select(0, batch.atom_to_token);
  std::vector<at::Tensor> chains;
  for (const int64_t id : chain_ids(batch.asym_id)) {
    const at::Tensor atoms = asym.eq(id).logical_and(polymer).nonzero().squeeze(-1);
    if (atoms.numel() > 0) chains.push_back(x.index_select(0, atoms).to(at::kDouble));
  }
  constexpr int64_t kRows = 1024;  // of distances held at once
  for (size_t a = 0; a < chains.size(); ++a) {
    for (size_t b = a + 1; b < chains.size(); ++b) {
      double clashes = 0;
      for (int64_t first = 0; first < chains[a].size(0); first += kRows) {
        const at::Tensor rows =
            chains[a].slice(0, first, std::min(first + kRows, chains[a].size(0)));
        clashes += at::cdist(rows, chains[b]).lt(kClashDistance).sum().item<double>();
      }
      const auto smaller = static_cast<double>(std::min(chains[a].size(0), chains[b].size(0)));
      if (clashes > kClashPairs || clashes > kClashShare * smaller) return true;
    }
  }
  return false;
}

Confidence confidence_scores(const Batch& batch, const ConfidenceLogits& logits,
                             const at::Tensor& distogram_logits, const at::Tensor& x,
                             const Conventions& conventions) {
  Confidence out;
  const at::Tensor plddt = at::softmax(logits.plddt.to(at::kDouble), -1);
  out.plddt = values(at::matmul(plddt, centres(plddt.size(-1), 100, plddt)));

  const at::Tensor error = at::softmax(logits.pae.to(at::kDouble), -1);
  const at::Tensor pae = at::matmul(error, centres(error.size(-1), kMaxError, error));
  out.pae = values(pae);
  const at::Tensor distance = at::softmax(distogram_logits.to(at::kDouble), -1);
  const auto bins = static_cast<double>(distance.size(-1));
  const auto near = static_cast<int64_t>((kContact - kFirst) / (kLast - kFirst) * bins);
  out.contact = values(distance.slice(-1, 0, near).sum(-1));

  const at::Tensor has_frame =
      frames_of(batch, conventions, x, batch.atom_mask).has_frame.to(error.device());
  const at::Tensor asym = batch.asym_id;
  const at::Tensor same = asym.unsqueeze(1).eq(asym.unsqueeze(0));
  const int64_t n = asym.size(0);
  out.ptm = predicted_tm(error, has_frame, at::ones_like(same), n);
  out.iptm = predicted_tm(error, has_frame, same.logical_not(), n);
  const std::vector<int64_t> ids = chain_ids(asym);
  const size_t chains = ids.size();
  out.chain_pair_iptm.resize(chains * chains);
  out.chain_pair_pae_min.resize(chains * chains);
  for (size_t a = 0; a < chains; ++a) {
    const at::Tensor in_a = asym.eq(ids[a]);
    double sum = 0;
    int64_t known = 0;
    for (size_t b = 0; b < chains; ++b) {
      const at::Tensor in_b = asym.eq(ids[b]);
      const at::Tensor pairs = in_a.unsqueeze(1).logical_and(in_b.unsqueeze(0));
      // The scale is that of the two chains together (AlphaFold 3's code).
      const double score =
          predicted_tm(error, has_frame, pairs, in_a.logical_or(in_b).sum().item<int64_t>());
      out.chain_pair_iptm[a * chains + b] = score;
      out.chain_pair_pae_min[a * chains + b] = pae.masked_select(pairs).min().item<double>();
      if (a == b) {
        out.chain_ptm.push_back(score);
      } else if (std::isfinite(score)) {
        sum += score;
        ++known;
      }
    }
    out.chain_iptm.push_back(known > 0 ? sum / static_cast<double>(known) : kNaN);
  }
  out.has_clash = chains_clash(batch, x);
  const auto or_zero = [](double score) { return std::isfinite(score) ? score : 0.0; };
  // One chain: pTM alone, as AlphaFold 3's code has it.
  out.ranking_score =
      (std::isfinite(out.iptm) ? 0.8 * out.iptm + 0.2 * or_zero(out.ptm) : or_zero(out.ptm)) +
      0.5 * out.fraction_disordered - (out.has_clash ? 100 : 0);
  return out;
}

}  // namespace megafold
