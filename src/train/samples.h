// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A config's samples: which entries a run may see, in what order, made how. The trainer and
// `megafold data stream` take them from here, so that both see the same bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "batch/filter.h"
#include "batch/loader.h"
#include "train/config.h"

namespace megafold {

inline constexpr std::string_view kQuarantineFile = "quarantine.jsonl";

/// The entries that a run may see. Throws BadInput: an entry that the cache lacks (naming the
/// nearest), filters that leave out every one.
FilterReport admit_entries(const TrainConfig& config, const CacheReader& cache);

Sampler make_sampler(const TrainConfig& config, const CacheReader& cache,
                     const std::vector<std::string>& entries);

/// The quarantine is the config's, else the run folder's; without a run it is in memory alone.
LoaderOptions loader_options(const TrainConfig& config, uint64_t first_visit);

/// XXH3 (64 bits) of the batch's tensors, in their order, each with its name, type and shape: what
/// metrics.jsonl has of each sample as `batch`.
uint64_t batch_checksum(Batch batch);

}  // namespace megafold
