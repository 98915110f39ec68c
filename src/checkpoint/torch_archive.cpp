// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/torch_archive.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/errors.h"
#include "base/zip.h"

namespace megafold {

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

  const auto members = read_zip_directory({bytes_.get(), size}, file_);
  if (!members)
    fail<BadInput>(
        "{}: is no file of torch.save (no zip archive); the form before torch 1.6 is not read",
        file_);
  for (const ZipMember& member : *members) {
    if (member.is_deflated)
      fail<BadInput>("{}: member '{}' is compressed; torch.save stores its members", file_,
                     member.name);
    const size_t folder = member.name.find('/');
    members_[folder == std::string::npos ? member.name : member.name.substr(folder + 1)] =
        member.data;
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
