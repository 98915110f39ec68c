// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/read_npz.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/errors.h"
#include "cache/bytes.h"

namespace megafold {
namespace {

constexpr std::string_view kNumpy = "\x93NUMPY";
constexpr size_t kMaxItem = 1 << 20;  // bytes of one item; more is damage

/// The header: a dictionary of Python literals, of which only these forms are written.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  void read(std::vector<NpyField>& fields, size_t& item_size, std::vector<size_t>& shape) {
    bool has_type = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        read_type(fields, item_size);
        has_type = true;
      } else if (key == "shape") {
        shape = numbers();
        has_shape = true;
      } else if (key == "fortran_order") {
        word();  // one dimension has one order
      } else {
        wrong();
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!has_type || !has_shape) wrong();
  }

 private:
  [[noreturn]] void wrong() const {
    fail<BadInput>("{}: the header of its .npy is not one that is read here: {}", where_,
                   text_.substr(0, text_.find('\n')));
  }
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool accept(char c) {
    skip();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) wrong();
  }
  std::string quoted() {
    expect('\'');
    const size_t end = text_.find('\'', at_);
    if (end == std::string_view::npos) wrong();
    std::string out(text_.substr(at_, end - at_));
    at_ = end + 1;
    return out;
  }
  void word() {
    skip();
    const size_t start = at_;
    while (at_ < text_.size() && std::isalpha(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
    if (at_ == start) wrong();
  }
  std::vector<size_t> numbers() {
    std::vector<size_t> out;
    expect('(');
    while (!accept(')')) {
      skip();
      size_t value = 0;
      const char* const start = text_.data() + at_;
      const auto [rest, error] = std::from_chars(start, text_.data() + text_.size(), value);
      if (error != std::errc()) wrong();
      at_ += static_cast<size_t>(rest - start);
      out.push_back(value);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return out;
  }
  /// "<i4", "|b1", "<U5"
  NpyField plain(const std::string& type) const {
    NpyField out;
    const size_t start =
        type.empty() || std::string_view("<|>=").find(type[0]) == std::string_view::npos ? 0 : 1;
    if (type.size() < start + 2 || (start == 1 && type[0] == '>'))
      fail<BadInput>("{}: the type '{}' is not read here", where_, type);
    out.kind = type[start];
    size_t number = 0;
    const char* const digits = type.data() + start + 1;
    const auto [rest, error] = std::from_chars(digits, type.data() + type.size(), number);
    const bool is_number = error == std::errc() && rest == type.data() + type.size();
    const auto is_one_of = [&](std::initializer_list<size_t> sizes) {
      return std::find(sizes.begin(), sizes.end(), number) != sizes.end();
    };
    bool is_known = false;
    if (out.kind == 'i' || out.kind == 'u') is_known = is_one_of({1, 2, 4, 8});
    if (out.kind == 'f') is_known = is_one_of({4, 8});
    if (out.kind == 'b') is_known = is_one_of({1});
    if (out.kind == 'U') is_known = number <= kMaxItem / 4;
    if (out.kind == 'V') is_known = number <= kMaxItem;  // room between fields
    if (!is_number || !is_known) fail<BadInput>("{}: the type '{}' is not read here", where_, type);
    out.size = out.kind == 'U' ? 4 : number;
    out.count = out.kind == 'U' ? number : 1;
    return out;
  }
  void read_type(std::vector<NpyField>& fields, size_t& item_size) {
    item_size = 0;
    const auto add = [&](NpyField field) {
      field.offset = item_size;
      item_size += field.size * field.count;
      if (field.count > kMaxItem || item_size > kMaxItem) wrong();
      fields.push_back(std::move(field));
    };
    skip();
    if (at_ < text_.size() && text_[at_] == '\'') {
      add(plain(quoted()));
      return;
    }
    expect('[');
    while (!accept(']')) {
      expect('(');
      const std::string name = quoted();
      expect(',');
      NpyField field = plain(quoted());
      field.name = name;
      if (accept(',')) {
        skip();
        if (at_ < text_.size() && text_[at_] == '(')
          for (const size_t length : numbers()) {
            if (length > kMaxItem || field.count > kMaxItem) wrong();
            field.count *= length;
          }
      }
      expect(')');
      add(std::move(field));
      if (!accept(',')) {
        expect(']');
        break;
      }
    }
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
};

}  // namespace

NpyTable::NpyTable(std::string bytes, std::string where)
    : bytes_(std::move(bytes)), where_(std::move(where)) {
  constexpr size_t kFixed = 8;  // magic and version
  if (bytes_.size() < kFixed + 4 || !bytes_.starts_with(kNumpy))
    fail<BadInput>("{}: is no .npy", where_);
  const bool is_short = bytes_[6] == 1;
  const uint64_t length =
      is_short ? value_at<uint16_t>(bytes_, kFixed) : value_at<uint32_t>(bytes_, kFixed);
  const size_t head = kFixed + (is_short ? 2 : 4);
  if (length > bytes_.size() - head) fail<BadInput>("{}: its header is cut short", where_);
  data_ = head + length;
  std::vector<size_t> shape;
  HeaderReader(std::string_view(bytes_).substr(head, length), where_)
      .read(fields_, item_size_, shape);
  if (shape.size() != 1) fail<BadInput>("{}: has {} dimensions, wanted 1", where_, shape.size());
  rows_ = shape[0];
  const size_t data = bytes_.size() - data_;
  if (item_size_ == 0 ? rows_ > 0 : rows_ > data / item_size_)
    fail<BadInput>("{}: {} items of {} bytes in {} bytes", where_, rows_, item_size_, data);
}

bool NpyTable::has(std::string_view name) const {
  return std::any_of(fields_.begin(), fields_.end(),
                     [&](const NpyField& field) { return field.name == name; });
}

const NpyField& NpyTable::field(std::string_view name, size_t count) const {
  for (const NpyField& field : fields_)
    if (field.name == name) {
      if (field.count < count)
        fail<BadInput>("{}: the field '{}' has {} values, wanted {}", where_, name, field.count,
                       count);
      return field;
    }
  fail<BadInput>("{}: has no field '{}'", where_, name);
}

const char* NpyTable::at(size_t row, const NpyField& field, size_t k) const {
  if (row >= rows_ || k >= field.count)
    fail<BadInput>("{}: row {} of {}, value {} of {} of '{}'", where_, row, rows_, k, field.count,
                   field.name);
  return bytes_.data() + data_ + row * item_size_ + field.offset + k * field.size;
}

int64_t NpyTable::integer(size_t row, const NpyField& field, size_t k) const {
  const std::string_view here(at(row, field, k), field.size);
  const bool is_unsigned = field.kind == 'u' || field.kind == 'b';
  if (is_unsigned || field.kind == 'i') switch (field.size) {
      case 1:
        return is_unsigned ? value_at<uint8_t>(here, 0) : value_at<int8_t>(here, 0);
      case 2:
        return is_unsigned ? value_at<uint16_t>(here, 0) : value_at<int16_t>(here, 0);
      case 4:
        return is_unsigned ? int64_t{value_at<uint32_t>(here, 0)} : value_at<int32_t>(here, 0);
      default:
        return value_at<int64_t>(here, 0);
    }
  fail<BadInput>("{}: '{}' holds no whole numbers", where_, field.name);
}

float NpyTable::number(size_t row, const NpyField& field, size_t k) const {
  const std::string_view here(at(row, field, k), field.size);
  if (field.kind != 'f') fail<BadInput>("{}: '{}' holds no numbers", where_, field.name);
  return field.size == 4 ? value_at<float>(here, 0) : static_cast<float>(value_at<double>(here, 0));
}

std::string NpyTable::text(size_t row, const NpyField& field) const {
  if (field.kind != 'U') fail<BadInput>("{}: '{}' holds no texts", where_, field.name);
  std::string out;
  for (size_t k = 0; k < field.count; ++k) {
    const auto letter = value_at<uint32_t>({at(row, field, k), field.size}, 0);
    if (letter == 0) break;
    if (letter < 0x20 || letter > 0x7E)
      fail<BadInput>("{}: row {}: the character {} in '{}'", where_, row, letter, field.name);
    out += static_cast<char>(letter);
  }
  return out;
}

NpzFile::NpzFile(std::string bytes, std::string name)
    : bytes_(std::move(bytes)), name_(std::move(name)) {
  auto members = read_zip_directory(bytes_of(bytes_), name_);
  if (!members) fail<BadInput>("{}: is no .npz (no zip archive)", name_);
  for (ZipMember& member : *members)
    if (member.name.ends_with(".npy")) {
      const std::string array = member.name.substr(0, member.name.size() - 4);
      members_.emplace(array, std::move(member));
    }
}

NpyTable NpzFile::table(const std::string& array) const {
  const auto found = members_.find(array);
  if (found == members_.end()) fail<BadInput>("{}: has no array '{}'", name_, array);
  return {unpack(found->second, name_), name_ + ": " + array};
}

std::vector<std::string> NpzFile::names() const {
  std::vector<std::string> out;
  for (const auto& [name, member] : members_) out.push_back(name);
  return out;
}

}  // namespace megafold
