// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// One record: named arrays, in a shard or alone. FORMAT.md states every byte. Every byte of a
// record stands under a checksum, so a flipped bit or a missing end is an error and never another
// array.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cache/file.h"
#include "cache/reader.h"
#include "features/arrays.h"

namespace megafold {

inline constexpr uint32_t kRecordVersion = 2;

enum class RecordKind : uint8_t { structure, alignment, templates };
std::string_view name_of(RecordKind kind);

/// Packs the arrays; `key` is stored and compared when the record is read.
std::string pack_record(RecordKind kind, std::string_view key,
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

/// Where a record lies: `size` bytes of a file from `offset` on, or of a text in memory.
struct RecordPlace {
  std::shared_ptr<const ReadFile> file;
  uint64_t offset = 0, size = 0;
};

/// Checks header, trailer and index; `name` stands in messages. Throws Corrupt, or Unsupported for
/// another format version.
/// `tail` gets the record's last bytes, which were read with the index.
RecordIndex read_record_index(const RecordPlace& place, const std::string& name,
                              std::string* tail = nullptr);
RecordIndex read_record_index(std::string_view bytes, const std::string& name);

/// Opens a record: reads its ends and index now, its arrays when asked. Throws Corrupt where it is
/// damaged, of another kind or key; Unsupported for another format version. An empty `key` is not
/// compared.
std::shared_ptr<const Record> open_record(RecordPlace place, RecordKind kind, std::string_view key);

/// The same from memory, and every block at once.
std::shared_ptr<const Record> parse_record(std::string_view bytes, const std::string& name,
                                           RecordKind kind, std::string_view key);

/// Reads every block of a record and keeps nothing. Throws as open_record().
void check_record(const RecordPlace& place, RecordKind kind, std::string_view key);

/// The same record with another text in "meta"; the arrays are shared.
std::shared_ptr<const Record> with_meta(std::shared_ptr<const Record> record, std::string meta);

}  // namespace megafold
