// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Tables of names: how a peer calls our tensors (import_peer.h reads them).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace megafold {

/// A tensor `leaf` of a module whose scope's last word contains `module`, and whose scope contains
/// `within`. Names in `theirs` stand behind the peer's scope; none: the peer has no such tensor (a
/// constant of ours). A leading "../" takes the scope's last word away.
struct LeafRule {
  std::string_view module, leaf;
  std::vector<std::string_view> theirs;
  int64_t dimension = 0;
  std::vector<int64_t> widths = {};
  std::string_view within = {};
  /// Theirs is [M B, C] where ours is [M, C, B].
  bool rows_by_atom = false;
};

struct PeerRules {
  std::string_view peer;
  const std::vector<LeafRule>& leaves;
  /// Words of a scope, and the peer's; the first that fits from the left is taken.
  std::span<const std::pair<std::string_view, std::string_view>> scopes;
  /// What a word's neighbours change; null: nothing.
  std::string (*finish)(std::string scope);
};

/// A peer's own leaves behind those that all peers name alike.
std::vector<LeafRule> with_shared_leaves(std::vector<LeafRule> own);

const PeerRules& protenix_rules();
const PeerRules& openfold3_rules();

}  // namespace megafold
