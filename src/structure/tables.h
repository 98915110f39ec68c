// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A CIF file as tables of columns, the same for text mmCIF and for BinaryCIF. A column is made when
// it is asked for, so that an entry's unread categories cost nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace megafold {

/// One column. The texts point into the Document, which must outlive it. Not for several threads.
class Column {
 public:
  /// Where the column stands, for messages.
  struct Place {
    std::string file, name;  // name as in "_atom_site.Cartn_x"
    int line = 0;            // of the loop; 0 where the file has no lines
  };
  Column() = default;
  Column(Place place, std::vector<std::string_view> texts, std::vector<uint8_t> mask);
  Column(Place place, std::vector<int32_t> integers, std::vector<uint8_t> mask);
  Column(Place place, std::vector<double> reals, std::vector<uint8_t> mask);

  /// False where the file has no such column; every row then reads as missing.
  [[nodiscard]] bool present() const { return kind_ != Kind::absent; }
  [[nodiscard]] size_t size() const { return size_; }
  /// The value is "." or "?", or the column is absent.
  [[nodiscard]] bool missing(size_t row) const {
    return kind_ == Kind::absent || (!mask_.empty() && mask_[row] != 0);
  }
  /// The text without quotes; empty where missing.
  [[nodiscard]] std::string_view text(size_t row) const;
  /// Throws BadInput, naming file, line and row, where the value is not a number.
  [[nodiscard]] int32_t integer(size_t row, int32_t if_missing) const;
  [[nodiscard]] double number(size_t row, double if_missing) const;
  /// "1abc.cif:1234: row 17 of _atom_site.Cartn_x".
  [[nodiscard]] std::string where(size_t row) const;

 private:
  enum class Kind : uint8_t { absent, text, integer, real };
  Kind kind_ = Kind::absent;
  size_t size_ = 0;
  std::shared_ptr<const Place> place_;
  std::vector<std::string_view> texts_;
  std::vector<int32_t> integers_;
  std::vector<double> reals_;
  std::vector<uint8_t> mask_;                         // empty: nothing is missing
  mutable std::vector<std::string> numbers_as_text_;  // made at the first text() of numbers
};

/// A category of one block.
class Table {
 public:
  virtual ~Table() = default;
  [[nodiscard]] virtual size_t rows() const = 0;
  /// `name` without the category, e.g. "Cartn_x". An absent Column where there is none; BadInput
  /// where its length is not rows().
  [[nodiscard]] virtual Column column(std::string_view name) const = 0;
  /// column(), and BadInput where it is absent.
  [[nodiscard]] Column required(std::string_view name) const;

 protected:
  [[nodiscard]] virtual std::string describe() const = 0;
};

/// A data block.
class Block {
 public:
  virtual ~Block() = default;
  [[nodiscard]] virtual std::string name() const = 0;
  /// `category` with its underscore, e.g. "_atom_site"; a table of no rows where there is none.
  [[nodiscard]] virtual std::unique_ptr<Table> table(std::string_view category) const = 0;
};

/// A file. Text or BinaryCIF and the packing (gzip, Zstandard) are told by the content.
class Document {
 public:
  virtual ~Document() = default;
  /// `name` stands in messages. Throws BadInput: not CIF, cut short, damaged.
  static std::unique_ptr<Document> parse(std::string content, const std::string& name);
  static std::unique_ptr<Document> read(const std::filesystem::path& path);

  [[nodiscard]] virtual const std::string& file() const = 0;
  [[nodiscard]] virtual const std::vector<std::unique_ptr<Block>>& blocks() const = 0;
};

namespace internal {
std::unique_ptr<Document> parse_cif_text(std::string content, const std::string& name);
std::unique_ptr<Document> parse_binary_cif(std::string content, const std::string& name);
}  // namespace internal

}  // namespace megafold
