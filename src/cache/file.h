// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A file opened for reading at any place, from any thread. Read by pread and never mapped: a file
// that somebody cuts short is then an error here, and not a SIGBUS in a training run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

namespace megafold {

class ReadFile {
 public:
  /// Throws Corrupt where the file is missing (whoever asks knows that it was there), Device where
  /// the system refuses.
  static std::shared_ptr<const ReadFile> open(const std::filesystem::path& path);
  ReadFile(const ReadFile&) = delete;
  ReadFile& operator=(const ReadFile&) = delete;
  ~ReadFile();

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] uint64_t size() const { return size_; }
  /// Fills `out` from `offset` on. Throws Corrupt where the file ends before that.
  void read(uint64_t offset, std::span<std::byte> out) const;
  [[nodiscard]] std::string read(uint64_t offset, uint64_t size) const;

  /// Bytes that this process has read through all ReadFiles so far.
  static uint64_t bytes_read();

 private:
  ReadFile(std::string name, int file, uint64_t size)
      : name_(std::move(name)), file_(file), size_(size) {}
  std::string name_;
  int file_;
  uint64_t size_;
};

/// The files of one folder, of which the last used stay open: a cache may have more shards than a
/// process may have descriptors. Safe to use from several threads.
class OpenFiles {
 public:
  explicit OpenFiles(std::filesystem::path folder, size_t limit = 128)
      : folder_(std::move(folder)), limit_(limit) {}
  std::shared_ptr<const ReadFile> get(const std::string& name);
  /// The file of that name is another one from now on.
  void forget(const std::string& name);

 private:
  struct Slot {
    std::string name;
    std::shared_ptr<const ReadFile> file;
  };
  std::filesystem::path folder_;
  size_t limit_;
  std::mutex mutex_;
  std::list<Slot> slots_;  // last used first
  std::map<std::string, std::list<Slot>::iterator, std::less<>> by_name_;
};

}  // namespace megafold
