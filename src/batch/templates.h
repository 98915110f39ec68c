// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The templates of a sample (SI 2.4): per chain the candidates that are old enough, of the first 20
// of those up to four. Dates are held to what the run and the entry say when the sample is made, so
// a cut-off can be changed without a rebuild, and nothing past it can reach a batch.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/philox.h"
#include "batch/batch.h"
#include "batch/msa.h"
#include "batch/structure_view.h"

namespace megafold {

struct TemplateOptions {
  int64_t count = 4;         // slots of a sample; 0: no templates
  bool draw = true;          // training: min(U{0..n}, count) of n at random; otherwise the first
  std::string released_by;   // YYYY-MM-DD, the last day that counts; empty: the entry's own alone
  int64_t days_before = 60;  // a template's release must lie so long before the entry's
};

/// Fills the template_* tensors of `batch` but the pairs, `count` slots, where a chain of the crop
/// has candidates; leaves them undefined otherwise. Chains pick for themselves; slots that stay
/// empty, other chains and tokens of a single atom show gaps. A template without a date is never
/// used, nor any for an entry without one where no released_by is given: each might be a leak. A
/// chain of fewer than 5 tokens in the crop has none (OpenFold 3's rule).
void assemble_templates(const StructureView& structure, const std::vector<int32_t>& tokens,
                        const RecordSource& source, const TemplateOptions& options, Random& random,
                        Batch& batch);

/// distogram f32 [T, N, N, 39], unit_vector f32 [T, N, N, 3] (SI Table 5).
struct TemplatePairs {
  at::Tensor distogram, unit_vector;
};
/// From a batch's template_position and masks, on their device. Distances of CB in 39 bins
/// from 3.25 A in steps of 1.25 A, the last open; CA of j in the frame of i (origin CA, x axis to
/// C, N in the xy plane), of length 1. Zero where a mask is.
TemplatePairs template_pairs(const Batch& batch);

}  // namespace megafold
