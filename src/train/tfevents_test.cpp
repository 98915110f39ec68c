// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "train/tfevents.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "base/errors.h"
#include "base/publish.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

class TfEvents : public ::testing::Test {
 protected:
  void SetUp() override { fs::remove_all(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_ =
      fs::temp_directory_path() /
      ("megafold_tfevents_" + std::to_string(::testing::UnitTest::GetInstance()->random_seed()) +
       ::testing::UnitTest::GetInstance()->current_test_info()->name());
};

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<uint8_t>(c));
  return out;
}

// Written by TensorBoard 2.21.0's own RecordWriter from Event messages of its protobuf classes.
const std::string kVersion =
    "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b353110";
const std::string kPurge = "100000000000000095fbfe180900002040fc54d94110ac023a020801b94512a3";
const std::string kScalars =
    "2c00000000000000f4aecc450900005040fc54d94110ac022a1e0a110a0a6c6f73732f746f74616c150000003f0a09"
    "0a026c72156f1283ba4c7edf1e";

TEST_F(TfEvents, Crc32cHasTheStandardsCheckValues) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43U);
  EXPECT_EQ(crc32c(""), 0U);
}

TEST_F(TfEvents, WritesTheBytesThatTensorboardWrites) {
  fs::path path;
  {
    EventWriter writer(folder_, 1700000000.5, 300);
    const Scalar scalars[] = {{"loss/total", 0.5F}, {"lr", -1e-3F}};
    writer.scalars(300, 1700000001.25, scalars);
    path = writer.path();
    // Flushed at each event: a kill here would lose nothing.
    EXPECT_EQ(hex(read_file(path)), kVersion + kPurge + kScalars);
  }
  EXPECT_EQ(path.filename().string().substr(0, 31), "events.out.tfevents.1700000000.");
}

TEST_F(TfEvents, AFreshRunPurgesNothing) {
  const EventWriter writer(folder_, 1700000000.5);
  EXPECT_EQ(hex(read_file(writer.path())), kVersion);
}

TEST_F(TfEvents, EachStartHasAFileOfItsOwn) {
  const EventWriter first(folder_, 1700000000.5), second(folder_, 1700000000.5, 10);
  EXPECT_NE(first.path(), second.path());
  EXPECT_EQ(hex(read_file(first.path())), kVersion);
}

TEST_F(TfEvents, LongTagsAndNegativeStepsUseLongVarints) {
  EventWriter writer(folder_, 0);
  const std::string tag(300, 'x');
  const Scalar scalar{tag, 1.0F};
  writer.scalars(-1, 0, {&scalar, 1});
  const std::string bytes = hex(read_file(writer.path()));
  EXPECT_NE(bytes.find("10ffffffffffffffffff01"), std::string::npos);  // step -1: ten bytes
  EXPECT_NE(bytes.find("0aac027878"), std::string::npos);              // tag of length 300
}

TEST_F(TfEvents, AnUnwritableFolderIsADeviceError) {
  publish(folder_ / "file", "not a folder");
  EXPECT_THROW(EventWriter(folder_ / "file", 0), Device);
  EXPECT_THROW(EventWriter("/dev/null/runs", 0), Device);
}

TEST_F(TfEvents, AFullDiskIsADeviceErrorWithTheReason) {
  EventWriter writer(folder_, 1700000000.5);
  // The kernel refuses growth of any file past 60 bytes, as a full disk would.
  struct rlimit before {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small {
    60, before.rlim_max
  };
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string message;
  try {
    const Scalar scalar{"loss", 1.0F};
    writer.scalars(1, 0, {&scalar, 1});
  } catch (const Device& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find("File too large"), std::string::npos) << message;
  EXPECT_NE(message.find(writer.path().string()), std::string::npos) << message;
}

}  // namespace
}  // namespace megafold
