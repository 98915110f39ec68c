// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "train/config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "base/publish.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

class ConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    file_ = fs::temp_directory_path() /
            fmt::format("megafold-config-{}-{}.yaml", ::getpid(),
                        testing::UnitTest::GetInstance()->current_test_info()->name());
  }
  void TearDown() override { fs::remove(file_); }
  TrainConfig read(const std::string& text, const std::vector<std::string>& overrides = {}) const {
    publish(file_, text);
    return read_config(file_, overrides);
  }
  /// The message, without the file's name, that reading the text must give.
  std::string refused(const std::string& text,
                      const std::vector<std::string>& overrides = {}) const {
    try {
      read(text, overrides);
    } catch (const BadInput& error) {
      std::string message = error.what();
      if (const size_t at = message.find(file_.string()); at != std::string::npos)
        message.replace(at, file_.string().size(), "FILE");
      return message;
    }
    return "accepted";
  }
  fs::path file_;
};

TEST_F(ConfigTest, ReadsSectionsPresetsAndOverrides) {
  const TrainConfig config = read(
      "seed: 7\n"
      "data:\n"
      "  entries: [1ubq, 2q2k]\n"
      "  crop: {tokens: 64}\n"
      "model:\n"
      "  c_z: 48\n"  // before its preset, and holds
      "  preset: tiny\n",
      {"data.crop.tokens=32", "optimizer.ema_warmup=true", "optimizer.learning_rate=1e-3"});
  EXPECT_EQ(config.seed, 7);
  EXPECT_EQ(config.data.entries, (std::vector<std::string>{"1ubq", "2q2k"}));
  EXPECT_EQ(config.batch.crop.tokens, 32);
  EXPECT_EQ(config.model.c_z, 48);
  EXPECT_EQ(config.model.c_s, ModelConfig::preset("tiny").c_s);
  EXPECT_TRUE(config.optimizer.ema_warmup);
  EXPECT_EQ(config.optimizer.learning_rate, 1e-3);
  EXPECT_EQ(read("").training.batch, TrainConfig{}.training.batch);
}

TEST_F(ConfigTest, StagesOfTrainingAreThoseOfTheSupplement) {
  struct Stage {
    const char* name;
    int64_t crop, samples, steps;
    double diffusion, smooth_lddt, bond, distogram, pae;
  };
  // SI Table 6 and 5.2.
  constexpr Stage kStages[] = {{"initial", 384, 48, 78000, 4, 1, 0, 0.03, 0},
                               {"finetune1", 640, 32, 5859, 4, 0, 1, 0.03, 0},
                               {"finetune2", 768, 32, 5859, 4, 0, 1, 0.03, 0},
                               {"finetune3", 768, 32, 7031, 0, 0, 0, 0, 1}};
  for (const Stage& stage : kStages) {
    const TrainConfig c =
        read_config(fs::path(MEGAFOLD_SOURCE_DIR) / "configs" / fmt::format("{}.yaml", stage.name));
    EXPECT_EQ(c.batch.crop.tokens, stage.crop) << stage.name;
    EXPECT_EQ(c.model.diffusion_samples, stage.samples) << stage.name;
    EXPECT_EQ(c.training.steps, stage.steps) << stage.name;
    EXPECT_EQ(c.training.batch, 256) << stage.name;
    EXPECT_EQ(c.loss.diffusion, stage.diffusion) << stage.name;
    EXPECT_EQ(c.loss.smooth_lddt, stage.smooth_lddt) << stage.name;
    EXPECT_EQ(c.loss.bond, stage.bond) << stage.name;
    EXPECT_EQ(c.loss.distogram, stage.distogram) << stage.name;
    EXPECT_EQ(c.loss.pae, stage.pae) << stage.name;
    EXPECT_EQ(c.loss.confidence, 1e-4) << stage.name;
    EXPECT_TRUE(c.training.permute) << stage.name;
    ModelConfig sizes = c.model, first = ModelConfig::preset("initial");
    sizes.diffusion_samples = first.diffusion_samples;
    visit_model_config(sizes, [&](const char* key, auto value, double, double, const char*) {
      visit_model_config(first, [&](const char* other, auto expected, double, double, const char*) {
        if (std::string_view(key) == other) {
          EXPECT_EQ(value, expected) << stage.name << " " << key;
        }
      });
    });
  }
  EXPECT_EQ(read("model: {dialect: openfold3}").model.max_atoms_per_token, 23);
  EXPECT_EQ(read("model: {dialect: openfold3}").model.template_multiplication_width, 64);
  EXPECT_EQ(read("").model.template_multiplication_width, 128);
}

TEST_F(ConfigTest, TextInAnOverrideStandsAsItIs) {
  const TrainConfig config = read("", {"data.cache=/a b/c: #d \\\"", "run=\"x y\"", "device=cpu"});
  EXPECT_EQ(config.data.cache, "/a b/c: #d \\\"");
  EXPECT_EQ(config.run, "x y");
}

