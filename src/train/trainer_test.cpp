// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "base/publish.h"
#include "batch/synthetic.h"
#include "checkpoint/checkpoint.h"
#include "train/metrics.h"
#include "train/progress.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              fmt::format("megafold-trainer-{}-{}", ::getpid(),
                          testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    progress_ = std::fopen((folder_ / "progress.txt").c_str(), "w");
  }
  void TearDown() override {
    std::fclose(progress_);
    fs::remove_all(folder_);
  }
  TrainConfig config(const std::string& run, int64_t steps) const {
    TrainConfig c;
    c.run = folder_ / run;
    c.threads = 1;
    c.model_preset = "tiny";
    c.model = ModelConfig::preset("tiny");
    c.batch.crop.tokens = 24;
    c.optimizer.warmup_steps = 4;
    c.training.steps = steps;
    c.training.batch = 2;
    c.training.checkpoint_steps = 1000;
    c.training.log_steps = 2;
    return c;
  }
  RunResult run(const TrainConfig& c, bool resume = false,
                std::shared_ptr<const CacheReader> cache = synthetic::cache(),
                const std::atomic<bool>* interrupted = nullptr, bool overwrite = false) const {
    return train(c, cache,
                 {.resume = resume,
                  .overwrite = overwrite,
                  .program = "test",
                  .interrupted = interrupted,
                  .progress = progress_});
  }
  static std::vector<json> lines(const fs::path& path) {
    std::vector<json> all;
    std::ifstream stream(path);
    for (std::string line; std::getline(stream, line);) all.push_back(json::parse(line));
    return all;
  }
  static bool equal_tensors(const fs::path& a, const fs::path& b) {
    const Safetensors first(a), second(b);
    if (first.tensors().size() != second.tensors().size()) return false;
    for (const auto& info : first.tensors())
      if (!at::equal(first[info.name], second[info.name])) return false;
    return !first.tensors().empty();
  }
  fs::path folder_;
  std::FILE* progress_ = nullptr;
};

TEST_F(TrainerTest, ResumeIsBitEqualWithOtherLoaderThreads) {
  const RunResult whole = run(config("whole", 6));
  EXPECT_EQ(whole.step, 6);
  TrainConfig half = config("half", 3);
  half.data.threads = 1;
  run(half);
  half.training.steps = 6;
  half.data.threads = 5;
  half.data.queue = 2;
  const RunResult resumed = run(half, true);
  EXPECT_EQ(resumed.step, 6);
  EXPECT_TRUE(equal_tensors(whole.checkpoint, resumed.checkpoint));
  EXPECT_FALSE(equal_tensors(whole.checkpoint, previous_checkpoint(resumed.checkpoint)));

  const auto metrics = lines(folder_ / "half/metrics.jsonl");
  const auto all = lines(folder_ / "whole/metrics.jsonl");
  std::vector<json> steps, expected;
  for (const auto& [from, into] : {std::pair{&metrics, &steps}, {&all, &expected}})
    for (const json& line : *from)
      if (line["event"] == "step") into->push_back(line);
  ASSERT_EQ(steps.size(), 6U);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(steps[i]["step"], static_cast<int>(i) + 1);
    for (const char* key : {"loss", "diffusion_mse", "diffusion_mse_trivial", "smooth_lddt",
                            "distogram", "grad_norm", "learning_rate", "entry", "tokens"}) {
      EXPECT_EQ(steps[i][key], expected[i][key]) << key;
      EXPECT_FALSE(steps[i][key].is_null()) << key;
    }
    EXPECT_GT(steps[i]["loss"], 0);
    EXPECT_GT(steps[i]["seconds"]["forward"], 0);
    EXPECT_LE(steps[i]["tokens"], 48);
  }
  EXPECT_EQ(metrics.front()["event"], "start");
  EXPECT_EQ(metrics.back()["event"], "end");
  std::set<std::string> ran;  // no fall-back is silent
  for (const json& kernel : metrics.back()["kernels"])
    if (kernel["calls"] > 0) ran.insert(kernel["operation"]);
  for (const char* operation : {"atom_attention", "evo_attention", "evo_attention backward"})
    EXPECT_TRUE(ran.contains(operation)) << operation;
  std::fflush(progress_);
  EXPECT_NE(read_file(folder_ / "progress.txt").find("kernel: evo_attention by cpu\n"),
            std::string::npos);
  EXPECT_EQ(metrics.front()["config"]["data"]["crop"]["tokens"], 24);
  EXPECT_EQ(read_config(folder_ / "half/config.yaml").data.threads, 5);
}

