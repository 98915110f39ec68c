// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// megafold train CONFIG.yaml: read the config, open the cache, run the loop.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/publish.h"
#include "cache/reader.h"
#include "cli/commands.h"
#include "train/config.h"
#include "train/progress.h"
#include "train/trainer.h"

namespace megafold::cli {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

/// The first signal lets the step finish and be saved; the second has its usual effect.
void on_signal(int signal) {
  interrupted.store(true);
  std::signal(signal, SIG_DFL);
}

/// OpenMP's threads spin for milliseconds at each barrier, which is fatal on a machine that has
/// other work: a step of the demo took 20 s instead of 1.4 s where compilers ran beside it (2
/// cores). The bound is read when the library is loaded, so the program starts itself once more
/// with it.
void bound_spinning() {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("GOMP_SPINCOUNT", "10000", 1);
  std::ifstream stream("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(stream, word, '\0');) words.push_back(word);
  if (words.empty()) return;
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execv("/proc/self/exe", arguments.data());  // comes back only where it failed: then as it is
}

struct TrainArguments {
  std::string config;
  std::vector<std::string> set;
  std::string run, device;
  bool resume = false, overwrite = false, print_config = false;
};

void train_command(const TrainArguments& arguments) {
  std::vector<std::string> overrides = arguments.set;
  if (!arguments.run.empty()) overrides.push_back("run=" + arguments.run);
  if (!arguments.device.empty()) overrides.push_back("device=" + arguments.device);
  const TrainConfig config = read_config(arguments.config, overrides);
  if (arguments.print_config) {
    fmt::print("{}", config_yaml(config));
    return;
  }
  if (arguments.set.empty() &&
      read_file(arguments.config).find_first_not_of(" \t\r\n") == std::string::npos)
    fail<BadInput>(
        "{}: is empty, and the defaults are the released sizes; configs/ has files to begin with, "
        "--print-config every key",
        arguments.config);
  bound_spinning();
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  const auto cache = CacheReader::open(config.data.cache);
  const RunResult result = train(config, cache,
                                 {.resume = arguments.resume,
                                  .overwrite = arguments.overwrite,
                                  .program = MEGAFOLD_VERSION,
                                  .interrupted = &interrupted});
  fmt::print("{} after step {} ({} of training); checkpoint {}\n",
             result.interrupted ? "interrupted and saved" : "done", result.step,
             clock_text(result.train_seconds), result.checkpoint.string());
  if (result.interrupted) {
    fmt::print("go on with --resume\n");
    throw ExitWith{130};
  }
}

}  // namespace

void add_train_command(CLI::App& app) {
  const auto arguments = std::make_shared<TrainArguments>();
  CLI::App* const command = app.add_subcommand("train", "Train a model from a cache");
  command->add_option("config", arguments->config, "YAML file (see --print-config for every key)")
      ->required();
  command
      ->add_option("--set", arguments->set,
                   "Give a key another value, as in --set data.crop.tokens=128; may be repeated")
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--run", arguments->run, "Folder of the run (the key run)");
  command->add_option("--device", arguments->device, "cpu or cuda (the key device)");
  auto* const resume =
      command->add_flag("--resume", arguments->resume, "Go on from the folder's checkpoint");
  command->add_flag("--overwrite", arguments->overwrite, "Begin again in a folder that holds a run")
      ->excludes(resume);
  command->add_flag("--print-config", arguments->print_config,
                    "Print every key with its value, meaning and range, and end");
  command->footer(
      "Examples:\n"
      "  megafold train configs/demo.yaml\n"
      "  megafold train configs/demo.yaml --run runs/long --set training.seconds=0\n"
      "  megafold train configs/demo.yaml --run runs/long --resume\n"
      "\n"
      "Ctrl-C or SIGTERM finishes the step, saves, and ends with code 130.");
  command->callback([arguments] { train_command(*arguments); });
}

}  // namespace megafold::cli
