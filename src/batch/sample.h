// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From a structure's record to the Batch of one visit. Everything random is drawn from
// Random(seed, stream_id(entry), visit, purpose), so a sample is a pure function of these and of
// the cache.
#pragma once

#include <cstdint>

#include "batch/batch.h"
#include "batch/crop.h"
#include "batch/msa.h"
#include "batch/structure_view.h"
#include "batch/symmetry.h"
#include "batch/templates.h"

namespace megafold {

struct BatchOptions {
  CropOptions crop = {};
  MsaOptions msa = {};
  TemplateOptions templates = {};
};

/// Crop, alignment, templates (none without their source), conformers in random motion, labels and
/// what they may be exchanged with. Throws BadInput (no label), Corrupt.
Batch make_batch(const StructureView& structure, const RecordSource& alignments,
                 const BatchOptions& options, PreferredChains preferred, uint64_t seed,
                 uint64_t visit, const RecordSource& templates = {});

/// Gathers the tokens' and atoms' facts and their labels for an ascending list of tokens; no draw
/// but the rigid motion of reference conformers (SI 2.8), one per ref_space_uid.
Batch gather(const StructureView& structure, const std::vector<int32_t>& tokens, Random& reference);

}  // namespace megafold