TEST_F(TrainerTest, CopiesOfTheTruthAreNamedByAMiniRollout) {
  // A crop may hold pieces of the first and the third copy, which an untrained model puts in one
  // place: its truth is then the first and the second, which are nearer. The loss stays a function
  // of the seed; a monomer has nothing to name.
  auto cache = std::make_shared<synthetic::MemoryCache>();
  cache->add("homo", synthetic::structure(
                         "homo", {{.length = 8}, {.length = 8, .x = 30}, {.length = 8, .x = 90}}));
  cache->add("mono", synthetic::structure("mono", {{.length = 12}}));
  const auto first_loss = [&](const char* entry, int64_t seed, bool permute, const char* tag) {
    TrainConfig c = config(fmt::format("{}-{}-{}-{}", entry, seed, permute, tag), 1);
    c.seed = seed;
    c.data.entries = {entry};
    c.training.batch = 1;
    c.training.permute = permute;
    c.batch.crop.tokens = 13;
    c.batch.crop.contiguous = 1, c.batch.crop.spatial = c.batch.crop.spatial_interface = 0;
    c.loss.confidence = 0;
    run(c, false, cache);
    return lines(fs::path(c.run) / "metrics.jsonl")[1]["loss"].get<double>();
  };
  int differ = 0;
  for (int64_t seed = 1; seed <= 6; ++seed) {
    const double named = first_loss("homo", seed, true, "a");
    EXPECT_EQ(named, first_loss("homo", seed, true, "b"));
    differ += named != first_loss("homo", seed, false, "a") ? 1 : 0;
    EXPECT_EQ(first_loss("mono", seed, true, "a"), first_loss("mono", seed, false, "a"));
  }
  EXPECT_GT(differ, 0);
}

TEST_F(TrainerTest, Bf16AndRecomputedBlocksFollowF32) {
  const auto losses = [&](const TrainConfig& c) {
    run(c);
    std::vector<double> all;
    for (const json& line : lines(fs::path(c.run) / "metrics.jsonl"))
      if (line["event"] == "step") all.push_back(line["loss"]);
    return all;
  };
  const std::vector<double> f32 = losses(config("f32", 4));
  TrainConfig c = config("recompute", 4);
  c.training.recompute = true;
  const std::vector<double> recomputed = losses(c);
  c = config("bf16", 4);
  c.training.recompute = true;
  c.training.precision = "bf16";
  const std::vector<double> bf16 = losses(c);
  ASSERT_EQ(f32.size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(recomputed[i], f32[i], 1e-4 * f32[i]);
    EXPECT_NEAR(bf16[i], f32[i], 1e-2 * f32[i]);
  }
  EXPECT_NE(bf16, f32);
}

TEST_F(TrainerTest, InterruptFinishesTheStepAndSaves) {
  const std::atomic<bool> interrupted{true};
  const RunResult result = run(config("run", 100), false, synthetic::cache(), &interrupted);
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(result.step, 1);
  EXPECT_EQ(Checkpoint(result.checkpoint).state().step, 1);
  EXPECT_EQ(Checkpoint(result.checkpoint).state().next_visit, 2U);
}

TEST_F(TrainerTest, EndsAfterItsSeconds) {
  TrainConfig c = config("run", 1000000);
  c.training.seconds = 0.2;
  const RunResult result = run(c);
  EXPECT_GE(result.train_seconds, 0.2);
  EXPECT_LT(result.step, 1000000);
  EXPECT_EQ(run(c, true).step, result.step);  // nothing is left to do
}

TEST_F(TrainerTest, AFolderThatHoldsARunIsNotTouched) {
  run(config("run", 1));
  EXPECT_THROW(run(config("run", 2)), BadInput);
  TrainConfig other = config("run", 2);
  other.seed = 9;
  EXPECT_THROW(run(other, true), BadInput);
  other = config("run", 2);
  other.model.c_z = 24;
  EXPECT_THROW(run(other, true), BadInput);
  EXPECT_EQ(run(config("run", 2), false, synthetic::cache(), nullptr, true).step, 2);
  EXPECT_EQ(lines(folder_ / "run/metrics.jsonl").size(), 5U);  // start, 2 steps, checkpoint, end
  EXPECT_EQ(run(config("fresh", 1), true).step, 1);            // nothing to resume: begins
}

TEST_F(TrainerTest, StartsFromAveragedWeights) {
  const RunResult first = run(config("first", 3));
  TrainConfig c = config("second", 1);
  c.training.start_from = first.checkpoint;
  c.optimizer.learning_rate = 0;
  const RunResult second = run(c);
  const Safetensors before(first.checkpoint), after(second.checkpoint);
  int compared = 0;
  for (const auto& info : before.tensors()) {
    if (!info.name.starts_with("ema.")) continue;
    EXPECT_TRUE(at::equal(before[info.name], after["model." + info.name.substr(4)])) << info.name;
    ++compared;
  }
  EXPECT_GT(compared, 10);
  c.model.c_z = 24;
  c.run = folder_ / "third";
  EXPECT_THROW(run(c), BadInput);
}

/// A cache whose entry "mono" has one value of an array replaced.
std::shared_ptr<synthetic::MemoryCache> poisoned(const char* array, float value) {
  auto cache = std::make_shared<synthetic::MemoryCache>();
  auto record = synthetic::structure("mono", {{.length = 12}});
  const ArrayView view = record->array(array);
  std::vector<float> values(view.as<float>(), view.as<float>() + view.size());
  values[0] = value;
  record->set(array, ArrayType::f32, view.shape, values);
  cache->add("mono", record);
  return cache;
}

