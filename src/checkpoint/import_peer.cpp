// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/import_peer.h"

#include <algorithm>
#include <set>

#include "base/errors.h"
#include "checkpoint/peer_rules.h"

namespace megafold {
namespace {

const PeerRules& rules_of(Dialect dialect) {
  switch (dialect) {
    case Dialect::protenix:
      return protenix_rules();
    case Dialect::openfold3:
      return openfold3_rules();
    case Dialect::alphafold3:
      break;
  }
  fail<Unsupported>("dialect {}: names of tensors are known of protenix and openfold3",
                    dialect_name(dialect));
}

bool starts_with_words(std::string_view text, std::string_view words) {
  return text.starts_with(words) && (text.size() == words.size() || text[words.size()] == '.');
}

std::string peer_scope(const PeerRules& rules, std::string_view scope) {
  std::string out;
  while (!scope.empty()) {
    const auto rule = std::ranges::find_if(
        rules.scopes, [&](const auto& r) { return starts_with_words(scope, r.first); });
    const bool found = rule != rules.scopes.end();
    const std::string_view ours = found ? rule->first : scope.substr(0, scope.find('.'));
    out += found ? rule->second : ours;
    out += '.';
    scope.remove_prefix(std::min(scope.size(), ours.size() + 1));
  }
  return rules.finish != nullptr ? rules.finish(std::move(out)) : out;
}

/// The last word of a scope that is no number.
std::string_view last_word(std::string_view scope) {
  for (;;) {
    const size_t dot = scope.rfind('.');
    const std::string_view word = dot == std::string_view::npos ? scope : scope.substr(dot + 1);
    if (dot == std::string_view::npos ||
        !std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; }))
      return word;
    scope = scope.substr(0, dot);
  }
}

/// `name` behind a scope that ends in a dot.
std::string join(std::string scope, std::string_view name) {
  constexpr std::string_view kUp = "../";
  if (!name.starts_with(kUp)) return scope + std::string(name);
  scope.pop_back();
  const size_t dot = scope.rfind('.');
  scope.resize(dot == std::string::npos ? 0 : dot + 1);
  return scope + std::string(name.substr(kUp.size()));
}

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace

PeerTensors peer_names(Dialect dialect, std::string_view ours) {
  const PeerRules& rules = rules_of(dialect);
  for (const LeafRule& rule : rules.leaves) {
    if (!ours.ends_with(rule.leaf)) continue;
    std::string_view scope = ours.substr(0, ours.size() - rule.leaf.size());
    if (!scope.empty() && !scope.ends_with('.')) continue;
    if (!scope.empty()) scope.remove_suffix(1);
    const bool fits = rule.module.empty()
                          ? scope.empty()
                          : last_word(scope).find(rule.module) != std::string_view::npos;
    if (!fits || scope.find(rule.within) == std::string_view::npos) continue;
    PeerTensors out{{}, rule.dimension, rule.widths, rule.rows_by_atom};
    for (const std::string_view theirs : rule.theirs)
      out.names.push_back(join(peer_scope(rules, scope), theirs));
    return out;
  }
  fail<BadInput>("tensor '{}' has no counterpart in {}", ours, rules.peer);
}

std::vector<std::pair<std::string, at::Tensor>> split_for_peer(Dialect dialect,
                                                               std::string_view ours,
                                                               const at::Tensor& tensor) {
  const PeerTensors peers = peer_names(dialect, ours);
  const auto count = static_cast<int64_t>(peers.names.size());
  if (count == 0) return {};
  if (peers.rows_by_atom) return {{peers.names[0], tensor.transpose(1, 2).flatten(0, 1)}};
  const auto parts = peers.widths.empty() ? tensor.tensor_split(count, peers.dimension)
                                          : tensor.split_with_sizes(peers.widths, peers.dimension);
  std::vector<std::pair<std::string, at::Tensor>> out;
  for (size_t i = 0; i < peers.names.size(); ++i) out.emplace_back(peers.names[i], parts[i]);
  return out;
}

void import_peer(Dialect dialect, Parameters& parameters,
                 const std::function<at::Tensor(const std::string&)>& find,
                 const std::vector<std::string>& known, std::string_view skip_prefix) {
  std::set<std::string> left(known.begin(), known.end());
  for (const Parameters::Entry& entry : parameters.entries()) {
    const PeerTensors peers = peer_names(dialect, entry.name);
    std::vector<at::Tensor> parts;
    for (std::string name : peers.names) {
      if (name.starts_with(skip_prefix)) name.erase(0, skip_prefix.size());
      parts.push_back(find(name));
      if (!parts.back().defined())
        fail<BadInput>("the checkpoint lacks '{}', which '{}' needs", name, entry.name);
      left.erase(name);
    }
    if (parts.empty()) continue;
    for (size_t i = 0; i < parts.size(); ++i) {
      auto expected = entry.tensor.sizes().vec();
      const auto d = static_cast<size_t>(peers.dimension);
      if (peers.rows_by_atom) expected = {expected[0] * expected[2], expected[1]};
      if (parts.size() > 1)
        expected[d] = peers.widths.empty() ? expected[d] / static_cast<int64_t>(parts.size())
                                           : peers.widths[i];
      if (parts[i].sizes() != at::IntArrayRef(expected))
        fail<BadInput>("the checkpoint's '{}' has shape {}, {} was expected for '{}'",
                       peers.names[i], shape_text(parts[i].sizes()), shape_text(expected),
                       entry.name);
      if (const std::string why = why_no_weight(parts[i]); !why.empty())
        fail<BadInput>("the checkpoint's '{}': {}", peers.names[i], why);
    }
    if (peers.rows_by_atom) {
      const auto ours = entry.tensor.sizes();
      parameters.load(entry.name, parts[0].view({ours[0], ours[2], ours[1]}).transpose(1, 2));
    } else {
      parameters.load(entry.name, parts.size() == 1 ? parts[0] : at::cat(parts, peers.dimension));
    }
  }
  if (!left.empty())
    fail<BadInput>(
        "the checkpoint holds {} tensors that the model has no place for; the first is '{}'",
        left.size(), *left.begin());
}

}  // namespace megafold
