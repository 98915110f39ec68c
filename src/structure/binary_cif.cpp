// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// BinaryCIF: one MessagePack map whose columns pass through a chain of encodings (ByteArray,
// FixedPoint, IntervalQuantization, RunLength, Delta, IntegerPacking, StringArray), undone here
// from the last to the first. Specification: https://github.com/molstar/BinaryCIF, version 0.3.
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "base/errors.h"
#include "structure/tables.h"

namespace megafold {
namespace {

using nlohmann::json;
static_assert(std::endian::native == std::endian::little, "BinaryCIF is little-endian");

/// More values than this in one column are damage: the whole dictionary has 2.4 million atoms.
constexpr int64_t kMaxValues = int64_t{1} << 28;

using Integers = std::vector<int32_t>;
using Reals = std::vector<double>;
using Bytes = json::binary_t;
using Values = std::variant<Bytes, Integers, Reals>;

/// What is decoded, for messages.
struct Context {
  std::string file, column;

  template <class... Args>
  [[noreturn]] void damaged(fmt::format_string<Args...> format, Args&&... args) const {
    fail<BadInput>("{}: column {}: {} (damaged BinaryCIF)", file, column,
                   fmt::format(format, std::forward<Args>(args)...));
  }
};

const json& member(const json& object, const char* name, const Context& context) {
  if (!object.is_object() || !object.contains(name)) context.damaged("no '{}'", name);
  return object[name];
}

int64_t integer(const json& object, const char* name, const Context& context) {
  const json& value = member(object, name, context);
  if (!value.is_number()) context.damaged("'{}' is not a number", name);
  return value.is_number_float() ? static_cast<int64_t>(value.get<double>()) : value.get<int64_t>();
}

double real(const json& object, const char* name, const Context& context) {
  const json& value = member(object, name, context);
  if (!value.is_number()) context.damaged("'{}' is not a number", name);
  return value.get<double>();
}

const std::string& text(const json& object, const char* name, const Context& context) {
  const json& value = member(object, name, context);
  if (!value.is_string()) context.damaged("'{}' is not a text", name);
  return value.get_ref<const std::string&>();
}

template <class From, class To>
std::vector<To> widen(const Bytes& bytes, const Context& context) {
  if (bytes.size() % sizeof(From) != 0)
    context.damaged("{} bytes are no whole number of values of {} bytes", bytes.size(),
                    sizeof(From));
  std::vector<To> out(bytes.size() / sizeof(From));
  for (size_t i = 0; i < out.size(); ++i) {
    From value;
    std::memcpy(&value, bytes.data() + i * sizeof(From), sizeof(From));
    out[i] = static_cast<To>(value);
  }
  return out;
}

Values undo_byte_array(Values values, const json& encoding, const Context& context) {
  const auto* const bytes = std::get_if<Bytes>(&values);
  if (bytes == nullptr) context.damaged("ByteArray is not the last encoding");
  switch (const int64_t type = integer(encoding, "type", context); type) {
    case 1:
      return widen<int8_t, int32_t>(*bytes, context);
    case 2:
      return widen<int16_t, int32_t>(*bytes, context);
    case 3:
      return widen<int32_t, int32_t>(*bytes, context);
    case 4:
      return widen<uint8_t, int32_t>(*bytes, context);
    case 5:
      return widen<uint16_t, int32_t>(*bytes, context);
    case 6:
      return widen<uint32_t, int32_t>(*bytes, context);
    case 32:
      return widen<float, double>(*bytes, context);
    case 33:
      return widen<double, double>(*bytes, context);
    default:
      context.damaged("ByteArray of unknown type {}", type);
  }
}

const Integers& integers(const Values& values, const std::string& kind, const Context& context) {
  const auto* const found = std::get_if<Integers>(&values);
  if (found == nullptr) context.damaged("{} wants integers", kind);
  return *found;
}

int64_t size_of(const json& encoding, const Context& context) {
  const int64_t size = integer(encoding, "srcSize", context);
  if (size < 0 || size > kMaxValues) context.damaged("srcSize {}", size);
  return size;
}

Values undo_run_length(const Values& values, const json& encoding, const Context& context) {
  const Integers& in = integers(values, "RunLength", context);
  const int64_t size = size_of(encoding, context);
  int64_t sum = 0;
  for (size_t i = 1; i < in.size(); i += 2) {
    if (in[i] < 0) context.damaged("a run of length {}", in[i]);
    sum += in[i];
  }
  if (sum != size || in.size() % 2 != 0)
    context.damaged("runs of {} values in all where {} are due", sum, size);
  Integers out;
  out.reserve(static_cast<size_t>(size));
  for (size_t i = 0; i < in.size(); i += 2)
    out.insert(out.end(), static_cast<size_t>(in[i + 1]), in[i]);
  return out;
}

Values undo_delta(Values values, const json& encoding, const Context& context) {
  integers(values, "Delta", context);
  auto& out = std::get<Integers>(values);
  auto sum = static_cast<uint32_t>(integer(encoding, "origin", context));  // wraps, as 32 bits do
  for (int32_t& value : out) {
    sum += static_cast<uint32_t>(value);
    value = static_cast<int32_t>(sum);
  }
  return values;
}

Values undo_integer_packing(const Values& values, const json& encoding, const Context& context) {
  const Integers& in = integers(values, "IntegerPacking", context);
  const int64_t size = size_of(encoding, context), width = integer(encoding, "byteCount", context);
  const json& sign = member(encoding, "isUnsigned", context);
  if (!sign.is_boolean()) context.damaged("'isUnsigned' is not a boolean");
  if (width != 1 && width != 2) context.damaged("IntegerPacking into {} bytes", width);
  const bool is_unsigned = sign.get<bool>();
  const int32_t top = is_unsigned ? (width == 1 ? 0xff : 0xffff) : (width == 1 ? 0x7f : 0x7fff);
  const int32_t bottom = is_unsigned ? -1 : -top - 1;  // -1: never met
  if (static_cast<int64_t>(in.size()) < size)
    context.damaged("{} packed values where {} are due", in.size(), size);
  Integers out;
  out.reserve(static_cast<size_t>(size));
  for (size_t i = 0; i < in.size(); ++i) {
    uint32_t value = 0;
    while (in[i] == top || in[i] == bottom) {
      value += static_cast<uint32_t>(in[i]);
      if (++i == in.size()) context.damaged("IntegerPacking ends inside a value");
    }
    out.push_back(static_cast<int32_t>(value + static_cast<uint32_t>(in[i])));
  }
  if (static_cast<int64_t>(out.size()) != size)
    context.damaged("{} values where {} are due", out.size(), size);
  return out;
}

Values undo_fixed_point(const Values& values, const json& encoding, const Context& context) {
  const Integers& in = integers(values, "FixedPoint", context);
  const double factor = real(encoding, "factor", context);
  if (!(factor > 0)) context.damaged("FixedPoint of factor {}", factor);
  Reals out(in.size());
  for (size_t i = 0; i < in.size(); ++i) out[i] = in[i] / factor;
  return out;
}

Values undo_interval(const Values& values, const json& encoding, const Context& context) {
  const Integers& in = integers(values, "IntervalQuantization", context);
  const double low = real(encoding, "min", context), high = real(encoding, "max", context);
  const int64_t steps = integer(encoding, "numSteps", context);
  if (steps < 2) context.damaged("IntervalQuantization of {} steps", steps);
  const double step = (high - low) / static_cast<double>(steps - 1);
  Reals out(in.size());
  for (size_t i = 0; i < in.size(); ++i) out[i] = low + in[i] * step;
  return out;
}

Values undo_numbers(const json& data, const json& chain, const Context& context) {
  if (!data.is_binary()) context.damaged("the data are not binary");
  if (!chain.is_array() || chain.empty()) context.damaged("no encoding");
  Values values = data.get_binary();
  for (size_t i = chain.size(); i-- > 0;) {
    const json& encoding = chain[i];
    const std::string& kind = text(encoding, "kind", context);
    if (kind == "ByteArray") {
      values = undo_byte_array(std::move(values), encoding, context);
    } else if (kind == "RunLength") {
      values = undo_run_length(values, encoding, context);
    } else if (kind == "Delta") {
      values = undo_delta(std::move(values), encoding, context);
    } else if (kind == "IntegerPacking") {
      values = undo_integer_packing(values, encoding, context);
    } else if (kind == "FixedPoint") {
      values = undo_fixed_point(values, encoding, context);
    } else if (kind == "IntervalQuantization") {
      values = undo_interval(values, encoding, context);
    } else {
      context.damaged("unknown encoding '{}'", kind);
    }
  }
  if (std::holds_alternative<Bytes>(values)) context.damaged("no ByteArray in the encoding");
  return values;
}

/// The texts of a StringArray, as pieces of its one long text.
std::vector<std::string_view> undo_strings(const json& data, const json& encoding,
                                           const Context& context) {
  const std::string_view all = text(encoding, "stringData", context);
  const Values offsets = undo_numbers(member(encoding, "offsets", context),
                                      member(encoding, "offsetEncoding", context), context);
  const Values indices = undo_numbers(data, member(encoding, "dataEncoding", context), context);
  const Integers& cuts = integers(offsets, "StringArray", context);
  std::vector<std::string_view> distinct;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    if (cuts[i] < 0 || cuts[i + 1] < cuts[i] || static_cast<size_t>(cuts[i + 1]) > all.size())
      context.damaged("text {} runs from {} to {} of {} characters", i, cuts[i], cuts[i + 1],
                      all.size());
    distinct.push_back(
        all.substr(static_cast<size_t>(cuts[i]), static_cast<size_t>(cuts[i + 1] - cuts[i])));
  }
  std::vector<std::string_view> out;
  const Integers& rows = integers(indices, "StringArray", context);
  out.reserve(rows.size());
  for (const int32_t row : rows) {
    if (row < -1 || row >= static_cast<int32_t>(distinct.size()))
      context.damaged("text {} of {}", row, distinct.size());
    out.push_back(row < 0 ? std::string_view() : distinct[static_cast<size_t>(row)]);
  }
  return out;
}

class BinaryTable : public Table {
 public:
  BinaryTable(std::string file, std::string category, const json* node)
      : file_(std::move(file)), category_(std::move(category)), node_(node) {
    if (node_ == nullptr) return;
    const Context context{file_, category_};
    const int64_t rows = integer(*node_, "rowCount", context);
    if (rows < 0 || rows > kMaxValues) context.damaged("rowCount {}", rows);
    rows_ = static_cast<size_t>(rows);
    if (!member(*node_, "columns", context).is_array()) context.damaged("no list of columns");
  }
  [[nodiscard]] size_t rows() const override { return rows_; }
  [[nodiscard]] Column column(std::string_view name) const override {
    if (node_ == nullptr) return {};
    const Context context{file_, category_ + "." + std::string(name)};
    for (const json& column : (*node_)["columns"]) {
      if (text(column, "name", context) != name) continue;
      return decode(column, context);
    }
    return {};
  }

