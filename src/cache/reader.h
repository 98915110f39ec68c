// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Reading the ahead-of-time cache. The only door: nothing else in megafold knows how a record is
// stored.
#pragma once

#include <algorithm>
#include <array>
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

/// One record. What is read of it is checked against its checksums. Safe to use from several
/// threads.
class Record {
 public:
  virtual ~Record() = default;
  [[nodiscard]] virtual const std::string& key() const = 0;
  /// The whole array, read when first asked for. Throws Corrupt naming file and array when the
  /// record has no such array or it is damaged.
  [[nodiscard]] virtual ArrayView array(std::string_view name) const = 0;
  /// Type and shape alone: the view has no data, and nothing is read.
  [[nodiscard]] virtual ArrayView describe(std::string_view name) const {
    ArrayView view = array(name);
    view.data = nullptr;
    return view;
  }
  /// Rows that are stored together; read_rows() of a multiple from a multiple on unpacks nothing
  /// twice.
  [[nodiscard]] virtual int64_t rows_per_block(std::string_view name) const {
    return std::max<int64_t>(1, describe(name).shape.at(0));
  }
  /// Copies rows [first, first + count) to `out`; reads the blocks that these rows touch, no more.
  virtual void read_rows(std::string_view name, int64_t first, int64_t count, std::byte* out) const;
  [[nodiscard]] virtual std::vector<std::string> names() const = 0;
  /// The JSON of the array "meta".
  [[nodiscard]] std::string_view meta() const {
    const ArrayView view = array("meta");
    return {view.as<char>(), static_cast<size_t>(view.size())};
  }
};

/// What a run asks of every entry before its first step, whether it will see it or not. It stands
/// in the index, so that asking does not read a record of each.
struct EntryFacts {
  int32_t release_date = 0;  // YYYYMMDD; 0: none is known
  float resolution = 0;      // Angstrom; 0: none is reported
  int32_t tokens = 0;
  bool by_nmr = false;
  std::array<int32_t, 4> chains = {};   // by ChainType
  std::array<int32_t, 4> aligned = {};  // of them with an alignment of more than the query
  bool operator==(const EntryFacts&) const = default;
};

/// All but `aligned`, from a structure's record: its meta, tokens and types of chains.
EntryFacts facts_of(std::string_view meta, int64_t tokens, const uint8_t* chain_types,
                    int64_t chains);

/// A cache folder, opened for reading. Safe to use from several threads.
class CacheReader {
 public:
  /// Throws BadInput (no such folder, not a cache), Unsupported (other format version), Corrupt.
  static std::shared_ptr<CacheReader> open(const std::filesystem::path& folder);
  virtual ~CacheReader() = default;

  /// Ids of the structures, sorted. The order is part of a run's reproducibility.
  [[nodiscard]] virtual const std::vector<std::string>& entries() const = 0;
  /// Of each of entries(), in their order.
  [[nodiscard]] virtual const std::vector<EntryFacts>& facts() const = 0;
  /// Throws BadInput when the cache has no such entry (naming the nearest ids), Corrupt on damage.
  [[nodiscard]] virtual std::shared_ptr<const Record> structure(std::string_view id) const = 0;
  /// The alignment of a sequence by the key that stands in a structure's meta; throws as above.
  [[nodiscard]] virtual std::shared_ptr<const Record> alignment(std::string_view key) const = 0;
  /// The templates of a sequence, in the same way.
  [[nodiscard]] virtual std::shared_ptr<const Record> templates(std::string_view key) const = 0;
  /// A hash of all that the cache holds: kept in a checkpoint, compared at resume.
  [[nodiscard]] virtual const std::string& content_key() const = 0;
};

}  // namespace megafold