TEST_F(ConfigTest, PrintedConfigReadsBackEqual) {
  const TrainConfig config =
      read("model: {preset: demo}\ndata: {entries: [\"a b\", '1e5']}\nrun: \"x: #y\"\n");
  const TrainConfig again = read(config_yaml(config));
  EXPECT_EQ(config_json(config), config_json(again));
  EXPECT_EQ(config_yaml(config), config_yaml(again));
  EXPECT_NO_THROW(require_same_run(again, config_json(config)));
}

TEST_F(ConfigTest, UnknownKeysNameTheNearest) {
  EXPECT_NE(refused("optimizer:\n  learning_rat: 1\n")
                .find("FILE:2: there is no key optimizer.learning_rat; the nearest is "
                      "optimizer.learning_rate (full rate of Adam)"),
            std::string::npos);
  EXPECT_NE(refused("optimiser: {clip_norm: 1}").find("the nearest is optimizer.clip_norm"),
            std::string::npos);
  EXPECT_NE(refused("", {"training.stps=4"}).find("--set training.stps=4: there is no key"),
            std::string::npos);
  EXPECT_NE(refused("data: 5").find("data is a section; it holds data.cache"), std::string::npos);
}

TEST_F(ConfigTest, WrongTypesAndRangesSayWhatIsWanted) {
  EXPECT_EQ(refused("\ntraining:\n  steps: many\n"),
            "FILE:3: training.steps is many: an integer between 1 and 1000000000000000 is needed "
            "(steps of the run)");
  EXPECT_NE(refused("training: {steps: 1.5}").find("is 1.5: an integer"), std::string::npos);
  EXPECT_NE(refused("training: {steps: [1]}").find("is [1]: an integer"), std::string::npos);
  EXPECT_NE(refused("training: {steps: }").find("an integer"), std::string::npos);
  EXPECT_NE(refused("training: {steps: 0}").find("between 1"), std::string::npos);
  EXPECT_NE(refused("optimizer: {decay: .nan}").find("a number between 0 and 1"),
            std::string::npos);
  EXPECT_NE(refused("optimizer: {decay: -0.1}").find("a number between 0 and 1"),
            std::string::npos);
  EXPECT_NE(refused("optimizer: {ema_warmup: 3}").find("true or false"), std::string::npos);
  EXPECT_NE(refused("device: tpu").find("one of cpu, cuda"), std::string::npos);
  EXPECT_NE(refused("data: {entries: 1ubq}").find("a list"), std::string::npos);
  EXPECT_NE(refused("model: {preset: huge}").find("one of initial, finetune1"), std::string::npos);
  EXPECT_NE(refused("model: {c_s: 30, single_heads: 7}").find("it must divide"), std::string::npos);
}

TEST_F(ConfigTest, BrokenFilesAreRefused) {
  EXPECT_NE(refused("a: b: c").find("FILE:1: this is not YAML"), std::string::npos);
  EXPECT_NE(refused("- 1\n- 2\n").find("keys with values"), std::string::npos);
  EXPECT_NE(refused("just text").find("keys with values"), std::string::npos);
  EXPECT_NE(refused("seed: 1\nseed: 2\n").find("seed stands a second time"), std::string::npos);
  EXPECT_NE(refused(std::string("seed\0: 1", 8)).find("binary data"), std::string::npos);
  EXPECT_NE(refused("", {"seed"}).find("key=value was expected"), std::string::npos);
  EXPECT_NE(
      refused("data: {crop: {contiguous: 0, spatial: 0, spatial_interface: 0}}").find("all 0"),
      std::string::npos);
  EXPECT_THROW(read_config(file_.string() + ".missing"), BadInput);
}

TEST_F(ConfigTest, EveryDialectIsReadAndAnotherIsNamed) {
  for (const char* name : {"alphafold3", "openfold3", "protenix"})
    EXPECT_EQ(dialect_name(read(fmt::format("model: {{dialect: {}}}", name)).model.dialect), name);
  EXPECT_NE(refused("model: {dialect: boltz}").find("one of alphafold3, openfold3, protenix"),
            std::string::npos);
}

TEST_F(ConfigTest, ResumeMayChangeOnlyWhatDoesNotMatter) {
  const auto saved = config_json(read("seed: 1"));
  EXPECT_NO_THROW(require_same_run(
      read("seed: 1\ndata: {threads: 9, queue: 3}\ntraining: {steps: 5, seconds: 2}"), saved));
  try {
    require_same_run(read("seed: 2\nmodel: {c_z: 64}"), saved);
    FAIL() << "another seed was accepted";
  } catch (const BadInput& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("seed was 1 and is 2 now"), std::string::npos) << message;
    EXPECT_NE(message.find("model.c_z was 128 and is 64 now"), std::string::npos) << message;
  }
}

TEST_F(ConfigTest, TheTableHasEveryKeyOnceAndItsDefaultsAreInRange) {
  TrainConfig config;
  std::set<std::string> keys;
  for (const ConfigField& field : config_fields(config)) {
    EXPECT_TRUE(keys.insert(field.key).second) << field.key;
    EXPECT_FALSE(field.meaning.empty()) << field.key;
    const auto value = field.json();
    if (value.is_number()) {
      EXPECT_GE(value.get<double>(), field.min) << field.key;
      EXPECT_LE(value.get<double>(), field.max) << field.key;
    }
  }
}

}  // namespace
}  // namespace megafold
