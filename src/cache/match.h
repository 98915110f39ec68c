// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Which alignment belongs to which chain (the rule stands in cache/inputs.h).
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "alignment/alignment.h"
#include "cache/inputs.h"
#include "structure/chain_type.h"

namespace megafold {

/// A chain as far as it matters here.
struct ChainSequence {
  std::string label, origin, auth, sequence;
  ChainType type = ChainType::ligand;
};

/// The letters of a polymer's alignment.
Alphabet alphabet_of(ChainType type);

/// Safe to use from several threads.
class AlignmentMatcher {
 public:
  explicit AlignmentMatcher(const DataFolder& folder);

  /// Chain label -> its alignment; chains without one are left out. Throws BadInput where an
  /// alignment is named for a chain of this entry and has another query.
  std::map<std::string, const AlignmentFiles*> match(const std::string& id,
                                                     const std::vector<ChainSequence>& chains);
  /// Files that no match() has used so far.
  [[nodiscard]] std::vector<std::string> unused() const;

 private:
  struct Candidate {
    const AlignmentFiles* files = nullptr;
    std::string query;        // of the first file; empty until it is read
    bool unreadable = false;  // reported when the name claims a chain, passed over otherwise
    std::atomic<bool> used{false};
  };
  static std::string read_query_of(const AlignmentFiles& files);
  const std::string& query_of(Candidate& candidate);
  void read_pool();

  std::map<std::string, std::unique_ptr<Candidate>> by_name_;
  std::vector<std::string> ids_;  // sorted
  std::mutex mutex_;
  bool pool_ready_ = false;
  std::map<size_t, std::vector<Candidate*>> pool_;  // by length of the query
};

}  // namespace megafold
