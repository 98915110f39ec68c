// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What this machine has. Nothing here links a driver: the GPU's is opened by name, so the same
// program runs where there is none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace megafold::cli {

struct Gpu {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  uint64_t memory_bytes = 0;
};

struct Machine {
  std::string cpu;
  int64_t cpus = 0;                // that this process may use
  bool avx2 = false, fma = false;  // what the CPU kernels are compiled for
  bool avx512 = false;
  uint64_t memory_bytes = 0;     // the container's limit where that is lower
  uint64_t free_disk_bytes = 0;  // of the current folder
  std::vector<Gpu> gpus;
  int cuda_driver = 0;      // 13000: the newest CUDA that the driver can; 0: no driver
  std::string gpu_problem;  // why a driver that is there shows no GPU
};

[[nodiscard]] Machine this_machine();

/// The path of a program that a shell would start; empty when there is none.
[[nodiscard]] std::string find_program(const std::string& name);

}  // namespace megafold::cli
