// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The entries that templates are taken from: mmCIF and BinaryCIF files of a folder, by id.
#pragma once

#include <filesystem>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cache/inputs.h"
#include "cache/match.h"
#include "features/templates.h"

namespace megafold {

/// Safe to use from several threads.
class TemplateLibrary {
 public:
  /// Files at any depth of `folder` (empty: none), called 1abc.cif, 1abc.bcif (.gz, .zst), and the
  /// entries of the data folder, which come second. The dictionary must outlive the library.
  TemplateLibrary(const std::filesystem::path& folder, const std::vector<EntryFile>& entries,
                  const ComponentDictionary& dictionary);

  /// nullptr where there is no file of that id, or it cannot be read: damaged() names those.
  std::shared_ptr<const TemplateStructure> find(const std::string& id);
  /// SHA-256 of the file; empty where there is none.
  std::string hash(const std::string& id);
  [[nodiscard]] std::vector<std::string> damaged() const;

 private:
  const ComponentDictionary& dictionary_;
  std::map<std::string, std::filesystem::path> paths_;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> hashes_, damaged_;
  /// The last ones that were read, newest first: many sequences share hits.
  std::list<std::shared_ptr<const TemplateStructure>> recent_;
};

/// Chain label -> its hits: those called "1abc_A" by the author's or the file's id, and what a
/// chain of the same sequence has. Proteins alone.
std::map<std::string, const AlignmentFiles*> match_hits(
    const std::map<std::string, AlignmentFiles>& hits, const std::string& id,
    const std::vector<ChainSequence>& chains);

}  // namespace megafold
