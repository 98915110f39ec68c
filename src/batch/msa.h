// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The alignment of a sample (SI 2.2, 2.3): row 0 the queries; then rows paired by species
// (batch/pairing.h), where the crop has two sequences that share one; then the main alignments of
// its chains side by side, without what a chain has paired already. Copies of a chain carry the
// same rows; shorter chains end in gaps.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/philox.h"
#include "batch/batch.h"
#include "batch/structure_view.h"

namespace megafold {

/// What a chain without an alignment shows: its own sequence in row 0 and as its profile (ligands:
/// gaps), as AlphaFold 3 and Protenix do; or gaps in every row and a zero profile, as OpenFold 3.
enum class MissingAlignment : uint8_t { query, gap };

struct MsaOptions {
  /// Of the sample, the query row included. At most half of them, the query's again included, are
  /// paired: the 8,191 of SI 2.3 (AlphaFold 3).
  int64_t max_rows = 16384;
  /// Training: each main alignment of n rows is cut to k ~ U{1..n} of them, the query and k - 1
  /// others, their order kept (SI 2.2). Otherwise its first rows are taken.
  bool draw_rows = true;
  MissingAlignment missing = MissingAlignment::query;
};

/// Delivers the record of an alignment by its key.
using RecordSource = std::function<std::shared_ptr<const Record>(const std::string& key)>;

/// Fills msa, deletion, msa_mask, paired_rows, profile and deletion_mean of `batch` for the tokens
/// of a crop. Only alignments of chains in the crop are read. Throws Corrupt where a token's column
/// lies outside its alignment.
void assemble_msa(const StructureView& structure, const std::vector<int32_t>& tokens,
                  const RecordSource& alignments, const MsaOptions& options, Random& random,
                  Batch& batch);

}  // namespace megafold
