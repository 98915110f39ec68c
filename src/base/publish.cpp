// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "base/publish.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "base/errors.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_io(const char* what, const fs::path& path, int error) {
  if (error == EISDIR) fail<BadInput>("{}: is a folder, a file was to be written", path.string());
  if (error == ENOTDIR)
    fail<BadInput>("{}: a folder was needed there, or on the way to it is a file", path.string());
  const char* hint = "";
  if (error == ENOSPC || error == EDQUOT) hint = "; free space or choose another folder";
  if (error == EROFS || error == EACCES || error == EPERM)
    hint = "; choose a folder that this user may write to";
  fail<Device>("{}: cannot {}: {}{}", path.string(), what, std::strerror(error), hint);
}

/// An open file that is closed, and removed unless kept, however the scope is left.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& target)
      : path_(target.parent_path() / fmt::format(".{}.{}.{}.tmp", target.filename().string(),
                                                 ::getpid(), counter_.fetch_add(1))),
        file_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) {
    if (file_ < 0) fail_io("create the file", target, errno);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (file_ >= 0) ::close(file_);
    if (!kept_) ::unlink(path_.c_str());
  }
  void write(std::span<const std::byte> bytes, const fs::path& target) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(file_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail_io("write", target, errno);
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
  }
  void rename_to(const fs::path& target) {
    if (::fsync(file_) != 0) fail_io("sync", target, errno);
    const int closed = ::close(file_);
    file_ = -1;
    if (closed != 0) fail_io("close", target, errno);
    kill_point("publish.synced");
    if (::rename(path_.c_str(), target.c_str()) != 0) fail_io("rename into place", target, errno);
    kept_ = true;
  }

 private:
  static inline std::atomic<unsigned> counter_{0};
  fs::path path_;
  int file_;
  bool kept_ = false;
};

void sync_folder(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail_io("open the folder to sync it", folder, errno);
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  if (result != 0 && error != EINVAL) fail_io("sync the folder", folder, error);
}

}  // namespace

void publish(const fs::path& path, const std::function<void(const WritePiece&)>& write) {
  const fs::path target = fs::absolute(path);
  std::error_code error;
  fs::create_directories(target.parent_path(), error);
  if (error) fail_io("make the folder", target.parent_path(), error.value());
  TemporaryFile file(target);
  kill_point("publish.created");
  write([&](std::span<const std::byte> piece) { file.write(piece, target); });
  kill_point("publish.written");
  file.rename_to(target);
  kill_point("publish.renamed");
  sync_folder(target.parent_path());
}

void publish(const fs::path& path, std::span<const std::byte> bytes) {
  publish(path, [&](const WritePiece& piece) { piece(bytes); });
}

void publish(const fs::path& path, std::string_view text) {
  publish(path, std::as_bytes(std::span(text.data(), text.size())));
}

std::string read_file(const fs::path& path) {
  std::error_code error;
  const auto status = fs::status(path, error);
  if (!fs::exists(status)) fail<BadInput>("{}: no such file", path.string());
  if (fs::is_directory(status))
    fail<BadInput>("{}: is a folder, a file was expected", path.string());
  std::ifstream stream(path, std::ios::binary | std::ios::ate);
  if (!stream) fail<BadInput>("{}: cannot be read: {}", path.string(), std::strerror(errno));
  std::string text(static_cast<size_t>(stream.tellg()), '\0');
  stream.seekg(0);
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!stream) fail<BadInput>("{}: reading stopped after {} bytes", path.string(), stream.gcount());
  return text;
}

void kill_point(const char* name) {
  static const char* const wanted = std::getenv("MEGAFOLD_KILL_AT");
  if (wanted == nullptr) return;
  static std::atomic<long> passed{0};
  const char* const colon = std::strchr(wanted, ':');
  const size_t length =
      colon != nullptr ? static_cast<size_t>(colon - wanted) : std::strlen(wanted);
  if (std::strlen(name) != length || std::strncmp(name, wanted, length) != 0) return;
  const long at = colon != nullptr ? std::strtol(colon + 1, nullptr, 10) : 1;
  if (++passed == at) ::kill(::getpid(), SIGKILL);
}

}  // namespace megafold