 protected:
  [[nodiscard]] std::string describe() const override {
    return fmt::format("{}: category {}", file_, category_);
  }

 private:
  [[nodiscard]] Column decode(const json& column, const Context& context) const {
    std::vector<uint8_t> mask;
    if (column.contains("mask") && !column["mask"].is_null()) {
      const json& node = column["mask"];
      const Values values =
          undo_numbers(member(node, "data", context), member(node, "encoding", context), context);
      bool any = false;
      for (const int32_t value : integers(values, "the mask", context)) {
        mask.push_back(value != 0 ? 1 : 0);
        any = any || value != 0;
      }
      expect(mask.size(), context);
      if (!any) mask.clear();
    }
    const json& node = member(column, "data", context);
    const json& data = member(node, "data", context);
    const json& chain = member(node, "encoding", context);
    const Column::Place place{file_, context.column, 0};
    if (!chain.is_array() || chain.empty()) context.damaged("no encoding");
    if (text(chain[0], "kind", context) == "StringArray") {
      auto texts = undo_strings(data, chain[0], context);
      expect(texts.size(), context);
      return {place, std::move(texts), std::move(mask)};
    }
    Values values = undo_numbers(data, chain, context);
    if (auto* const found = std::get_if<Integers>(&values)) {
      expect(found->size(), context);
      return {place, std::move(*found), std::move(mask)};
    }
    auto& found = std::get<Reals>(values);
    expect(found.size(), context);
    return {place, std::move(found), std::move(mask)};
  }
  void expect(size_t size, const Context& context) const {
    if (size != rows_) context.damaged("{} values where {} rows are due", size, rows_);
  }