TEST_F(TrainerTest, ValuesThatAreNotFiniteStopBeforeTheOptimizer) {
  auto good = std::make_shared<synthetic::MemoryCache>();
  good->add("mono", synthetic::structure("mono", {{.length = 12}}));
  for (const char* array : {"atom_position", "atom_ref_position"}) {
    for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
      const std::string name = fmt::format("{}-{}", array, bad);
      run(config(name, 2), false, good);
      const std::string before = read_file(folder_ / name / kCheckpointFile);
      try {
        run(config(name, 4), true, poisoned(array, bad));
        ADD_FAILURE() << name << ": trained on";
      } catch (const Error& error) {
        const std::string message = error.what();
        EXPECT_NE(message.find("step 3"), std::string::npos) << message;
        EXPECT_NE(message.find("mono"), std::string::npos) << message;
        EXPECT_NE(message.find("last good checkpoint"), std::string::npos) << message;
      }
      EXPECT_EQ(read_file(folder_ / name / kCheckpointFile), before);
    }
  }
}

TEST_F(TrainerTest, AnotherCacheIsRefusedAtResume) {
  struct Other : synthetic::MemoryCache {
    const std::string& content_key() const override { return key; }
    std::string key = "other";
  };
  run(config("run", 1));
  auto other = std::make_shared<Other>();
  other->add("mono", synthetic::structure("mono", {{.length = 12}}));
  try {
    run(config("run", 2), true, other);
    FAIL() << "another cache was accepted";
  } catch (const BadInput& error) {
    EXPECT_NE(std::string(error.what()).find("trained on another cache"), std::string::npos);
  }
}

TEST_F(TrainerTest, BrokenSampleStopsOrIsToldAndSkipped) {
  const auto cache = synthetic::cache();
  cache->add("broken", nullptr);
  TrainConfig c = config("stop", 12);
  c.model.diffusion_samples = 1;
  c.training.cycles = 1;
  EXPECT_THROW(run(c, false, cache), Corrupt);
  c.run = folder_ / "skip";
  c.data.on_error = "skip";
  EXPECT_EQ(run(c, false, cache).step, 12);
  int skips = 0;
  for (const json& line : lines(folder_ / "skip/metrics.jsonl")) {
    if (line["event"] == "end") {
      EXPECT_EQ(line["skipped"], skips);
    }
    if (line["event"] != "skipped") continue;
    ++skips;
    EXPECT_EQ(line["entry"], "broken");
    EXPECT_NE(line["reason"].get<std::string>().find("block 3"), std::string::npos);
  }
  EXPECT_GT(skips, 0);
  c.run = folder_ / "wrong";
  c.data.entries = {"nono"};
  EXPECT_THROW(run(c, false, cache), BadInput);
}

TEST(MetricsFile, TornLinesAreCutOff) {
  const fs::path path = fs::temp_directory_path() / fmt::format("megafold-metrics-{}", ::getpid());
  fs::remove(path);
  {
    MetricsFile file(path);
    file.append({{"step", 1}});
    file.append({{"step", 2}});
  }
  std::ofstream(path, std::ios::app) << R"({"step":3,"lo)";
  {
    MetricsFile file(path);
    file.append({{"step", 4}});
  }
  EXPECT_EQ(read_file(path), "{\"step\":1}\n{\"step\":2}\n{\"step\":4}\n");
  fs::remove(path);
  EXPECT_THROW(MetricsFile("/no/such/folder/metrics.jsonl"), Device);
}

TEST(Progress, PlainLinesWhereTheOutputIsAFile) {
  const fs::path path = fs::temp_directory_path() / fmt::format("megafold-progress-{}", ::getpid());
  std::FILE* out = std::fopen(path.c_str(), "w");
  {
    Progress progress(out, 10);
    for (int64_t step = 1; step <= 25; ++step)
      progress.step({.step = step,
                     .entries = "x",
                     .loss = 2,
                     .diffusion_mse = 1,
                     .diffusion_mse_trivial = 4,
                     .smooth_lddt = 0.25,
                     .data_seconds = 0.1,
                     .forward_seconds = 0.9,
                     .tokens = 76},
                    25, 65, 12);
  }
  std::fclose(out);
  const std::string text = read_file(path);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);  // steps 10, 20, and the last
  EXPECT_NE(text.find("step 10/25  loss 2.000  diffusion 0.250 of trivial  smooth lDDT 0.750  "
                      "1.00 s/step  76 tokens/s  waiting 10.0 %  12 MiB  1:05 left\n"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.find('\r'), std::string::npos);
  fs::remove(path);
  EXPECT_EQ(clock_text(3909), "1:05:09");
}

}  // namespace
}  // namespace megafold
