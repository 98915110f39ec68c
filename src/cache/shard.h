// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A shard: many records in one file that is written once and never changed. FORMAT.md states every
// byte. A record stands in it with the bytes that it would have alone, so records move between
// shards (gc) without being unpacked.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "cache/file.h"
#include "cache/record.h"

namespace megafold {

inline constexpr std::string_view kShardFolder = "shards";
inline constexpr std::string_view kShardExtension = ".mfs";
inline constexpr uint32_t kShardVersion = 2;

/// Where a record stands in its shard: a row of the footer.
struct ShardRow {
  std::string key;  // 64 hexadecimal digits
  RecordKind kind{};
  uint64_t offset = 0, size = 0;
  bool operator==(const ShardRow&) const = default;
};

struct PackedRecord {
  std::string key;
  RecordKind kind{};
  std::string bytes;  // pack_record()
};

struct ShardInfo {
  std::string name;  // "0123456789abcdef": the file without its extension
  uint64_t size = 0;
  std::vector<ShardRow> rows;  // by key
};

std::filesystem::path shard_path(const std::filesystem::path& cache, std::string_view name);
/// The file's name within the folder of shards.
std::string shard_file(std::string_view name);

/// Publishes the records as one shard, in the order of their keys (each key once), and tells where
/// they stand. Its name is a hash of the keys, so the same records make the same file.
ShardInfo write_shard(const std::filesystem::path& cache, std::vector<PackedRecord> records);

/// Reads and checks a shard's ends and footer, no record. Throws Corrupt, Unsupported.
ShardInfo read_shard(const ReadFile& file);

/// 32 bytes <-> 64 lower-case hexadecimal digits; the first throws BadInput for other text.
std::array<unsigned char, 32> key_bytes(std::string_view hex);
std::string key_text(const unsigned char* bytes);

}  // namespace megafold
