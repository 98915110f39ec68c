// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/machine.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

namespace megafold::cli {
namespace {

namespace fs = std::filesystem;

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

int64_t usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

uint64_t usable_memory() {
  const uint64_t installed = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                             static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  std::ifstream limit("/sys/fs/cgroup/memory.max");  // "max" reads as no number
  uint64_t bytes = 0;
  return limit >> bytes && bytes > 0 ? std::min(bytes, installed) : installed;
}

// CUDA's driver interface, as far as is needed to name a GPU (its ABI is stable).
class Driver {
 public:
  Driver() : library_(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL)) {}
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;
  ~Driver() {
    if (library_ != nullptr) dlclose(library_);
  }
  [[nodiscard]] bool is_here() const { return library_ != nullptr; }

  /// Calls a function of the driver: 0 is success, -1 when the driver lacks it.
  template <class... Args>
  int call(const char* name, Args... args) const {
    void* const symbol = dlsym(library_, name);
    return symbol == nullptr ? -1 : reinterpret_cast<int (*)(Args...)>(symbol)(args...);
  }

 private:
  void* library_;
};

void find_gpus(Machine& machine) {
  const Driver driver;
  if (!driver.is_here()) return;
  driver.call("cuDriverGetVersion", &machine.cuda_driver);
  int count = 0;
  if (const int code = driver.call("cuInit", 0U); code != 0) {
    machine.gpu_problem = fmt::format("the driver does not start (cuInit: error {})", code);
    return;
  }
  driver.call("cuDeviceGetCount", &count);
  for (int i = 0; i < count; ++i) {
    int device = 0;
    char name[256] = {};
    size_t bytes = 0;
    Gpu gpu;
    if (driver.call("cuDeviceGet", &device, i) != 0) continue;
    driver.call("cuDeviceGetName", name, 255, device);
    driver.call("cuDeviceGetAttribute", &gpu.major, 75, device);  // compute capability, major
    driver.call("cuDeviceGetAttribute", &gpu.minor, 76, device);
    driver.call("cuDeviceTotalMem_v2", &bytes, device);
    gpu.name = name;
    gpu.memory_bytes = bytes;
    machine.gpus.push_back(gpu);
  }
  if (machine.gpus.empty()) machine.gpu_problem = "the driver is there, but shows no GPU";
}

}  // namespace

Machine this_machine() {
  Machine machine;
  machine.cpu = cpu_name();
  machine.cpus = usable_cpus();
  machine.avx2 = __builtin_cpu_supports("avx2") != 0;
  machine.fma = __builtin_cpu_supports("fma") != 0;
  machine.avx512 = __builtin_cpu_supports("avx512f") != 0;
  machine.memory_bytes = usable_memory();
  std::error_code error;
  const fs::space_info space = fs::space(fs::current_path(error), error);
  machine.free_disk_bytes = error ? 0 : space.available;
  find_gpus(machine);
  return machine;
}

std::string find_program(const std::string& name) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path candidate = fs::path(folder.empty() ? "." : folder) / name;
    if (access(candidate.c_str(), X_OK) == 0 && fs::is_regular_file(candidate)) {
      return candidate.string();
    }
  }
  return "";
}

}  // namespace megafold::cli
