// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/torch_archive.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/errors.h"

namespace megafold {
namespace {

// Sizes and places of the format (PKWARE's APPNOTE 4.3); all numbers little end first.
constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50,
                   kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr uint64_t kEndSize = 22, kLocator64Size = 20, kCentralSize = 46, kLocalSize = 30;
constexpr uint64_t kMaxComment = 65535;
constexpr uint32_t kIn64 = 0xFFFFFFFF;

/// Reads numbers inside a file, and throws Corrupt outside.
struct Reader {
  const std::byte* bytes;
  uint64_t size;
  const std::string& file;

  void need(uint64_t at, uint64_t count) const {
    if (at > size || count > size - at)
      fail<Corrupt>(
          "{}: its zip directory points to byte {}, the file has {}: cut short or damaged", file,
          at + count, size);
  }
  template <class T>
  [[nodiscard]] T get(uint64_t at) const {
    need(at, sizeof(T));
    T value;
    std::memcpy(&value, bytes + at, sizeof(T));
    return value;
  }
};

/// Where the central directory begins, and how many members it has.
std::pair<uint64_t, uint64_t> find_directory(const Reader& in) {
  const uint64_t last = in.size < kEndSize ? 0 : in.size - kEndSize;
  const uint64_t first = last > kMaxComment ? last - kMaxComment : 0;
  for (uint64_t at = last + 1; in.size >= kEndSize && at-- > first;) {
    if (in.get<uint32_t>(at) != kEnd) continue;
    const uint64_t members = in.get<uint16_t>(at + 10), begin = in.get<uint32_t>(at + 16);
    if (at >= kLocator64Size && in.get<uint32_t>(at - kLocator64Size) == kLocator64) {
      const auto end64 = in.get<uint64_t>(at - kLocator64Size + 8);
      if (in.get<uint32_t>(end64) != kEnd64)
        fail<Corrupt>("{}: its zip64 directory is damaged", in.file);
      return {in.get<uint64_t>(end64 + 48), in.get<uint64_t>(end64 + 32)};
    }
    return {begin, members};
  }
  fail<BadInput>(
      "{}: is no file of torch.save (no zip archive); the form before torch 1.6 is not read",
      in.file);
}

}  // namespace

TorchArchive::TorchArchive(const std::filesystem::path& path) : file_(path.string()) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail<BadInput>("{}: cannot be opened: {}", file_, std::strerror(errno));
  struct stat status {};
  const bool regular = ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
  const auto size = regular ? static_cast<uint64_t>(status.st_size) : 0;
  void* const memory =
      size > 0 ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0) : MAP_FAILED;
  ::close(file);
  if (size == 0) fail<BadInput>("{}: is no file, or empty", file_);
  if (memory == MAP_FAILED) fail<Device>("{}: cannot be mapped: {}", file_, std::strerror(errno));
  bytes_ = {static_cast<const std::byte*>(memory),
            [size](const std::byte* p) { ::munmap(const_cast<std::byte*>(p), size); }};

  const Reader in{bytes_.get(), size, file_};
  auto [at, count] = find_directory(in);
  for (uint64_t i = 0; i < count; ++i) {
    if (in.get<uint32_t>(at) != kCentral) fail<Corrupt>("{}: its zip directory is damaged", file_);
    const auto method = in.get<uint16_t>(at + 10);
    uint64_t stored = in.get<uint32_t>(at + 20), whole = in.get<uint32_t>(at + 24);
    const uint64_t name_size = in.get<uint16_t>(at + 28), extra = in.get<uint16_t>(at + 30),
                   comment = in.get<uint16_t>(at + 32);
    uint64_t local = in.get<uint32_t>(at + 42);
    in.need(at + kCentralSize, name_size + extra + comment);
    const std::string name(reinterpret_cast<const char*>(bytes_.get()) + at + kCentralSize,
                           name_size);
    // The zip64 extra field holds, in this order, those of the three that did not fit.
    for (uint64_t e = at + kCentralSize + name_size, end = e + extra; e + 4 <= end;) {
      const auto tag = in.get<uint16_t>(e), length = in.get<uint16_t>(e + 2);
      uint64_t value = e + 4;
      if (tag == 1)
        for (uint64_t* const field : {&whole, &stored, &local})
          if (*field == kIn64) *field = in.get<uint64_t>(value), value += 8;
      e += 4 + uint64_t{length};
    }
    if (method != 0 || stored != whole)
      fail<BadInput>("{}: member '{}' is compressed; torch.save stores its members", file_, name);
    if (in.get<uint32_t>(local) != kLocal)
      fail<Corrupt>("{}: member '{}' is not there", file_, name);
    const uint64_t begin =
        local + kLocalSize + in.get<uint16_t>(local + 26) + in.get<uint16_t>(local + 28);
    in.need(begin, stored);
    const size_t folder = name.find('/');
    members_[folder == std::string::npos ? name : name.substr(folder + 1)] = {
        bytes_.get() + begin, static_cast<size_t>(stored)};
    at += kCentralSize + name_size + extra + comment;
  }
  if (!has("data.pkl"))
    fail<BadInput>("{}: is no file of torch.save (a zip archive without data.pkl)", file_);
  if (has("byteorder")) {
    const auto order = member("byteorder");
    const std::string text(reinterpret_cast<const char*>(order.data()), order.size());
    if (!text.starts_with("little"))
      fail<BadInput>("{}: was written on a machine with byte order '{}'", file_, text);
  }
}

std::span<const std::byte> TorchArchive::member(const std::string& name) const {
  const auto found = members_.find(name);
  if (found == members_.end()) fail<Corrupt>("{}: has no member '{}'", file_, name);
  return found->second;
}

}  // namespace megafold
