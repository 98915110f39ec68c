// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A sample's confidences as JSON in the form of AlphaFold 3's outputs, so that scripts written for
// those read ours: the same keys, units and order.
#pragma once

#include <nlohmann/json.hpp>

#include "features/schema.h"
#include "predict/confidence.h"
#include "predict/entry.h"

namespace megafold {

/// NAME_confidences.json: atom_chain_ids, atom_plddts, contact_probs, pae, token_chain_ids,
/// token_res_ids.
[[nodiscard]] nlohmann::json confidences_json(const Entry& entry, const Confidence& confidence);

/// NAME_summary_confidences.json: ptm, iptm, chain_ptm, chain_iptm, chain_pair_iptm,
/// chain_pair_pae_min, has_clash, fraction_disordered, ranking_score. What is not defined is null.
[[nodiscard]] nlohmann::json summary_json(const Confidence& confidence);

}  // namespace megafold
