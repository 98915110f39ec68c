// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/msa.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "base/errors.h"
#include "batch/buffers.h"
#include "batch/pairing.h"

namespace megafold {
namespace {

/// Consecutive tokens of the sample that read consecutive columns.
struct Run {
  int64_t token, column, length;
};

/// A row of an alignment and the row of the sample that shows it.
struct Placed {
  int64_t row, place;
};

/// One alignment of the sample, its rows drawn, and the tokens that read it.
struct Part {
  AlignmentView alignment;
  int32_t entity;
  std::vector<Placed> paired = {};  // of the rows to be paired, ascending
  std::vector<int64_t> known = {};  // of the main rows, those that are paired; ascending
  std::vector<int64_t> rows = {};   // of the main rows, ascending; the first is the query's
  std::vector<Run> runs = {};

  void add(int64_t token, int64_t column) {
    if (!runs.empty() && runs.back().token + runs.back().length == token &&
        runs.back().column + runs.back().length == column)
      ++runs.back().length;
    else
      runs.push_back({token, column, 1});
  }
  [[nodiscard]] int64_t tokens() const {
    int64_t sum = 0;
    for (const Run& run : runs) sum += run.length;
    return sum;
  }
};

/// Copies `length` bytes as two words that may overlap, so without a loop and without touching a
/// neighbour: a crop's runs are a few letters long, and there are millions of them.
template <size_t word>
void copy_two(const uint8_t* from, uint8_t* to, size_t length) {
  std::array<uint8_t, word> first, last;
  std::memcpy(first.data(), from, word);
  std::memcpy(last.data(), from + length - word, word);
  std::memcpy(to, first.data(), word);
  std::memcpy(to + length - word, last.data(), word);
}

/// Copies one row's values to their tokens.
void copy_runs(const std::vector<Run>& runs, const uint8_t* from, uint8_t* to) {
  for (const Run& run : runs) {
    const uint8_t* const source = from + run.column;
    uint8_t* const target = to + run.token;
    const auto length = static_cast<size_t>(run.length);
    if (length > 32)
      std::memcpy(target, source, length);
    else if (length >= 16)
      copy_two<16>(source, target, length);
    else if (length >= 8)
      copy_two<8>(source, target, length);
    else if (length >= 4)
      copy_two<4>(source, target, length);
    else
      for (size_t i = 0; i < length; ++i) target[i] = source[i];
  }
}

/// Row 0 and k - 1 of the others, each subset equally likely, ascending (Knuth's algorithm S); at
/// most `max_rows`. Rows in `known` (ascending, without 0) do not count.
std::vector<int64_t> draw_rows(int64_t all, const std::vector<int64_t>& known, int64_t max_rows,
                               bool draw, Random& random) {
  const int64_t available = all - std::ssize(known);
  int64_t k = available;
  if (draw) k = 1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(available)));
  std::vector<int64_t> rows{0};
  auto left = static_cast<uint64_t>(available - 1);
  auto skip = known.begin();
  for (int64_t row = 1; row < all && std::ssize(rows) < std::min(k, max_rows); ++row) {
    if (skip != known.end() && *skip == row) {
      ++skip;
      continue;
    }
    if (random.below(left--) < static_cast<uint64_t>(k - std::ssize(rows))) rows.push_back(row);
  }
  return rows;
}

/// Places the paired rows from row 1 of the sample on; their number. Nothing is paired unless two
/// entities have rows for it.
int64_t pair_parts(std::vector<Part>& parts, int64_t max_rows) {
  std::vector<Part*> able;
  for (Part& part : parts)
    if (part.alignment.pairing_rows > 0) able.push_back(&part);
  const bool one_entity = std::all_of(able.begin(), able.end(), [&](const Part* part) {
    return part->entity == able.front()->entity;
  });
  if (one_entity) return 0;
  std::vector<SpeciesRows> sequences;
  for (const Part* part : able)
    sequences.push_back({part->alignment.pairing_species(), part->alignment.pairing_hit()});
  const auto pairs = pair_by_species(sequences, max_rows);
  for (size_t i = 0; i < able.size(); ++i) {
    Part& part = *able[i];
    const auto main_row = part.alignment.pairing_main_row();
    for (size_t k = 0; k < pairs.size(); ++k) {
      const int32_t row = pairs[k][i];
      if (row < 0) continue;
      part.paired.push_back({row, static_cast<int64_t>(k) + 1});
      const int64_t same = main_row[static_cast<size_t>(row)];
      if (same < -1 || same >= part.alignment.rows)
        fail<Corrupt>("record {}: row {} for pairing is said to be row {} of {}; build again",
                      part.alignment.key(), row, same, part.alignment.rows);
      if (same > 0) part.known.push_back(same);
    }
    std::ranges::sort(part.paired, {}, &Placed::row);
    std::ranges::sort(part.known);
    const auto [first, last] = std::ranges::unique(part.known);
    part.known.erase(first, last);
  }
  return std::ssize(pairs);
}

}  // namespace

