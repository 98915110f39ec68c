// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// From template hits and the entries that they name to the arrays kTemplateArrays of
// features/schema.h (SI 2.4). What does not depend on a run is decided here: which hits can be used
// and where their residues lie. Dates and the pick of four are a run's (batch/templates.h).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "alignment/hits.h"
#include "features/arrays.h"
#include "structure/ccd.h"
#include "structure/tables.h"

namespace megafold {

/// Part of every template record's key.
inline constexpr std::string_view kTemplateRulesVersion = "1";
/// Candidates that a record keeps, the best first: a run takes the first 20 that are old enough.
inline constexpr size_t kMaxTemplates = 100;

/// A protein chain of an entry, residue by residue of its whole sequence.
struct TemplateChain {
  std::string label, auth;  // label_asym_id, auth_asym_id
  std::string letters;      // a modified residue by its parent's letter, X where it has none
  std::vector<std::array<float, 12>> position;  // N, CA, C, CB (GLY: CA); Angstrom, 0 where missing
  std::vector<uint8_t> mask;                    // kTemplateBackbone, kTemplateBeta
};

struct TemplateStructure {
  std::string id;
  std::optional<std::string> release_date;  // YYYY-MM-DD
  std::vector<TemplateChain> chains;
};

/// The asymmetric unit's protein chains. Throws BadInput as read_entry() does.
TemplateStructure read_template(const Document& document, const std::string& id,
                                const ComponentDictionary& dictionary);

struct LocatedHit {
  const TemplateChain* chain = nullptr;
  int32_t shift = 0;  // from a hit's places to the chain's
};

/// The hit's letters in the chain that it names, at its place or anywhere, else in another chain of
/// the entry (SI 2.4). A hit without letters must be taken at its word.
LocatedHit locate_hit(const TemplateHit& hit, const TemplateStructure& entry);

/// Delivers an entry by its id, lower case; nullptr where there is no file of it.
using TemplateSource =
    std::function<std::shared_ptr<const TemplateStructure>(const std::string& id)>;

/// The arrays of one sequence, candidates in order of e-value (equal or none: of the file). Left
/// out, and counted in the meta, are hits
///   - of fewer than 10 residues, or of a tenth of the sequence or less;
///   - that are an exact piece of the sequence and cover more than 95 % of it (SI 2.4);
///   - whose entry has no file, or whose letters are in none of its chains;
///   - that the file does not lay beside the sequence (they would have to be aligned anew).
std::vector<NamedArray> template_arrays(const std::string& sequence, std::vector<TemplateHit> hits,
                                        const TemplateSource& find);

}  // namespace megafold
