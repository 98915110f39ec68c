// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Entries that a run does without: each from one visit on, because a sample of it came too late or
// could not be made. Written down at once, so that a resumed run and a replay leave out the same
// visits and see the same batches, whatever the clock does then.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace megafold {

struct Quarantined {
  uint64_t visit = 0;  // the first that is left out
  std::string reason;
};

class Quarantine {
 public:
  /// In memory alone.
  Quarantine() = default;
  /// Reads the file where there is one: JSON, one object a line {entry, visit, reason}. Throws
  /// BadInput naming file and line.
  explicit Quarantine(std::filesystem::path file);

  /// Adds an entry and writes the file anew (base/publish.h). An entry that is in it already keeps
  /// the earlier visit. Throws Device where the disk refuses.
  void add(const std::string& entry, uint64_t visit, const std::string& reason);
  /// Why this visit to the entry is left out; nullptr: it is not.
  [[nodiscard]] const Quarantined* find(const std::string& entry, uint64_t visit) const;
  [[nodiscard]] const std::map<std::string, Quarantined>& entries() const { return entries_; }

 private:
  std::filesystem::path file_;
  std::map<std::string, Quarantined> entries_;
};

}  // namespace megafold
