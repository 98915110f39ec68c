// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/errors.h"

namespace megafold {
namespace {

std::atomic<uint64_t> total_read{0};

}  // namespace

uint64_t ReadFile::bytes_read() {
  return total_read;
}

std::shared_ptr<const ReadFile> ReadFile::open(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    const int error = errno;
    if (error == ENOENT)
      fail<Corrupt>(
          "{}: no such file; build the cache again, or open it again if `megafold cache "
          "gc` ran meanwhile",
          path.string());
    fail<Device>("{}: cannot be opened: {}", path.string(), std::strerror(error));
  }
  struct stat status {};
  if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(file);
    fail<Corrupt>("{}: is no file", path.string());
  }
  return std::shared_ptr<const ReadFile>(
      new ReadFile(path.string(), file, static_cast<uint64_t>(status.st_size)));
}

ReadFile::~ReadFile() {
  ::close(file_);
}

void ReadFile::read(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(file_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail<Device>("{}: cannot be read: {}", name_, std::strerror(errno));
    if (n == 0)
      fail<Corrupt>("{}: ends at byte {}, {} more were expected (cut short?)", name_, offset,
                    out.size());
    offset += static_cast<uint64_t>(n);
    total_read += static_cast<uint64_t>(n);
    out = out.subspan(static_cast<size_t>(n));
  }
}

std::string ReadFile::read(uint64_t offset, uint64_t size) const {
  if (offset > size_ || size > size_ - offset)
    fail<Corrupt>("{}: {} bytes from {} on, of {} (cut short?)", name_, size, offset, size_);
  std::string out(size, '\0');
  read(offset, std::as_writable_bytes(std::span(out)));
  return out;
}

std::shared_ptr<const ReadFile> OpenFiles::get(const std::string& name) {
  const std::scoped_lock lock(mutex_);
  if (const auto found = by_name_.find(name); found != by_name_.end()) {
    slots_.splice(slots_.begin(), slots_, found->second);
    return slots_.front().file;
  }
  auto file = ReadFile::open(folder_ / name);
  slots_.push_front({name, file});
  by_name_[name] = slots_.begin();
  if (slots_.size() > limit_) {  // whoever still reads from it keeps it open
    by_name_.erase(slots_.back().name);
    slots_.pop_back();
  }
  return file;
}

void OpenFiles::forget(const std::string& name) {
  const std::scoped_lock lock(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return;
  slots_.erase(found->second);
  by_name_.erase(found);
}

}  // namespace megafold
