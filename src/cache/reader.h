// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Reading the ahead-of-time cache. The only door: nothing else in megafold knows how a record is
// stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "features/schema.h"

namespace megafold {

/// A named array, row-major, owned by the record that it came from.
struct ArrayView {
  ArrayType type{};
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;

  [[nodiscard]] int64_t size() const {
    int64_t n = 1;
    for (const int64_t extent : shape) n *= extent;
    return n;
  }
  template <class T>
  [[nodiscard]] const T* as() const {
    return reinterpret_cast<const T*>(data);
  }
};

/// One record in memory, every block checked against its checksum.
class Record {
 public:
  virtual ~Record() = default;
  [[nodiscard]] virtual const std::string& key() const = 0;
  /// Throws Corrupt naming file and array when the record has no such array.
  [[nodiscard]] virtual ArrayView array(std::string_view name) const = 0;
  [[nodiscard]] virtual std::vector<std::string> names() const = 0;
  /// The JSON of the array "meta".
  [[nodiscard]] std::string_view meta() const {
    const ArrayView view = array("meta");
    return {view.as<char>(), static_cast<size_t>(view.size())};
  }
};

/// A cache folder, opened for reading. Safe to use from several threads.
class CacheReader {
 public:
  /// Throws BadInput (no such folder, not a cache), Unsupported (other format version), Corrupt.
  static std::shared_ptr<CacheReader> open(const std::filesystem::path& folder);
  virtual ~CacheReader() = default;

  /// Ids of the structures, sorted. The order is part of a run's reproducibility.
  [[nodiscard]] virtual const std::vector<std::string>& entries() const = 0;
  /// Throws BadInput when the cache has no such entry (naming the nearest ids), Corrupt on damage.
  [[nodiscard]] virtual std::shared_ptr<const Record> structure(std::string_view id) const = 0;
  /// The alignment of a sequence by the key that stands in a structure's meta; throws as above.
  [[nodiscard]] virtual std::shared_ptr<const Record> alignment(std::string_view key) const = 0;
  /// A hash of all that the cache holds: kept in a checkpoint, compared at resume.
  [[nodiscard]] virtual const std::string& content_key() const = 0;
};

}  // namespace megafold
