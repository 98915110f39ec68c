// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/checkpoint.h"

#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/errors.h"
#include "base/publish.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              fmt::format("megafold-checkpoint-{}-{}", ::getpid(),
                          testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static Parameters parameters(double value, int64_t rows = 3) {
    Parameters made;
    made.add("linear.weight", at::full({rows, 4}, value), true);
    made.add("linear.bias", at::full({rows}, value + 1), true);
    made.add("fourier.b", at::full({2}, value + 2), false);
    return made;
  }
  /// A model that has made `steps` steps of gradient 1.
  void save(int steps, double start = 0.5) const {
    Parameters made = parameters(start);
    Optimizer optimizer(made, {.learning_rate = 0.01, .warmup_steps = 0, .ema_decay = 0.9});
    for (int i = 0; i < steps; ++i) {
      for (auto& tensor : made.trainable()) tensor.mutable_grad() = at::ones_like(tensor.detach());
      optimizer.step(optimizer.gradient_norm());
    }
    save_checkpoint(path(), config(), made, optimizer,
                    {.step = steps,
                     .next_visit = 77,
                     .seed = 5,
                     .train_seconds = 1.25,
                     .cache_key = "abc",
                     .config = "{\"x\":1}",
                     .program = "0.1.0"});
  }
  static ModelConfig config() { return ModelConfig::preset("tiny"); }
  fs::path path() const { return folder_ / "checkpoint.safetensors"; }

  template <class E>
  std::string error_of(const std::function<void()>& act) const {
    try {
      act();
    } catch (const E& error) {
      return error.what();
    }
    return "no error of that type";
  }
  fs::path folder_;
};

TEST_F(CheckpointTest, ComesBack) {
  save(3);
  const Checkpoint checkpoint(path());
  EXPECT_EQ(checkpoint.state().step, 3);
  EXPECT_EQ(checkpoint.state().next_visit, 77U);
  EXPECT_EQ(checkpoint.state().seed, 5U);
  EXPECT_EQ(checkpoint.state().train_seconds, 1.25);
  EXPECT_EQ(checkpoint.state().cache_key, "abc");
  EXPECT_EQ(checkpoint.state().config, "{\"x\":1}");
  EXPECT_NO_THROW(checkpoint.require_model(config()));

  Parameters raw = parameters(0), average = parameters(0);
  checkpoint.load_weights(raw, Weights::raw);
  checkpoint.load_weights(average, Weights::average);
  EXPECT_EQ(raw.find("fourier.b")->tensor[0].item<float>(), 2.5F);
  EXPECT_EQ(average.find("fourier.b")->tensor[0].item<float>(), 2.5F);
  const float w = raw.find("linear.weight")->tensor[0][0].item<float>();
  const float e = average.find("linear.weight")->tensor[0][0].item<float>();
  EXPECT_LT(w, 0.5F);  // gradients of 1 push down, and the average follows slowly
  EXPECT_GT(e, w);
  EXPECT_LT(e, 0.5F);
  Optimizer optimizer(raw, {});
  checkpoint.load_optimizer(optimizer);
  EXPECT_EQ(optimizer.steps_done(), 3);
  EXPECT_EQ(optimizer.state()[6].second.item<float>(), 3.0F);
}

TEST_F(CheckpointTest, KeepsTheOneBefore) {
  save(1);
  save(2);
  save(3);
  EXPECT_EQ(Checkpoint(path()).state().step, 3);
  EXPECT_EQ(Checkpoint(previous_checkpoint(path())).state().step, 2);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 2);
}

TEST_F(CheckpointTest, DamageIsFoundAnywhere) {
  save(1);
  const std::string whole = read_file(path());
  uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  for (const size_t at : {size_t{8 + header}, whole.size() - 1, (8 + header + whole.size()) / 2}) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    publish(path(), changed);
    EXPECT_NE(error_of<Corrupt>([&] { Checkpoint unused(path()); }).find("checksum"),
              std::string::npos)
        << at;
  }
  for (const size_t length :
       {whole.size() - 1, whole.size() / 2, size_t{8 + header}, size_t{100}}) {
    publish(path(), whole.substr(0, length));
    EXPECT_NE(error_of<Corrupt>([&] { Checkpoint unused(path()); }).find(path().string()),
              std::string::npos)
        << length;
  }
}

TEST_F(CheckpointTest, OtherModelsAreRefusedByName) {
  save(1);
  const Checkpoint checkpoint(path());
  ModelConfig other = config();
  other.c_z += 8;
  EXPECT_NE(error_of<BadInput>([&] { checkpoint.require_model(other); }).find("model.c_z is 16"),
            std::string::npos);
  other = config();
  other.dialect = Dialect::openfold3;
  EXPECT_NE(error_of<BadInput>([&] {
              checkpoint.require_model(other);
            }).find("model.dialect is \"protenix\" there and \"openfold3\" here"),
            std::string::npos);
  Parameters wide = parameters(0, 5);
  const std::string shapes =
      error_of<BadInput>([&] { checkpoint.load_weights(wide, Weights::raw); });
  EXPECT_NE(shapes.find("model.linear.weight has shape [3, 4], the model's is [5, 4]"),
            std::string::npos)
      << shapes;
  EXPECT_EQ(wide.find("linear.bias")->tensor[0].item<float>(), 1.0F);  // nothing was copied
  Parameters more = parameters(0), less;
  more.add("extra", at::zeros({1}), true);
  EXPECT_NE(error_of<BadInput>([&] {
              checkpoint.load_weights(more, Weights::raw);
            }).find("no tensor model.extra"),
            std::string::npos);
  less.add("linear.weight", at::zeros({3, 4}), true);
  EXPECT_NE(error_of<BadInput>([&] {
              checkpoint.load_weights(less, Weights::raw);
            }).find("the model has no tensor"),
            std::string::npos);
}

TEST_F(CheckpointTest, OtherFilesAreRefused) {
  EXPECT_NE(error_of<BadInput>([&] { Checkpoint unused(path()); }).find(path().string()),
            std::string::npos);
  write_safetensors(path(), {{"x", at::zeros({2})}});
  EXPECT_NE(
      error_of<BadInput>([&] { Checkpoint unused(path()); }).find("no checkpoint of megafold"),
      std::string::npos);
  write_safetensors(path(), {{"x", at::zeros({2})}}, {{"megafold", R"({"format":99})"}});
  EXPECT_NE(error_of<BadInput>([&] { Checkpoint unused(path()); }).find("format 99"),
            std::string::npos);
  write_safetensors(path(), {{"x", at::zeros({2})}}, {{"megafold", "{"}});
  EXPECT_NE(error_of<Corrupt>([&] { Checkpoint unused(path()); }).find("header"),
            std::string::npos);
}

}  // namespace
}  // namespace megafold
