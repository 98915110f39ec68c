// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// For tests: a small batch from the made-up cache of batch/synthetic.h, the same padded, and
// parameters shaken off the zeros that they start from.
#pragma once

#include <ATen/ATen.h>

#include "base/philox.h"
#include "batch/sample.h"
#include "batch/synthetic.h"
#include "model/parameters.h"

namespace megafold::test {

/// "mono" (30 tokens, 120 atoms), "dimer" (with a ligand) or "trimer" (with a modified residue).
inline Batch small_batch(const std::string& entry, int64_t tokens) {
  const auto cache = synthetic::cache();
  BatchOptions options;
  options.crop.tokens = tokens;
  return make_batch(
      StructureView(cache->structure(entry)),
      [cache](const std::string& key) { return cache->alignment(key); }, options, {}, 7, 0);
}

/// The batch with `tokens`, `atoms` and `rows` of padding behind it. Floats of the padding are
/// large, so that whatever reads it shows.
inline Batch padded(const Batch& batch, int64_t tokens, int64_t atoms, int64_t rows) {
  const int64_t n = batch.num_tokens(), a = batch.num_atoms(), s = batch.msa.size(0);
  Batch out = batch;
  out.for_each([&](const char* name, at::Tensor& t) {
    const std::string key = name;
    const bool mask = key.ends_with("mask") && key != "ref_mask";
    const bool index = !t.is_floating_point() || key == "token_bonds";
    const double value = mask || index ? 0 : 3;
    for (int64_t d = 0; d < t.dim(); ++d) {
      auto shape = t.sizes().vec();
      const bool is_rows = d == 0 && (key == "msa" || key == "deletion" || key == "msa_mask");
      const int64_t extra = is_rows ? rows : t.size(d) == a ? atoms : t.size(d) == n ? tokens : 0;
      if (is_rows && t.size(d) != s) continue;
      shape[static_cast<size_t>(d)] = extra;
      t = at::cat({t, at::full(shape, value, t.options())}, d);
    }
  });
  return out;
}

/// Adds noise to every parameter: many start at zero, and zeros hide errors.
inline void shake(Parameters& parameters, double scale = 0.1) {
  for (const Parameters::Entry& entry : parameters.entries()) {
    if (!entry.trainable) continue;
    Random random(1, stream_id(entry.name), 0, Purpose::noise);
    at::Tensor noise = at::empty(entry.tensor.sizes(), at::kDouble);
    double* const values = noise.data_ptr<double>();
    for (int64_t i = 0; i < noise.numel(); ++i) values[i] = scale * random.normal();
    entry.tensor.detach().add_(noise.to(entry.tensor.options()));
  }
}

}  // namespace megafold::test
