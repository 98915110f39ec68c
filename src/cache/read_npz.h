// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Tables of other programs in numpy's .npz (NEP 1 in a zip archive): arrays of one dimension whose
// items are numbers, texts, or records of them. Objects, which would be pickles, are refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/zip.h"

namespace megafold {

/// A column: `count` numbers (or one text of `count` letters) at `offset` in each item.
struct NpyField {
  std::string name;  // empty: the array has no fields
  char kind = 0;     // i, u, f, b (bool), U (text of 4 bytes a letter), V (nothing)
  size_t size = 0;   // bytes of one number or letter
  size_t count = 1;
  size_t offset = 0;
};

class NpyTable {
 public:
  /// `where` ("x.npz: atoms") stands in messages. Throws BadInput: not numpy's, a dtype or shape
  /// that is not read here, fewer bytes than the shape needs.
  NpyTable(std::string bytes, std::string where);

  [[nodiscard]] size_t rows() const { return rows_; }
  [[nodiscard]] bool has(std::string_view field) const;
  /// Throws BadInput where there is no such field, or it has fewer than `count` values.
  [[nodiscard]] const NpyField& field(std::string_view name, size_t count = 1) const;
  /// Throw BadInput where the row is none, the field has another kind, or the text is not ASCII.
  [[nodiscard]] int64_t integer(size_t row, const NpyField& field, size_t k = 0) const;
  [[nodiscard]] float number(size_t row, const NpyField& field, size_t k = 0) const;
  [[nodiscard]] std::string text(size_t row, const NpyField& field) const;
  [[nodiscard]] const std::vector<NpyField>& fields() const { return fields_; }
  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  [[nodiscard]] const char* at(size_t row, const NpyField& field, size_t k) const;

  std::string bytes_, where_;
  size_t data_ = 0;  // where the items begin
  size_t rows_ = 0, item_size_ = 0;
  std::vector<NpyField> fields_;
};

/// The archive's bytes stay where they are until an array is asked for.
class NpzFile {
 public:
  /// Throws BadInput where it is no zip archive, Corrupt where it is a damaged one.
  NpzFile(std::string bytes, std::string name);
  NpzFile(const NpzFile&) = delete;
  NpzFile& operator=(const NpzFile&) = delete;
  [[nodiscard]] bool has(const std::string& array) const { return members_.contains(array); }
  /// Throws BadInput where there is none of that name.
  [[nodiscard]] NpyTable table(const std::string& array) const;
  [[nodiscard]] std::vector<std::string> names() const;

 private:
  std::string bytes_, name_;
  std::map<std::string, ZipMember> members_;
};

}  // namespace megafold
