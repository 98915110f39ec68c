// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// `megafold bench block`: one Pairformer block, forward and backward, on the CPU. A script sets it
// beside the peers' blocks (bench/model/bench_pairformer.py).
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/philox.h"
#include "cli/commands.h"
#include "model/config.h"
#include "model/pairformer.h"
#include "train/metrics.h"

namespace megafold::cli {
namespace {

struct BenchOptions {
  int64_t tokens = 128, repeats = 3;
  int threads = 2;
};

at::Tensor normal(at::IntArrayRef shape, uint64_t stream, double scale) {
  at::Tensor out = at::empty(shape, at::kFloat);
  Random random(1, stream, 0, Purpose::noise);
  for (int64_t i = 0; i < out.numel(); ++i)
    out.data_ptr<float>()[i] = static_cast<float>(scale * random.normal());
  return out;
}

void bench_block(const BenchOptions& options) {
  at::set_num_threads(options.threads);
  const ModelConfig config = ModelConfig::preset("initial");
  PairSizes sizes = PairSizes::of(config);
  sizes.dropout = 0;
  Parameters parameters;
  const PairformerBlock block(Scope(parameters, /*seed=*/1, "block"),
                              conventions_of(config.dialect), sizes, config.c_s,
                              config.single_heads);
  for (const Parameters::Entry& entry : parameters.entries())  // zeros would be too easy
    entry.tensor.detach().add_(normal(entry.tensor.sizes(), stream_id(entry.name), 0.02));
  const int64_t n = options.tokens;
  const at::Tensor s = normal({n, config.c_s}, 1, 1).set_requires_grad(true);
  const at::Tensor z = normal({n, n, config.c_z}, 2, 1).set_requires_grad(true);
  const double before = peak_resident_mib();
  std::vector<double> seconds;
  for (int64_t i = 0; i <= options.repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    at::Tensor out_s = s, out_z = z;
    Dropout off;
    block(out_s, out_z, {}, {}, off);
    (out_s.square().sum() + out_z.square().sum()).backward();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (i > 0) seconds.push_back(took.count());
    for (at::Tensor parameter : parameters.trainable()) parameter.mutable_grad().reset();
    for (at::Tensor input : {s, z}) input.mutable_grad().reset();
  }
  const nlohmann::json line = {{"seconds", seconds}, {"mib", peak_resident_mib() - before}};
  fmt::print("{}\n", line.dump());
}

}  // namespace

void add_bench_command(CLI::App& app) {
  CLI::App* const command = app.add_subcommand("bench", "Time parts of the model on this machine");
  command->require_subcommand(1);
  const auto options = std::make_shared<BenchOptions>();
  CLI::App* const block = command->add_subcommand(
      "block", "One Pairformer block of the released sizes, forward and backward, f32 on the CPU");
  block->add_option("--tokens", options->tokens, "Tokens")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  block->add_option("--repeats", options->repeats, "Times, after a first that does not count")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  block->add_option("--threads", options->threads, "Threads")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  block->footer(
      "Prints one line of JSON: seconds of each repeat, MiB that the peak of memory grew by.\n"
      "Example:\n  megafold bench block --tokens 128 --threads 2");
  block->callback([options] { bench_block(*options); });
}

}  // namespace megafold::cli
