// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The zip archive around a pickle: members that are stored, not compressed, as torch.save writes
// them, with zip64 sizes.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>

namespace megafold {

class TorchArchive {
 public:
  /// Maps the file and reads its directory. Throws BadInput when it is no zip archive or a member
  /// is compressed, Corrupt when the directory does not fit the file.
  explicit TorchArchive(const std::filesystem::path& path);

  /// Of a member without the archive's own folder ("data.pkl", "data/0"). Throws Corrupt when there
  /// is none.
  [[nodiscard]] std::span<const std::byte> member(const std::string& name) const;
  [[nodiscard]] bool has(const std::string& name) const { return members_.contains(name); }
  /// Keeps the mapping alive.
  [[nodiscard]] std::shared_ptr<const std::byte> bytes() const { return bytes_; }
  [[nodiscard]] const std::string& file() const { return file_; }

 private:
  std::string file_;
  std::shared_ptr<const std::byte> bytes_;
  std::map<std::string, std::span<const std::byte>> members_;
};

}  // namespace megafold
