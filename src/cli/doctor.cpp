// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// megafold doctor: what this machine has, what will be used, what is missing and how to get it.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/machine.h"
#include "kernels/common/dispatch_counts.h"
#include "ops/evo_attention.h"
#include "ops/layernorm.h"
#include "ops/smooth_lddt.h"

namespace megafold::cli {
namespace {

using nlohmann::json;

std::string gib(uint64_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30));
}

// Runs each operation once on a small problem: what is told is what took the call.
void run_operations(const at::Device& device, at::ScalarType type) {
  const auto options = at::TensorOptions().device(device).dtype(type);
  const auto filled = [&](at::IntArrayRef shape) { return at::full(shape, 0.5, options); };
  ops::layer_norm(filled({16, 128}), filled({128}), filled({128}));
  const at::Tensor q = filled({1, 64, 64, 4, 32});
  ops::evo_attention(q, q, q, filled({1, 4, 64, 64}), {}, q);
  const at::Tensor atoms = filled({1, 2, 64, 4, 32});
  ops::atom_attention(atoms, atoms, atoms, filled({1, 2, 4, 32, 128}), {}, atoms);
  const at::Tensor places = filled({2, 64, 3}).to(at::kFloat);  // structures are in f32
  ops::smooth_lddt_sums(places, places[0], places.select(2, 0)[0], 0);
}

json operations_on(const at::Device& device, at::ScalarType type) {
  kernels::reset_dispatch_counts();
  json out = json::array();
  try {
    run_operations(device, type);
  } catch (const std::exception& error) {
    out.push_back({{"problem", error.what()}});
  }
  for (const auto& count : kernels::dispatch_counts()) {
    out.push_back({{"operation", count.operation},
                   {"implementation", count.implementation},
                   {"refused", count.refused}});
  }
  kernels::reset_dispatch_counts();
  return out;
}

bool cuda_is_usable() {
#ifdef MEGAFOLD_CUDA
  return at::globalContext().hasCUDA();
#else
  return false;
#endif
}

// {what, how} of everything that would help and is not there.
json missing(const Machine& machine) {
  json out = json::array();
  const auto add = [&](const std::string& what, const std::string& how) {
    out.push_back({{"what", what}, {"how", how}});
  };
  if (!machine.avx2 || !machine.fma) {
    add("AVX2 and FMA of the processor: the CPU kernels need both",
        "build with -DMEGAFOLD_CPU_ARCH=x86-64, slower");
  }
  if (machine.memory_bytes < (uint64_t{4} << 30)) {
    add("memory: " + gib(machine.memory_bytes), "the demonstration needs about 4 GiB");
  }
  if (machine.free_disk_bytes < (uint64_t{2} << 30)) {
    add("free disk space here: " + gib(machine.free_disk_bytes), "a run and its cache need room");
  }
#ifndef MEGAFOLD_CUDA
  if (!machine.gpus.empty()) {
    add("a build for the GPU that is here", "./dev build cuda, then build/cuda/megafold");
  }
#endif
  if (!machine.gpu_problem.empty()) {
    add("a GPU that works: " + machine.gpu_problem,
        "nvidia-smi says more; in a container, start it with the GPU passed through");
  }
  if (!machine.gpus.empty() && machine.cuda_driver < 13000) {
    add(fmt::format("a driver for CUDA 13; this one can {}.{}", machine.cuda_driver / 1000,
                    machine.cuda_driver % 1000 / 10),
        "install NVIDIA driver 580 or later");
  }
  if (!machine.gpus.empty() && machine.gpus[0].major < 8) {
    add("compute capability 8.0 of the GPU; " + machine.gpus[0].name + " is older",
        "train with --device cpu");
  }
  for (const auto& [program, package, use] : std::initializer_list<std::array<const char*, 3>>{
           {"mmseqs", "mmseqs2", "searching sequences"},
           {"jackhmmer", "hmmer", "searching sequences"},
           {"hhsearch", "hhsuite", "searching templates"}}) {
    if (find_program(program).empty()) {
      add(fmt::format("{} ({}; optional, ready alignments are read without it)", program, use),
          fmt::format("apt-get install {}", package));
    }
  }
  return out;
}

