// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/crop.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/errors.h"

namespace megafold {
namespace {

constexpr double kInterfaceDistance = 15.0;  // Angstrom, between token centres (SI 2.7.3)

double squared_distance(const float* a, const float* b) {
  double sum = 0;
  for (int k = 0; k < 3; ++k) {
    const double d = double{a[k]} - double{b[k]};
    sum += d * d;
  }
  return sum;
}

/// Counts tokens and atoms against the budgets.
class Budget {
 public:
  explicit Budget(const CropOptions& options)
      : tokens_(options.tokens), atoms_(options.atoms > 0 ? options.atoms : INT64_MAX) {}
  /// Takes the token when it fits.
  bool take(const StructureView& structure, int32_t token) {
    const int64_t atoms = structure.atom_count[static_cast<size_t>(token)];
    if (tokens_ < 1 || atoms_ < atoms) return false;
    tokens_ -= 1;
    atoms_ -= atoms;
    return true;
  }

 private:
  int64_t tokens_, atoms_;
};

std::vector<int32_t> resolved_tokens(const StructureView& structure) {
  std::vector<int32_t> tokens;
  for (int32_t t = 0; t < structure.num_tokens(); ++t)
    if (structure.center_resolved(t)) tokens.push_back(t);
  if (tokens.empty())
    fail<BadInput>("entry {}: no resolved token centre, so it carries no label; leave it out",
                   structure.id);
  return tokens;
}

/// Whether a resolved centre of another chain (of the other preferred chain, for a pair) is near.
bool at_interface(const StructureView& structure, int32_t token, PreferredChains preferred,
                  const std::vector<int32_t>& resolved) {
  const int32_t own = structure.chain[static_cast<size_t>(token)];
  const bool pair = preferred.a >= 0 && preferred.b >= 0;
  return std::ranges::any_of(resolved, [&](int32_t other) {
    const int32_t chain = structure.chain[static_cast<size_t>(other)];
    if (chain == own || (pair && !preferred.contains(chain))) return false;
    return squared_distance(structure.center(token), structure.center(other)) <
           kInterfaceDistance * kInterfaceDistance;
  });
}

/// The first candidate at an interface, in uniformly random order: so it is uniform among those at
/// an interface, and few of the N x N distances are computed.
int32_t draw_interface_token(const StructureView& structure, std::vector<int32_t> candidates,
                             PreferredChains preferred, const std::vector<int32_t>& resolved,
                             Random& random) {
  const int32_t fallback = candidates[random.below(candidates.size())];
  if (structure.num_chains() < 2) return fallback;
  for (size_t i = 0; i < candidates.size(); ++i) {
    std::swap(candidates[i], candidates[i + random.below(candidates.size() - i)]);
    if (at_interface(structure, candidates[i], preferred, resolved)) return candidates[i];
  }
  return fallback;
}

std::vector<int32_t> contiguous_once(const StructureView& structure, const CropOptions& options,
                                     Random& random) {
  std::vector<size_t> order(static_cast<size_t>(structure.num_chains()));
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  std::vector<int32_t> tokens;
  Budget budget(options);
  int64_t added = 0, remaining = structure.num_tokens();
  for (const size_t c : order) {
    const int64_t length = structure.chain_count[c];
    remaining -= length;
    const int64_t most = std::min(options.tokens - added, length);
    const int64_t least =
        std::min(length, std::max<int64_t>(0, options.tokens - added - remaining));
    const int64_t size =
        least + static_cast<int64_t>(random.below(static_cast<uint64_t>(most - least + 1)));
    const int64_t start =
        structure.chain_start[c] +
        static_cast<int64_t>(random.below(static_cast<uint64_t>(length - size + 1)));
    added += size;
    for (int64_t t = start; t < start + size; ++t) {
      if (!budget.take(structure, static_cast<int32_t>(t))) break;
      tokens.push_back(static_cast<int32_t>(t));
    }
  }
  std::ranges::sort(tokens);
  return tokens;
}

}  // namespace

const char* to_string(CropKind kind) {
  switch (kind) {
    case CropKind::whole:
      return "whole";
    case CropKind::contiguous:
      return "contiguous";
    case CropKind::spatial:
      return "spatial";
    case CropKind::spatial_interface:
      return "spatial_interface";
  }
  return "?";
}

std::vector<int32_t> crop_contiguous(const StructureView& structure, const CropOptions& options,
                                     Random& random) {
  resolved_tokens(structure);  // throws where there is none
  for (int attempt = 0; attempt < 1000; ++attempt) {
    std::vector<int32_t> tokens = contiguous_once(structure, options, random);
    if (std::ranges::any_of(tokens, [&](int32_t t) { return structure.center_resolved(t); }))
      return tokens;
  }
  fail<BadInput>(
      "entry {}: 1000 contiguous crops of {} tokens held no resolved token; leave the "
      "entry out or raise the budget",
      structure.id, options.tokens);
}

std::vector<int32_t> crop_spatial(const StructureView& structure, const CropOptions& options,
                                  PreferredChains preferred, bool interface, Random& random) {
  std::vector<int32_t> resolved = resolved_tokens(structure);
  std::vector<int32_t> candidates;
  for (const int32_t t : resolved)
    if (preferred.contains(structure.chain[static_cast<size_t>(t)])) candidates.push_back(t);
  if (candidates.empty()) candidates = resolved;
  const int32_t reference =
      interface ? draw_interface_token(structure, candidates, preferred, resolved, random)
                : candidates[random.below(candidates.size())];

  std::vector<std::pair<double, int32_t>> by_distance;
  by_distance.reserve(resolved.size());
  for (const int32_t t : resolved)
    by_distance.emplace_back(squared_distance(structure.center(reference), structure.center(t)), t);
  const auto keep = std::min<int64_t>(options.tokens, std::ssize(by_distance));
  std::partial_sort(by_distance.begin(), by_distance.begin() + keep, by_distance.end());
  std::vector<int32_t> tokens;
  Budget budget(options);
  for (const auto& [distance, t] : by_distance) {
    if (!budget.take(structure, t)) break;
    tokens.push_back(t);
  }
  std::ranges::sort(tokens);
  return tokens;
}

Crop draw_crop(const StructureView& structure, const CropOptions& options,
               PreferredChains preferred, Random& random) {
  if (options.tokens < 1) fail<BadInput>("the crop's budget is {} tokens", options.tokens);
  if (structure.num_tokens() <= options.tokens &&
      (options.atoms <= 0 || structure.num_atoms() <= options.atoms)) {
    if (options.needs_label) resolved_tokens(structure);
    Crop crop;
    crop.tokens.resize(static_cast<size_t>(structure.num_tokens()));
    std::iota(crop.tokens.begin(), crop.tokens.end(), 0);
    return crop;
  }
  const double total = options.contiguous + options.spatial + options.spatial_interface;
  const double drawn = random.uniform() * total;
  if (drawn < options.contiguous)
    return {CropKind::contiguous, crop_contiguous(structure, options, random)};
  const bool interface = drawn >= options.contiguous + options.spatial;
  return {interface ? CropKind::spatial_interface : CropKind::spatial,
          crop_spatial(structure, options, preferred, interface, random)};
}

}  // namespace megafold
