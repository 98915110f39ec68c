// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/comparison.h"

#include <algorithm>

#include "base/errors.h"
#include "base/nan.h"
#include "loss/permutation.h"
#include "predict/superpose.h"

namespace megafold {
namespace {

struct Truth {
  std::vector<float> position;    // [A, 3]
  std::vector<uint8_t> resolved;  // [A]
};

/// The entry's structure, named as x has it.
Truth named_by(const Batch& batch, const at::Tensor& x) {
  const Labels labels = permuted_labels(batch, x);
  const at::Tensor positions = labels.positions.to(at::kCPU, at::kFloat).contiguous();
  const at::Tensor resolved = labels.resolved.gt(0).to(at::kCPU, at::kByte).contiguous();
  const float* const p = positions.const_data_ptr<float>();
  const uint8_t* const r = resolved.const_data_ptr<uint8_t>();
  return {{p, p + positions.numel()}, {r, r + resolved.numel()}};
}

}  // namespace

Comparison compare(const Entry& entry, const Batch& batch, const at::Tensor& x) {
  const auto atoms = static_cast<int64_t>(entry.num_atoms());
  if (batch.num_atoms() != atoms || x.dim() != 2 || x.size(0) != atoms || x.size(1) != 3)
    fail<BadInput>("entry {}: {} atoms, but the batch has {} and the structure is [{}]", entry.id,
                   atoms, batch.num_atoms(), fmt::join(x.sizes(), ", "));
  Comparison out;
  out.lddt.score = out.lddt_as_deposited = out.rmsd = out.mirror_rmsd = kNaN;
  if (std::ranges::none_of(entry.resolved, [](uint8_t r) { return r != 0; })) return out;

  const at::Tensor here = x.detach().to(at::kCPU, at::kFloat).contiguous();
  const auto values = [](const at::Tensor& t) {
    const float* const p = t.const_data_ptr<float>();
    return std::span(p, static_cast<size_t>(t.numel()));
  };
  const at::Tensor mirrored = (here * at::tensor({-1.0F, 1.0F, 1.0F})).contiguous();
  const auto consider = [&](const Truth& truth) {
    Lddt found = lddt(truth.position, values(here), truth.resolved, entry.residue);
    if (found.score <= out.lddt.score) return;
    out.lddt = std::move(found);
    out.rmsd = superpose(truth.position, values(here), truth.resolved).rmsd;
    out.mirror_rmsd = superpose(truth.position, values(mirrored), truth.resolved).rmsd;
  };
  consider({entry.position, entry.resolved});
  out.lddt_as_deposited = out.lddt.score;
  // The search for names superposes chains: a mirror image's are found by its own mirror image.
  consider(named_by(batch, here));
  consider(named_by(batch, mirrored));
  return out;
}

}  // namespace megafold
