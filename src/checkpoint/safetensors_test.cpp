// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "base/errors.h"
#include "base/publish.h"

namespace megafold {
namespace {

std::filesystem::path scratch(const std::string& name) {
  return std::filesystem::temp_directory_path() /
         fmt::format("megafold_safetensors_{}_{}", ::getpid(), name);
}

std::string file_of(const std::string& header, size_t payload) {
  std::string text(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(text.data(), &length, 8);
  return text + header + std::string(payload, '\1');
}

/// The message with which opening the bytes as a file fails with E.
template <class E>
std::string refusal(const std::string& bytes) {
  const auto path = scratch("bad");
  publish(path, bytes);
  std::string message = "nothing was thrown";
  try {
    const Safetensors file(path);
  } catch (const E& error) {
    message = error.what();
  }
  std::filesystem::remove(path);
  return message;
}

TEST(Safetensors, RoundTripIsBitEqualForEveryTypeAndStride) {
  std::vector<std::pair<std::string, at::Tensor>> tensors = {
      {"flag", at::tensor({1, 0, 1}, at::kInt).to(at::kBool)},
      {"f64", at::arange(5, at::kDouble) / 3},
      {"f32.transposed", (at::arange(6, at::kFloat) / 7).view({2, 3}).t()},
      {"bf16", at::full({2}, 1.5, at::kBFloat16)},
      {"i64", at::tensor({int64_t{1} << 40, int64_t{-1}})},
      {"empty", at::empty({0, 3}, at::kFloat)},
      {"scalar", at::scalar_tensor(2.5, at::kFloat)},
  };
  const auto path = scratch("good");
  write_safetensors(path, tensors, {{"format", "1"}});
  {
    const Safetensors file(path);
    EXPECT_EQ(file.metadata().at("format"), "1");
    ASSERT_EQ(file.tensors().size(), tensors.size());
    for (const auto& [name, tensor] : tensors) {
      EXPECT_EQ(file[name].scalar_type(), tensor.scalar_type()) << name;
      EXPECT_TRUE(file[name].equal(tensor)) << name;
    }
    EXPECT_THROW((void)file["absent"], BadInput);
  }
  std::filesystem::remove(path);
}

TEST(Safetensors, ATensorOutlivesItsFileObject) {
  const auto path = scratch("outlives");
  write_safetensors(path, {{"x", at::arange(1000, at::kFloat)}});
  at::Tensor x;
  {
    const Safetensors file(path);
    x = file["x"];
  }
  std::filesystem::remove(path);
  EXPECT_EQ(x.sum().item<float>(), 499500.0F);
}

TEST(Safetensors, DamageIsNamed) {
  const std::string good = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_NE(refusal<BadInput>("").find("no safetensors file"), std::string::npos);
  EXPECT_NE(refusal<BadInput>(std::string(64, 'x')).find("no safetensors"), std::string::npos);
  EXPECT_NE(refusal<Corrupt>(file_of(good, 4)).find("'w'"), std::string::npos);
  EXPECT_NE(refusal<Corrupt>(file_of(good, 9)).find("1 bytes follow"), std::string::npos);
  EXPECT_NE(refusal<Corrupt>(file_of(good, 8).substr(0, 20)).find("cut short"), std::string::npos);
  EXPECT_NE(refusal<Corrupt>(file_of(R"({"w":{"dtype":"F32","shape":[2]}})", 8)).find("'w'"),
            std::string::npos);
  EXPECT_NE(
      refusal<BadInput>(file_of(R"({"w":{"dtype":"Q4","shape":[2],"data_offsets":[0,8]}})", 8))
          .find("Q4"),
      std::string::npos);
  EXPECT_NE(
      refusal<Corrupt>(file_of(R"({"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8))
          .find("impossible shape"),
      std::string::npos);
  EXPECT_NE(refusal<Corrupt>(file_of(R"({"w":{"dtype":"F32","shape":[4611686018427387904,4],)"
                                     R"("data_offsets":[0,0]}})",
                                     0))
                .find("impossible shape"),
            std::string::npos);
  // Two tensors over the same bytes.
  EXPECT_NE(refusal<Corrupt>(file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                     R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                                     8))
                .find("'b'"),
            std::string::npos);
}

TEST(Safetensors, EqualNamesAndOddTypesAreRefusedBeforeAnythingIsWritten) {
  const auto path = scratch("refused");
  const at::Tensor x = at::zeros({1});
  EXPECT_THROW(write_safetensors(path, {{"x", x}, {"x", x}}), BadInput);
  EXPECT_THROW(write_safetensors(path, {{"x", at::zeros({1}, at::kComplexFloat)}}), BadInput);
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace megafold
