// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <fstream>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/philox.h"
#include "base/process.h"
#include "base/publish.h"

namespace megafold {
namespace {

TEST(Philox, KnownAnswers) {
  // From the authors' published known-answer file (Random123, kat_vectors: philox4x32, 10 rounds).
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Random, StreamsAreReproducibleAndDistinct) {
  std::set<uint64_t> seen;
  for (const Purpose purpose : {Purpose::crop, Purpose::msa, Purpose::noise})
    for (uint64_t sample = 0; sample < 10; ++sample)
      for (uint64_t visit = 0; visit < 10; ++visit) {
        const uint64_t first = Random(7, sample, visit, purpose).next_u64();
        EXPECT_EQ(first, Random(7, sample, visit, purpose).next_u64());
        seen.insert(first);
      }
  EXPECT_EQ(seen.size(), 300U);
}

TEST(Random, MomentsAndRotation) {
  Random random(1, 2, 3, Purpose::noise);
  double mean = 0, square = 0;
  const int n = 200000;
  for (int i = 0; i < n; ++i) {
    const double x = random.normal();
    mean += x / n;
    square += x * x / n;
  }
  EXPECT_NEAR(mean, 0, 0.01);
  EXPECT_NEAR(square, 1, 0.02);
  const auto r = random.rotation();
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      double dot = 0;
      for (int k = 0; k < 3; ++k) dot += r[3 * i + k] * r[3 * j + k];
      EXPECT_NEAR(dot, i == j ? 1 : 0, 1e-12);
    }
  std::array<int, 3> counts{};
  for (int i = 0; i < 30000; ++i) ++counts[random.below(3)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 400);
}

TEST(Hash, LengthsArePartOfTheKey) {
  EXPECT_NE(sha256_hex({"ab", "c"}), sha256_hex({"a", "bc"}));
  EXPECT_EQ(sha256_hex({"a"}).size(), 64U);
}

TEST(Publish, ReplacesAndLeavesNothingBehind) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "publish test";
  std::filesystem::remove_all(folder);
  publish(folder / "deep" / "file", "one");
  publish(folder / "deep" / "file", "two");
  EXPECT_EQ(read_file(folder / "deep" / "file"), "two");
  EXPECT_THROW(publish(folder / "deep" / "file",
                       [](const WritePiece& piece) {
                         piece(std::as_bytes(std::span("three", 5)));
                         throw BadInput("stopped half-way");
                       }),
               BadInput);
  EXPECT_EQ(read_file(folder / "deep" / "file"), "two");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / "deep"), {}), 1);
}

TEST(Publish, SaysWhyItCannot) {
  try {
    publish("/proc/megafold/file", "x");
    FAIL() << "a file in /proc was published";
  } catch (const Device& error) {
    EXPECT_NE(std::string(error.what()).find("/proc/megafold"), std::string::npos) << error.what();
  }
  // /dev/full takes no byte, but it is no folder: a full disk is tested through the command line.
  EXPECT_THROW(read_file("/no/such/file"), BadInput);
  EXPECT_THROW(read_file("/tmp"), BadInput);
}

TEST(Process, SaysHowAProgramEnded) {
  const std::filesystem::path folder = testing::TempDir() + "megafold_process";
  std::filesystem::create_directories(folder);
  const std::filesystem::path log = folder / "log";
  const Program shell{"sh", "dash"};
  const auto run = [&](const char* script, double seconds) {
    run_program(shell, {"-c", script}, log, seconds, "the search of 'x'");
  };
  const auto said = [&](const char* script, double seconds) -> std::string {
    try {
      run(script, seconds);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  run("echo out; echo err >&2; read line || echo nothing comes in", 0);
  EXPECT_EQ(read_file(log), "out\nerr\nnothing comes in\n");
  EXPECT_EQ(said("echo first; echo; echo 'no memory' >&2; exit 3", 0),
            "sh: the search of 'x' ended with 3:\n  first\n  no memory");
  EXPECT_EQ(said("exit 1", 0), "sh: the search of 'x' ended with 1 (it said nothing)");
  EXPECT_THROW(run("kill -9 $$", 0), Device);
  EXPECT_NE(said("kill -9 $$", 0).find("was ended by the signal 9 (Killed)"), std::string::npos);
  // What the program started ends with it, and does not hold us up.
  EXPECT_NE(said("sleep 60 & sleep 60", 0.2).find("was not done after 0.2 s"), std::string::npos);
  EXPECT_THROW(run("sleep 60", 0.1), Device);
  EXPECT_EQ(output_of(shell, {"-c", "echo 1.2; exit 1"}), "1.2\n");
  try {
    static_cast<void>(find_program({"no-such-program", "its-package"}));
    FAIL() << "it was found";
  } catch (const BadInput& error) {
    EXPECT_EQ(std::string(error.what()),
              "no-such-program: no such program on PATH; Debian's package its-package has it "
              "(apt-get install its-package)");
  }
}

}  // namespace
}  // namespace megafold
