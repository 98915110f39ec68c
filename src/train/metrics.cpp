// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "train/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/errors.h"

namespace megafold {
namespace {

/// The text after "key" and a colon in one of /proc's tables; empty when it is not there.
std::string proc_value(const char* file, std::string_view key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

}  // namespace

MetricsFile::MetricsFile(const std::filesystem::path& path)
    : path_(path), file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (file_ < 0)
    fail<Device>("{}: cannot be opened for writing: {}", path_.string(), std::strerror(errno));
  size_ = ::lseek(file_, 0, SEEK_END);
  char last = 0;
  while (size_ > 0 && ::pread(file_, &last, 1, size_ - 1) == 1 && last != '\n') --size_;
  if (::ftruncate(file_, size_) != 0)
    fail<Device>("{}: its torn last line cannot be cut off: {}", path_.string(),
                 std::strerror(errno));
}

MetricsFile::~MetricsFile() {
  if (file_ >= 0) ::close(file_);
}

void MetricsFile::append(const nlohmann::json& object) {
  const std::string line = object.dump() + "\n";
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t n =
        ::pwrite(file_, line.data() + done, line.size() - done, size_ + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      [[maybe_unused]] const int cut = ::ftruncate(file_, size_);
      fail<Device>("{}: cannot be written: {}; free space or choose another folder with --run",
                   path_.string(), std::strerror(error));
    }
    done += static_cast<size_t>(n);
  }
  size_ += static_cast<int64_t>(line.size());
}

double resident_mib() {
  return std::strtod(proc_value("/proc/self/status", "VmRSS").c_str(), nullptr) / 1024;
}
double peak_resident_mib() {
  return std::strtod(proc_value("/proc/self/status", "VmHWM").c_str(), nullptr) / 1024;
}
std::string cpu_name() {
  const std::string name = proc_value("/proc/cpuinfo", "model name");
  return name.empty() ? "?" : name;
}

}  // namespace megafold
