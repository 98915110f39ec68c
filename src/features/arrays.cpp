// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "features/arrays.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "base/errors.h"

namespace megafold {
namespace {

struct TypeRow {
  ArrayType type;
  std::string_view name;
  size_t size;
};
constexpr std::array<TypeRow, 5> kTypes = {{{ArrayType::u8, "u8", 1},
                                            {ArrayType::i8, "i8", 1},
                                            {ArrayType::i32, "i32", 4},
                                            {ArrayType::i64, "i64", 8},
                                            {ArrayType::f32, "f32", 4}}};

/// "A,3" -> {"A", "3"}.
std::vector<std::string_view> split(std::string_view shape) {
  std::vector<std::string_view> out;
  for (;;) {
    const size_t comma = shape.find(',');
    out.push_back(shape.substr(0, comma));
    if (comma == std::string_view::npos) return out;
    shape.remove_prefix(comma + 1);
  }
}

}  // namespace

size_t size_of(ArrayType type) {
  for (const TypeRow& row : kTypes)
    if (row.type == type) return row.size;
  fail<BadInput>("array type {} is unknown", static_cast<int>(type));
}

std::string_view name_of(ArrayType type) {
  for (const TypeRow& row : kTypes)
    if (row.type == type) return row.name;
  fail<BadInput>("array type {} is unknown", static_cast<int>(type));
}

ArrayType array_type_of(std::string_view name) {
  for (const TypeRow& row : kTypes)
    if (row.name == name) return row.type;
  fail<BadInput>("array type '{}' is unknown", name);
}

void check_schema(std::span<const ArraySpec> schema, const std::vector<NamedArray>& arrays,
                  std::string_view what) {
  std::map<std::string_view, int64_t> extents;
  for (const ArraySpec& spec : schema) {
    const auto found = std::find_if(arrays.begin(), arrays.end(), [&](const NamedArray& array) {
      return array.name == spec.name;
    });
    if (found == arrays.end()) fail<BadInput>("{}: no array '{}'", what, spec.name);
    if (found->type != spec.type)
      fail<BadInput>("{}: array '{}' is {}, the schema says {}", what, spec.name,
                     name_of(found->type), name_of(spec.type));
    const auto letters = split(spec.shape);
    if (letters.size() != found->shape.size())
      fail<BadInput>("{}: array '{}' has {} dimensions, the schema says [{}]", what, spec.name,
                     found->shape.size(), spec.shape);
    for (size_t i = 0; i < letters.size(); ++i) {
      int64_t wanted = found->shape[i];
      const char* const end = letters[i].data() + letters[i].size();
      if (std::from_chars(letters[i].data(), end, wanted).ec != std::errc())
        wanted = extents.emplace(letters[i], found->shape[i]).first->second;
      if (wanted != found->shape[i] || found->shape[i] < 0)
        fail<BadInput>("{}: array '{}' has extent {} along {}, expected {}", what, spec.name,
                       found->shape[i], letters[i], wanted);
    }
    if (found->data.size() != static_cast<size_t>(found->size()) * size_of(found->type))
      fail<BadInput>("{}: array '{}' holds {} bytes for {} values", what, spec.name,
                     found->data.size(), found->size());
  }
  if (arrays.size() != schema.size())
    fail<BadInput>("{}: {} arrays, the schema has {}", what, arrays.size(), schema.size());
}

}  // namespace megafold