void assemble_msa(const StructureView& structure, const std::vector<int32_t>& tokens,
                  const RecordSource& alignments, const MsaOptions& options, Random& random,
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
      parts.push_back({AlignmentView(alignments(*key)), structure.entity_id[t]});
    }
    Part& part = parts[found->second];
    if (column >= part.alignment.columns)
      fail<Corrupt>(
          "record {}: token {} reads column {} of alignment {}, which has {}; build the "
          "cache again",
          structure.key(), t, column, *key, part.alignment.columns);
    part.add(i, column);
    const auto c = static_cast<size_t>(column);
    std::copy_n(&part.alignment.profile[c * kNumRestypes], kNumRestypes,
                profile + i * kNumRestypes);
    deletion_mean[i] = part.alignment.deletion_mean[c];
  }

  const int64_t paired = pair_parts(parts, options.max_rows / 2 - 1);
  batch.paired_rows = paired;
  int64_t S = 1 + paired;
  for (Part& part : parts) {
    part.rows = draw_rows(part.alignment.rows, part.known, options.max_rows - paired,
                          options.draw_rows, random);
    S = std::max(S, std::ssize(part.rows) + paired);
  }
  batch.msa = pooled_tensor({S, N}, at::kByte);
  batch.deletion = pooled_tensor({S, N}, at::kByte);
  batch.msa_mask = pooled_tensor({S, N}, at::kByte);
  auto* const msa = batch.msa.data_ptr<uint8_t>();
  auto* const deletion = batch.deletion.data_ptr<uint8_t>();
  std::memset(batch.msa_mask.data_ptr<uint8_t>(), 1, static_cast<size_t>(S * N));
  // Rows that some token does not read show a gap there; where every token reads, nothing is
  // filled that would be written over.
  const bool full = parts.size() == 1 && parts[0].tokens() == N;  // so nothing is paired
  const int64_t filled = full ? std::ssize(parts[0].rows) : 0;    // from this row on
  const auto cells = static_cast<size_t>((S - filled) * N);
  std::memset(msa + filled * N, kRestypeGap, cells);
  std::memset(deletion + filled * N, 0, cells);
  for (const auto& [token, restype] : own_query) {
    msa[token] = static_cast<uint8_t>(restype);
    profile[token * kNumRestypes + restype] = 1;
  }
  for (const Part& part : parts) {
    const auto show = [&](const AlignmentView::Rows& block, int64_t row, int64_t place) {
      const int64_t from = (row - block.first) * part.alignment.columns;
      copy_runs(part.runs, block.msa + from, msa + place * N);
      copy_runs(part.runs, block.deletion + from, deletion + place * N);
    };
    size_t next = 0;  // of the rows drawn
    part.alignment.for_each_block(part.rows.back() + 1, [&](const AlignmentView::Rows& block) {
      for (; next < part.rows.size() && part.rows[next] < block.first + block.count; ++next)
        show(block, part.rows[next], next == 0 ? 0 : static_cast<int64_t>(next) + paired);
    });
    std::vector<int64_t> wanted;
    for (const Placed& row : part.paired) wanted.push_back(row.row);
    next = 0;
    part.alignment.for_each_pairing_block(wanted, [&](const AlignmentView::Rows& block) {
      for (; next < wanted.size() && wanted[next] < block.first + block.count; ++next)
        show(block, wanted[next], part.paired[next].place);
    });
  }
}

}  // namespace megafold
