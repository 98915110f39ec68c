// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Who may write to a cache folder: one program that may do anything, or several that each build
// their own part of the entries. The system lets go when a process ends, however it ends.
#pragma once

#include <filesystem>
#include <string>

namespace megafold {

class FolderLock {
 public:
  /// The whole folder. Makes it where it is missing. Throws BadInput where another process is at
  /// work on it, Device where the system refuses.
  static FolderLock whole(const std::filesystem::path& folder);
  /// Part `part` of `parts` (1-based), beside builders of the other parts.
  static FolderLock part(const std::filesystem::path& folder, int part, int parts);

  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock();

 private:
  FolderLock() = default;
  int folder_ = -1, part_ = -1;  // open files
};

}  // namespace megafold
