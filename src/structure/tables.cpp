// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/tables.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "base/decompress.h"
#include "base/errors.h"

namespace megafold {
namespace {

/// The number in `text`, with or without a standard uncertainty in parentheses: "1.234(5)".
template <class T>
bool parse_number(std::string_view text, T& value) {
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc()) return false;
  return rest == end || (*rest == '(' && text.back() == ')');
}

}  // namespace

Column::Column(Place place, std::vector<std::string_view> texts, std::vector<uint8_t> mask)
    : kind_(Kind::text),
      size_(texts.size()),
      place_(std::make_shared<Place>(std::move(place))),
      texts_(std::move(texts)),
      mask_(std::move(mask)) {}

Column::Column(Place place, std::vector<int32_t> integers, std::vector<uint8_t> mask)
    : kind_(Kind::integer),
      size_(integers.size()),
      place_(std::make_shared<Place>(std::move(place))),
      integers_(std::move(integers)),
      mask_(std::move(mask)) {}

Column::Column(Place place, std::vector<double> reals, std::vector<uint8_t> mask)
    : kind_(Kind::real),
      size_(reals.size()),
      place_(std::make_shared<Place>(std::move(place))),
      reals_(std::move(reals)),
      mask_(std::move(mask)) {}

std::string_view Column::text(size_t row) const {
  if (missing(row)) return {};
  if (kind_ == Kind::text) return texts_[row];
  if (numbers_as_text_.empty()) {
    numbers_as_text_.reserve(size_);
    for (size_t i = 0; i < size_; ++i)
      numbers_as_text_.push_back(kind_ == Kind::integer ? fmt::format("{}", integers_[i])
                                                        : fmt::format("{}", reals_[i]));
  }
  return numbers_as_text_[row];
}

int32_t Column::integer(size_t row, int32_t if_missing) const {
  if (missing(row)) return if_missing;
  if (kind_ == Kind::integer) return integers_[row];
  int32_t value = 0;
  if (kind_ == Kind::text) {
    if (!parse_number(texts_[row], value))
      fail<BadInput>("{}: '{}' is not an integer", where(row), texts_[row]);
    return value;
  }
  const double real = reals_[row];
  if (!(std::abs(real) <= std::numeric_limits<int32_t>::max()) || real != std::trunc(real))
    fail<BadInput>("{}: {} is not an integer", where(row), real);
  return static_cast<int32_t>(real);
}

double Column::number(size_t row, double if_missing) const {
  if (missing(row)) return if_missing;
  double value = 0;
  switch (kind_) {
    case Kind::integer:
      return integers_[row];
    case Kind::real:
      value = reals_[row];
      break;
    default:
      if (!parse_number(texts_[row], value))
        fail<BadInput>("{}: '{}' is not a number", where(row), texts_[row]);
  }
  if (!std::isfinite(value)) fail<BadInput>("{}: {} is not finite", where(row), value);
  return value;
}

std::string Column::where(size_t row) const {
  if (!place_) return "(absent column)";
  if (place_->line > 0)
    return fmt::format("{}:{}: row {} of {}", place_->file, place_->line, row + 1, place_->name);
  return fmt::format("{}: row {} of {}", place_->file, row + 1, place_->name);
}

Column Table::required(std::string_view name) const {
  Column found = column(name);
  if (!found.present()) fail<BadInput>("{} has no column '{}'", describe(), name);
  return found;
}

std::unique_ptr<Document> Document::parse(std::string content, const std::string& name) {
  std::string plain = decompress(std::move(content), name);
  if (plain.empty()) fail<BadInput>("{}: the file is empty", name);
  if (plain.starts_with("\xef\xbb\xbf")) plain.erase(0, 3);  // a byte order mark (Windows)
  // BinaryCIF is one MessagePack map; its first byte is never one of a text file.
  const auto first = static_cast<unsigned char>(plain.front());
  const bool binary = (first >= 0x80 && first <= 0x8f) || first == 0xde || first == 0xdf;
  return binary ? internal::parse_binary_cif(std::move(plain), name)
                : internal::parse_cif_text(std::move(plain), name);
}

std::unique_ptr<Document> Document::read(const std::filesystem::path& path) {
  return parse(read_decompressed(path), path.string());
}

}  // namespace megafold