  std::string file_, category_;
  const json* node_;
  size_t rows_ = 0;
};

class BinaryBlock : public Block {
 public:
  BinaryBlock(std::string file, const json& node) : file_(std::move(file)), node_(node) {}
  [[nodiscard]] std::string name() const override {
    return text(node_, "header", {file_, "(block)"});
  }
  [[nodiscard]] std::unique_ptr<Table> table(std::string_view category) const override {
    const Context context{file_, std::string(category)};
    const json& categories = member(node_, "categories", context);
    if (!categories.is_array()) context.damaged("no list of categories");
    const json* found = nullptr;
    for (const json& node : categories)
      if (text(node, "name", context) == category) found = &node;
    return std::make_unique<BinaryTable>(file_, std::string(category), found);
  }

 private:
  std::string file_;
  const json& node_;
};

/// Walks over a MessagePack value without recursion and throws where it is cut short or nested
/// deeper than BinaryCIF ever is: a parser that recurses must not be led to the end of its stack.
void check_nesting(std::string_view bytes, const std::string& name) {
  constexpr size_t kMaxDepth = 64;
  std::vector<uint64_t> open{1};  // values still due on each level
  size_t at = 0;
  const auto big_endian = [&](size_t width) {
    if (bytes.size() - at < width)
      fail<BadInput>("{}: ends early, after {} bytes (BinaryCIF)", name, bytes.size());
    uint64_t value = 0;
    for (size_t i = 0; i < width; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at++]);
    return value;
  };
  while (!open.empty()) {
    if (open.back() == 0) {
      open.pop_back();
      continue;
    }
    --open.back();
    const auto tag = static_cast<unsigned char>(big_endian(1));
    uint64_t skip = 0, children = 0;
    if (tag <= 0x7f || tag >= 0xe0 || (tag >= 0xc0 && tag <= 0xc3)) {
      // a small integer, nil or a boolean: nothing follows
    } else if (tag <= 0x8f) {
      children = 2 * uint64_t{tag & 0x0fU};
    } else if (tag <= 0x9f) {
      children = tag & 0x0fU;
    } else if (tag <= 0xbf) {
      skip = tag & 0x1fU;
    } else if (tag <= 0xc6) {  // bin 8, 16, 32
      skip = big_endian(size_t{1} << (tag - 0xc4));
    } else if (tag <= 0xc9) {  // ext 8, 16, 32
      skip = big_endian(size_t{1} << (tag - 0xc7)) + 1;
    } else if (tag <= 0xcb) {  // float 32, 64
      skip = tag == 0xca ? 4 : 8;
    } else if (tag <= 0xd3) {  // integers of 1, 2, 4, 8 bytes, unsigned and signed
      skip = uint64_t{1} << ((tag - 0xcc) % 4);
    } else if (tag <= 0xd8) {  // fixed ext
      skip = (uint64_t{1} << (tag - 0xd4)) + 1;
    } else if (tag <= 0xdb) {  // str 8, 16, 32
      skip = big_endian(size_t{1} << (tag - 0xd9));
    } else if (tag <= 0xdd) {  // array 16, 32
      children = big_endian(tag == 0xdc ? 2 : 4);
    } else {  // map 16, 32
      children = 2 * big_endian(tag == 0xde ? 2 : 4);
    }
    if (skip > bytes.size() - at)
      fail<BadInput>("{}: ends early, after {} bytes (BinaryCIF)", name, bytes.size());
    at += skip;
    if (children > 0) {
      if (open.size() == kMaxDepth)
        fail<BadInput>("{}: byte {}: nested deeper than {} levels (damaged BinaryCIF)", name, at,
                       kMaxDepth);
      open.push_back(children);
    }
  }
}

class BinaryDocument : public Document {
 public:
  BinaryDocument(const std::string& content, const std::string& name) : file_(name) {
    check_nesting(content, name);
    try {
      root_ = json::from_msgpack(content);
    } catch (const json::exception& error) {
      fail<BadInput>("{}: not a complete BinaryCIF file: {}", name, error.what());
    }
    const json& blocks = member(root_, "dataBlocks", {file_, "(file)"});
    if (!blocks.is_array() || blocks.empty()) fail<BadInput>("{}: no data block", name);
    for (const json& block : blocks) blocks_.push_back(std::make_unique<BinaryBlock>(file_, block));
  }
  [[nodiscard]] const std::string& file() const override { return file_; }
  [[nodiscard]] const std::vector<std::unique_ptr<Block>>& blocks() const override {
    return blocks_;
  }

 private:
  std::string file_;
  json root_;
  std::vector<std::unique_ptr<Block>> blocks_;
};

}  // namespace

namespace internal {

std::unique_ptr<Document> parse_binary_cif(std::string content, const std::string& name) {
  return std::make_unique<BinaryDocument>(content, name);
}

}  // namespace internal
}  // namespace megafold
