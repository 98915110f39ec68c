// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "features/schema.h"

namespace megafold {

/// Bytes of one value.
size_t size_of(ArrayType type);
/// "f32" and so on, as FORMAT.md writes it, and back (throws BadInput).
std::string_view name_of(ArrayType type);
ArrayType array_type_of(std::string_view name);

/// A named array, row-major, that owns its values.
struct NamedArray {
  std::string name;
  ArrayType type{};
  std::vector<int64_t> shape;
  std::vector<std::byte> data;

  [[nodiscard]] int64_t size() const {
    int64_t n = 1;
    for (const int64_t extent : shape) n *= extent;
    return n;
  }
};

template <class T>
NamedArray make_array(std::string_view name, ArrayType type, std::vector<int64_t> shape,
                      const std::vector<T>& values) {
  NamedArray out{std::string(name), type, std::move(shape), {}};
  out.data.resize(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(out.data.data(), values.data(), out.data.size());
  return out;
}

/// Throws BadInput where the arrays are not exactly those of the schema: a name missing or too
/// many, a type, an extent that the schema fixes, or two extents of one letter that differ.
/// `what` names the record in messages.
void check_schema(std::span<const ArraySpec> schema, const std::vector<NamedArray>& arrays,
                  std::string_view what);

}  // namespace megafold
