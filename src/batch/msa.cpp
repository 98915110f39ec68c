// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/msa.h"

#include <algorithm>
#include <map>

#include "base/errors.h"

namespace megafold {
namespace {

/// One alignment of the sample, its rows drawn, and the tokens that read it.
struct Part {
  AlignmentView alignment;
  std::vector<int64_t> rows;                       // ascending; the first is the query's
  std::vector<std::pair<int64_t, int64_t>> cells;  // (token of the sample, column)
};

/// Row 0 and k - 1 of the others, each subset equally likely, ascending (Knuth's algorithm S).
std::vector<int64_t> draw_rows(int64_t available, const MsaOptions& options, Random& random) {
  int64_t k = available;
  if (options.draw_rows)
    k = 1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(available)));
  std::vector<int64_t> rows{0};
  for (int64_t row = 1; row < available && std::ssize(rows) < std::min(k, options.max_rows);
       ++row) {
    const auto left = static_cast<uint64_t>(available - row);
    if (random.below(left) < static_cast<uint64_t>(k - std::ssize(rows))) rows.push_back(row);
  }
  return rows;
}

}  // namespace

void assemble_msa(const StructureView& structure, const std::vector<int32_t>& tokens,
                  const AlignmentSource& alignments, const MsaOptions& options, Random& random,
                  Batch& batch) {
  const auto N = std::ssize(tokens);
  batch.profile = at::zeros({N, kNumRestypes}, at::kFloat);
  batch.deletion_mean = at::zeros({N}, at::kFloat);
  auto* const profile = batch.profile.data_ptr<float>();
  auto* const deletion_mean = batch.deletion_mean.data_ptr<float>();

  std::map<std::string, size_t> part_of_key;
  std::vector<Part> parts;
  std::vector<std::pair<int64_t, int64_t>> own_query;  // (token, class shown in row 0)
  for (int64_t i = 0; i < N; ++i) {
    const auto t = static_cast<size_t>(tokens[static_cast<size_t>(i)]);
    const auto& key = structure.chains[static_cast<size_t>(structure.chain[t])].alignment;
    const int64_t column = structure.msa_column[t];
    if (!key || column < 0) {
      const bool ligand = structure.type_of(structure.chain[t]) == ChainType::ligand;
      if (options.missing == MissingAlignment::query)
        own_query.emplace_back(i, ligand ? kRestypeGap : structure.restype[t]);
      continue;
    }
    const auto [found, is_new] = part_of_key.try_emplace(*key, parts.size());
    if (is_new) {
      AlignmentView view(alignments(*key));
      const int64_t rows = view.rows;
      parts.push_back({std::move(view), draw_rows(rows, options, random), {}});
    }
    Part& part = parts[found->second];
    if (column >= part.alignment.columns)
      fail<Corrupt>(
          "record {}: token {} reads column {} of alignment {}, which has {}; build the "
          "cache again",
          structure.key(), t, column, *key, part.alignment.columns);
    part.cells.emplace_back(i, column);
    const auto c = static_cast<size_t>(column);
    std::copy_n(&part.alignment.profile[c * kNumRestypes], kNumRestypes,
                profile + i * kNumRestypes);
    deletion_mean[i] = part.alignment.deletion_mean[c];
  }

  int64_t S = 1;
  for (const Part& part : parts) S = std::max(S, std::ssize(part.rows));
  batch.msa = at::full({S, N}, kRestypeGap, at::kLong);
  batch.deletion = at::zeros({S, N}, at::kFloat);
  batch.msa_mask = at::ones({S, N}, at::kFloat);
  auto* const msa = batch.msa.data_ptr<int64_t>();
  auto* const deletion = batch.deletion.data_ptr<float>();
  for (const auto& [token, restype] : own_query) {
    msa[token] = restype;
    profile[token * kNumRestypes + restype] = 1;
  }
  for (const Part& part : parts) {
    for (int64_t s = 0; s < std::ssize(part.rows); ++s) {
      const auto row =
          static_cast<size_t>(part.rows[static_cast<size_t>(s)] * part.alignment.columns);
      for (const auto& [token, column] : part.cells) {
        msa[s * N + token] = part.alignment.msa[row + static_cast<size_t>(column)];
        deletion[s * N + token] = part.alignment.deletion[row + static_cast<size_t>(column)];
      }
    }
  }
}

}  // namespace megafold
