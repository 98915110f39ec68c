// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/templates.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <utility>

#include "base/date.h"
#include "base/errors.h"
#include "batch/buffers.h"
#include "features/schema.h"

namespace megafold {
namespace {

constexpr size_t kConsidered = 20;  // candidates that are old enough, the best (SI 2.4)
constexpr int64_t kMinTokens = 5;   // of a chain in the crop
constexpr int32_t kNever = 0;       // no template has so early a date
constexpr double kFirstBin = 3.25, kLastBin = 50.75;  // lower edges, Angstrom
constexpr int64_t kBins = 39;

/// date_number(); BadInput where it is none.
int32_t date_of(const std::string& text, const char* whose) {
  const int32_t date = date_number(text);
  if (date == 0) fail<BadInput>("{} is '{}': expected a day as YYYY-MM-DD", whose, text);
  return date;
}

/// The last day of release that a template of this entry may have.
int32_t last_day(const StructureView& structure, const TemplateOptions& options) {
  int32_t out = kNever;
  if (!options.released_by.empty())
    out = date_of(options.released_by, "data.templates.released_by");
  if (!structure.release_date.empty()) {
    const int32_t own = days_before(date_of(structure.release_date, "the entry's release date"),
                                    options.days_before);
    out = options.released_by.empty() ? own : std::min(out, own);
  }
  return out;
}

/// Candidates of one chain that the sample shows, by slot.
std::vector<int64_t> pick(const Record& record, int32_t last, const TemplateOptions& options,
                          Random& random) {
  const ArrayView dates = record.array("template_date");
  std::vector<int64_t> allowed;
  for (int64_t t = 0; t < dates.size() && allowed.size() < kConsidered; ++t) {
    const int32_t date = dates.as<int32_t>()[t];
    if (date != 0 && date <= last) allowed.push_back(t);
  }
  auto count = std::min<int64_t>(options.count, std::ssize(allowed));
  if (options.draw) {
    const auto drawn = static_cast<int64_t>(random.below(allowed.size() + 1));
    count = std::min(count, drawn);
    for (size_t i = 0; i < static_cast<size_t>(count); ++i)
      std::swap(allowed[i], allowed[i + random.below(allowed.size() - i)]);
  }
  allowed.resize(static_cast<size_t>(count));
  return allowed;
}

void check_record(const Record& record) {
  const ArrayView restype = record.describe("template_restype"),
                  mask = record.describe("template_mask"),
                  position = record.describe("template_position"),
                  date = record.describe("template_date");
  const bool fits =
      restype.type == ArrayType::u8 && restype.shape.size() == 2 && mask.type == ArrayType::u8 &&
      mask.shape == restype.shape && position.type == ArrayType::f32 &&
      position.shape == std::vector<int64_t>{restype.shape[0], restype.shape[1], 12} &&
      date.type == ArrayType::i32 && date.shape == std::vector<int64_t>{restype.shape[0]};
  if (!fits)
    fail<Corrupt>("record {}: its arrays are not those of templates; build the cache again",
                  record.key());
}

}  // namespace

void assemble_templates(const StructureView& structure, const std::vector<int32_t>& tokens,
                        const RecordSource& source, const TemplateOptions& options, Random& random,
                        Batch& batch) {
  if (options.count < 1) return;
  std::map<int32_t, std::vector<int64_t>> by_chain;  // places in the sample
  for (size_t i = 0; i < tokens.size(); ++i)
    by_chain[structure.chain[static_cast<size_t>(tokens[i])]].push_back(static_cast<int64_t>(i));
  std::erase_if(by_chain, [&](const auto& one) {
    return std::ssize(one.second) < kMinTokens ||
           !structure.chains[static_cast<size_t>(one.first)].templates;
  });
  if (by_chain.empty()) return;

  const int64_t T = options.count, N = std::ssize(tokens);
  batch.template_restype = at::full({T, N}, kRestypeGap, at::kLong);
  batch.template_position = pooled_tensor({T, N, 4, 3}, at::kFloat);
  std::memset(batch.template_position.data_ptr(), 0, batch.template_position.nbytes());
  batch.template_pseudo_beta_mask = at::zeros({T, N}, at::kFloat);
  batch.template_backbone_frame_mask = at::zeros({T, N}, at::kFloat);
  auto* const restype = batch.template_restype.data_ptr<int64_t>();
  auto* const position = batch.template_position.data_ptr<float>();
  auto* const beta = batch.template_pseudo_beta_mask.data_ptr<float>();
  auto* const backbone = batch.template_backbone_frame_mask.data_ptr<float>();
  const int32_t last = last_day(structure, options);
  for (const auto& [chain, places] : by_chain) {
    const auto record = source(*structure.chains[static_cast<size_t>(chain)].templates);
    check_record(*record);
    const int64_t L = record->describe("template_restype").shape[1];
    std::vector<uint8_t> classes(static_cast<size_t>(L)), masks(static_cast<size_t>(L));
    std::vector<float> atoms(12 * static_cast<size_t>(L));
    const std::vector<int64_t> picked = pick(*record, last, options, random);
    for (int64_t slot = 0; slot < std::ssize(picked); ++slot) {
      const int64_t row = picked[static_cast<size_t>(slot)];
      record->read_rows("template_restype", row, 1, reinterpret_cast<std::byte*>(classes.data()));
      record->read_rows("template_mask", row, 1, reinterpret_cast<std::byte*>(masks.data()));
      record->read_rows("template_position", row, 1, reinterpret_cast<std::byte*>(atoms.data()));
      for (const int64_t i : places) {
        const auto token = static_cast<size_t>(tokens[static_cast<size_t>(i)]);
        const int64_t column = structure.msa_column[token];
        if (structure.is_atomized[token] != 0 || column < 0) continue;
        if (column >= L)
          fail<Corrupt>(
              "record {}: token {} reads column {} of the templates {}, which have {}; build the "
              "cache again",
              structure.key(), token, column, record->key(), L);
        const auto c = static_cast<size_t>(column);
        const int64_t to = slot * N + i;
        restype[to] = std::min<int64_t>(classes[c], kRestypeGap);
        beta[to] = (masks[c] & kTemplateBeta) != 0 ? 1.0F : 0.0F;
        backbone[to] = (masks[c] & kTemplateBackbone) != 0 ? 1.0F : 0.0F;
        std::copy_n(&atoms[12 * c], 12, position + 12 * to);
      }
    }
  }
}

TemplatePairs template_pairs(const Batch& batch) {
  const at::Tensor& x = batch.template_position;
  if (!x.defined() || x.dim() != 4 || x.size(2) != 4 || x.size(3) != 3)
    fail<BadInput>("{}: templates have neither pair features nor positions [T, N, 4, 3]", batch.id);
  const auto squared = [](const at::Tensor& d) { return (d * d).sum(-1); };
  const auto pair_mask = [](const at::Tensor& mask) {
    return mask.unsqueeze(-1) * mask.unsqueeze(-2);
  };
  const at::Tensor cb = x.select(2, 3);
  const at::Tensor distance = squared(cb.unsqueeze(2) - cb.unsqueeze(1)).unsqueeze(-1);
  const at::Tensor low = at::linspace(kFirstBin, kLastBin, kBins, x.options()).square();
  const at::Tensor high =
      at::cat({low.slice(0, 1), at::full({1}, 1e8, x.options())});  // the last bin is open
  const at::Tensor distogram = distance.gt(low).logical_and(distance.lt(high)).to(x.scalar_type()) *
                               pair_mask(batch.template_pseudo_beta_mask).unsqueeze(-1);

  constexpr double kSmall = 1e-12;  // Angstrom^2: an axis shorter than 1e-6 A is none
  const at::Tensor n = x.select(2, 0), ca = x.select(2, 1), c = x.select(2, 2);
  const auto normalised = [&](const at::Tensor& v) {
    return v * squared(v).clamp_min(kSmall).rsqrt().unsqueeze(-1);
  };
  const at::Tensor e1 = normalised(c - ca);
  const at::Tensor to_n = n - ca;
  const at::Tensor e2 = normalised(to_n - e1 * (e1 * to_n).sum(-1, true));
  const at::Tensor e3 = at::cross(e1, e2, -1);
  const at::Tensor axes = at::stack({e1, e2, e3}, 2);         // [T, N, 3, 3], rows are axes
  const at::Tensor away = ca.unsqueeze(1) - ca.unsqueeze(2);  // [T, i, j, 3]: from i to j
  const at::Tensor local = at::einsum("tiax,tijx->tija", {axes, away});
  return {distogram,
          normalised(local) * pair_mask(batch.template_backbone_frame_mask).unsqueeze(-1)};
}

}  // namespace megafold