json examine() {
  const Machine machine = this_machine();
  json gpus = json::array();
  for (const Gpu& gpu : machine.gpus) {
    gpus.push_back({{"name", gpu.name},
                    {"compute_capability", fmt::format("{}.{}", gpu.major, gpu.minor)},
                    {"memory_bytes", gpu.memory_bytes}});
  }
  json use{{"cpu", operations_on(at::kCPU, at::kFloat)}};
  if (cuda_is_usable()) use["cuda"] = operations_on({at::kCUDA, 0}, at::kBFloat16);
#ifdef MEGAFOLD_CUDA
  constexpr bool has_cuda = true;
#else
  constexpr bool has_cuda = false;
#endif
  return {{"megafold", {{"version", MEGAFOLD_VERSION}, {"cuda", has_cuda}}},
          {"libtorch", {{"version", TORCH_VERSION}, {"threads", at::get_num_threads()}}},
          {"cpu",
           {{"name", machine.cpu},
            {"cpus", machine.cpus},
            {"avx2", machine.avx2},
            {"fma", machine.fma},
            {"avx512", machine.avx512}}},
          {"memory_bytes", machine.memory_bytes},
          {"free_disk_bytes", machine.free_disk_bytes},
          {"gpus", gpus},
          {"cuda_driver", machine.cuda_driver},
          {"nvcc", find_program("nvcc")},
          {"device", cuda_is_usable() ? "cuda" : "cpu"},
          {"operations", use},
          {"missing", missing(machine)}};
}

void print_text(const json& found) {
  const auto row = [](const std::string& name, const std::string& value) {
    fmt::print("  {:<12} {}\n", name, value);
  };
  const json& cpu = found["cpu"];
  fmt::print("This machine\n");
  row("processor", fmt::format("{}, {} usable{}{}{}", cpu["name"].get<std::string>(),
                               cpu["cpus"].get<int64_t>(), cpu["avx2"] ? ", AVX2" : "",
                               cpu["fma"] ? ", FMA" : "", cpu["avx512"] ? ", AVX-512" : ""));
  row("memory", gib(found["memory_bytes"]));
  row("disk", gib(found["free_disk_bytes"]) + " free in this folder");
  const int driver = found["cuda_driver"];
  for (const json& gpu : found["gpus"]) {
    row("GPU", fmt::format("{}, compute capability {}, {}", gpu["name"].get<std::string>(),
                           gpu["compute_capability"].get<std::string>(), gib(gpu["memory_bytes"])));
  }
  if (found["gpus"].empty()) row("GPU", driver == 0 ? "none (no CUDA driver)" : "none");
  if (driver != 0) row("driver", fmt::format("CUDA {}.{}", driver / 1000, driver % 1000 / 10));
  const std::string nvcc = found["nvcc"];
  row("nvcc", nvcc.empty() ? "not on the PATH (only a build for GPUs needs it)" : nvcc);

  fmt::print("\nWhat will be used\n");
  row("megafold", fmt::format("{}, built for {}", found["megafold"]["version"].get<std::string>(),
                              found["megafold"]["cuda"] ? "CPU and CUDA" : "the CPU"));
  row("LibTorch", fmt::format("{}, {} threads", found["libtorch"]["version"].get<std::string>(),
                              found["libtorch"]["threads"].get<int64_t>()));
  row("device", found["device"].get<std::string>() + " (--device)");
  for (const auto& [device, operations] : found["operations"].items()) {
    for (const json& one : operations) {
      if (one.contains("problem")) {
        row(device, "failed: " + one["problem"].get<std::string>());
        continue;
      }
      row(device, fmt::format("{:<28} {}", one["operation"].get<std::string>(),
                              one["implementation"].get<std::string>()));
      for (const json& reason : one["refused"]) row("", "  not " + reason.get<std::string>());
    }
  }

  fmt::print("\nWhat is missing\n");
  if (found["missing"].empty()) fmt::print("  nothing\n");
  for (const json& item : found["missing"]) {
    fmt::print("  {}\n      {}\n", item["what"].get<std::string>(), item["how"].get<std::string>());
  }
}

}  // namespace

void add_doctor_command(CLI::App& app) {
  const auto as_json = std::make_shared<bool>(false);
  CLI::App* const command = app.add_subcommand(
      "doctor", "What this machine has, what will be used, what is missing and how to get it");
  command->add_flag("--json", *as_json, "Print JSON");
  command->footer("Examples:\n  megafold doctor\n  megafold doctor --json");
  command->callback([as_json] {
    const json found = examine();
    if (*as_json) {
      fmt::print("{}\n", found.dump(2));
    } else {
      print_text(found);
    }
  });
}

}  // namespace megafold::cli
