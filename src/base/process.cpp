// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "base/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>

#include "base/errors.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::streamoff kLogTail = 1 << 16;  // bytes of a log that are looked at
constexpr int kShownLines = 8;

std::string end_of(const fs::path& log) {
  std::ifstream stream(log, std::ios::binary | std::ios::ate);
  const std::streamoff size = stream ? std::streamoff{stream.tellg()} : 0;
  stream.seekg(std::max<std::streamoff>(0, size - kLogTail));
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

/// The last lines that say something, each after two blanks.
std::string shown_end(const fs::path& log) {
  const std::string text = end_of(log);
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);)
    if (line.find_first_not_of(" \t\r") != std::string::npos) lines.push_back(line);
  std::string out;
  for (size_t i = lines.size() - std::min<size_t>(lines.size(), kShownLines); i < lines.size(); ++i)
    out += "\n  " + lines[i];
  return out.empty() ? " (it said nothing)" : ":" + out;
}

/// The signals that a child's end is waited for with; they are as before when the scope is left.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigemptyset(&wanted_);
    for (const int signal : {SIGCHLD, SIGINT, SIGTERM}) sigaddset(&wanted_, signal);
    ::pthread_sigmask(SIG_BLOCK, &wanted_, &before_);
  }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  [[nodiscard]] const sigset_t& before() const { return before_; }
  /// One of them, or 0 after `milliseconds`.
  [[nodiscard]] int wait(int milliseconds) const {
    const timespec time{milliseconds / 1000, (milliseconds % 1000) * 1000000L};
    const int signal = ::sigtimedwait(&wanted_, nullptr, &time);
    return std::max(signal, 0);
  }

 private:
  sigset_t wanted_{}, before_{};
};

struct SpawnSettings {
  SpawnSettings(const fs::path& log, const sigset_t& mask) {
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::posix_spawn_file_actions_adddup2(&files, 1, 2);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setsigmask(&attributes, &mask);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_t files{};
  posix_spawnattr_t attributes{};
};

/// The status of waitpid(); -1 where the time was over.
int run_to_end(const fs::path& path, const std::vector<std::string>& arguments, const fs::path& log,
               double seconds) {
  const BlockedSignals signals;
  const SpawnSettings settings(log, signals.before());
  std::vector<std::string> words = {path.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_t child = 0;
  const int error = ::posix_spawn(&child, path.c_str(), &settings.files, &settings.attributes,
                                  pointers.data(), environ);
  if (error != 0) fail<Device>("{}: cannot be started: {}", path.string(), std::strerror(error));
  const auto start = Clock::now();
  const auto end_group = [&] {
    ::kill(-child, SIGKILL);
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  };
  for (;;) {
    int status = 0;
    if (::waitpid(child, &status, WNOHANG) == child) {
      ::kill(-child, SIGKILL);  // what it left running
      return status;
    }
    const double left =
        seconds > 0 ? seconds - std::chrono::duration<double>(Clock::now() - start).count() : 1;
    if (left <= 0) {
      end_group();
      return -1;
    }
    const int signal = signals.wait(static_cast<int>(1000 * std::min(left, 1.0)) + 1);
    if (signal == SIGINT || signal == SIGTERM) {
      end_group();
      throw Interrupted{signal};
    }
  }
}

}  // namespace

fs::path find_program(const Program& program) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path file = fs::path(folder.empty() ? "." : folder) / program.name;
    std::error_code error;
    if (fs::is_regular_file(file, error) && ::access(file.c_str(), X_OK) == 0) return file;
  }
  fail<BadInput>("{}: no such program on PATH; Debian's package {} has it (apt-get install {})",
                 program.name, program.package, program.package);
}

std::string output_of(const Program& program, const std::vector<std::string>& arguments,
                      double seconds) {
  std::string log = (fs::temp_directory_path() / "megafold.XXXXXX").string();
  const int file = ::mkstemp(log.data());
  if (file < 0) fail<Device>("{}: cannot be made: {}", log, std::strerror(errno));
  ::close(file);
  struct Removed {
    std::string path;
    ~Removed() { ::unlink(path.c_str()); }
  } const removed{log};
  run_to_end(find_program(program), arguments, log, seconds);
  return end_of(log);
}

void run_program(const Program& program, const std::vector<std::string>& arguments,
                 const fs::path& log, double seconds, const std::string& subject) {
  const int status = run_to_end(find_program(program), arguments, log, seconds);
  if (status == -1)
    fail<Device>("{}: {} was not done after {:g} s, the time that --timeout gives it{}",
                 program.name, subject, seconds, shown_end(log));
  if (WIFSIGNALED(status))
    fail<Device>("{}: {} was ended by the signal {} ({}){}", program.name, subject,
                 WTERMSIG(status), ::strsignal(WTERMSIG(status)), shown_end(log));
  if (WEXITSTATUS(status) != 0)
    fail<BadInput>("{}: {} ended with {}{}", program.name, subject, WEXITSTATUS(status),
                   shown_end(log));
}

}  // namespace megafold
