// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/errors.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

int lock_file(const fs::path& path, int how, const std::string& what) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0)
    fail<Device>("{}: cannot be opened: {}; choose a folder that this user may write to",
                 path.string(), std::strerror(errno));
  if (::flock(file, how | LOCK_NB) == 0) return file;
  const int error = errno;
  ::close(file);
  if (error == EWOULDBLOCK)
    fail<BadInput>("{}: another build is at work on {}; wait for it", path.parent_path().string(),
                   what);
  fail<Device>("{}: cannot be locked: {}", path.string(), std::strerror(error));
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail<Device>("{}: cannot make the folder: {}", folder.string(), error.message());
}

}  // namespace

FolderLock FolderLock::whole(const fs::path& folder) {
  make_folder(folder);
  FolderLock out;
  out.folder_ = lock_file(folder / ".lock", LOCK_EX, "this cache");
  return out;
}

FolderLock FolderLock::part(const fs::path& folder, int part, int parts) {
  make_folder(folder);
  FolderLock out;
  out.folder_ = lock_file(folder / ".lock", LOCK_SH, "this cache");
  out.part_ = lock_file(folder / fmt::format(".lock-{}-of-{}", part, parts), LOCK_EX,
                        fmt::format("part {} of {} of this cache", part, parts));
  return out;
}

FolderLock::FolderLock(FolderLock&& other) noexcept
    : folder_(std::exchange(other.folder_, -1)), part_(std::exchange(other.part_, -1)) {}

FolderLock::~FolderLock() {
  if (part_ >= 0) ::close(part_);
  if (folder_ >= 0) ::close(folder_);
}

}  // namespace megafold
