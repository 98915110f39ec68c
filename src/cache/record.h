// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// One record: a file of named arrays. FORMAT.md states every byte. Every byte of a record stands
// under a checksum, so a flipped bit or a missing end is an error and never another array.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cache/reader.h"
#include "features/arrays.h"

namespace megafold {

inline constexpr uint32_t kRecordVersion = 1;

enum class RecordKind : uint8_t { structure, alignment, index };
std::string_view name_of(RecordKind kind);

/// Packs the arrays; `key` is stored and compared when the record is read.
std::string pack_record(RecordKind kind, std::string_view key,
                        const std::vector<NamedArray>& arrays);

/// Packs and publishes (base/publish.h). Throws Device when the disk refuses.
void write_record(const std::filesystem::path& path, RecordKind kind, std::string_view key,
                  const std::vector<NamedArray>& arrays);

/// Where an array stands, for `megafold cache inspect`.
struct ArrayEntry {
  struct BlockEntry {
    uint64_t offset = 0, packed = 0, raw = 0, checksum = 0;
  };
  std::string name;
  ArrayType type{};
  std::vector<int64_t> shape;
  std::vector<BlockEntry> blocks;

  [[nodiscard]] uint64_t raw_bytes() const;
  [[nodiscard]] uint64_t packed_bytes() const;
};

struct RecordIndex {
  RecordKind kind{};
  std::string key;
  std::vector<ArrayEntry> arrays;
};

/// Checks header, trailer and index of a whole record's bytes; `name` stands in messages. Throws
/// Corrupt, or Unsupported for another format version.
RecordIndex read_record_index(std::string_view bytes, const std::string& name);

/// Reads a record and checks every block. Throws Corrupt where the file is missing, damaged, of
/// another kind or key; Unsupported for another format version. An empty `key` is not compared.
std::shared_ptr<const Record> read_record(const std::filesystem::path& path, RecordKind kind,
                                          std::string_view key);

/// The same from memory.
std::shared_ptr<const Record> parse_record(std::string_view bytes, const std::string& name,
                                           RecordKind kind, std::string_view key);

/// The same record with another text in "meta"; the arrays are shared.
std::shared_ptr<const Record> with_meta(std::shared_ptr<const Record> record, std::string meta);

}  // namespace megafold
