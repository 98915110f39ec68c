// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/npz.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <zlib.h>

#include <span>
#include <string_view>

#include "base/errors.h"
#include "base/publish.h"
#include "cache/bytes.h"
#include "features/arrays.h"

namespace megafold {
namespace {

// The formats: numpy's NEP 1 (.npy), PKWARE's APPNOTE 4.3 (zip); numbers little end first.
constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50;
constexpr uint16_t kVersion = 20, kDate1980 = 0x21;

std::string_view numpy_type(ArrayType type) {
  switch (type) {
    case ArrayType::u8:
      return "|u1";
    case ArrayType::i8:
      return "|i1";
    case ArrayType::i32:
      return "<i4";
    case ArrayType::i64:
      return "<i8";
    case ArrayType::f32:
      break;
  }
  return "<f4";
}

/// What stands before an array's bytes in its .npy; its length is a multiple of 64.
std::string npy_head(const ArrayView& array) {
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}",
                                 numpy_type(array.type), fmt::join(array.shape, ", "),
                                 array.shape.size() == 1 ? "," : "");
  constexpr size_t kFixed = 10;  // magic, version, length
  text.append(63 - (kFixed + text.size()) % 64, ' ');
  text += '\n';
  std::string out = "\x93NUMPY";
  out += '\x01', out += '\0';
  append(out, static_cast<uint16_t>(text.size()));
  return out + text;
}

uint32_t sum_of(std::string_view head, std::span<const std::byte> data) {
  uLong sum = ::crc32_z(0, reinterpret_cast<const Bytef*>(head.data()), head.size());
  if (data.empty()) return static_cast<uint32_t>(sum);  // zlib starts anew where there is no buffer
  return static_cast<uint32_t>(
      ::crc32_z(sum, reinterpret_cast<const Bytef*>(data.data()), data.size()));
}

/// The fields that a member's own header and the directory share.
void put_fields(std::string& out, uint32_t sum, uint64_t size, const std::string& name) {
  append(out, kVersion);
  append(out, uint16_t{0});  // flags
  append(out, uint16_t{0});  // stored
  append(out, uint16_t{0});  // time: none, so that equal arrays make equal files
  append(out, kDate1980);
  append(out, sum);
  append(out, static_cast<uint32_t>(size));
  append(out, static_cast<uint32_t>(size));
  append(out, static_cast<uint16_t>(name.size()));
  append(out, uint16_t{0});  // extra
}

}  // namespace

void write_npz(const std::filesystem::path& path,
               const std::vector<std::pair<std::string, ArrayView>>& arrays) {
  uint64_t total = 0;
  for (const auto& [name, array] : arrays)
    total += 512 + 2 * name.size() + static_cast<uint64_t>(array.size()) * size_of(array.type);
  if (total > 0xFFFFFFFF || arrays.size() > 0xFFFF)
    fail<Unsupported>("{}: {} arrays of {} bytes do not fit a zip archive without extensions",
                      path.string(), arrays.size(), total);
  publish(path, [&](const WritePiece& write) {
    std::string directory;
    uint64_t at = 0;
    for (const auto& [plain_name, array] : arrays) {
      const std::string name = plain_name + ".npy", head = npy_head(array);
      const std::span<const std::byte> data(
          array.data, static_cast<size_t>(array.size()) * size_of(array.type));
      const uint64_t size = head.size() + data.size();
      const uint32_t sum = sum_of(head, data);
      append(directory, kCentral);
      append(directory, kVersion);
      put_fields(directory, sum, size, name);
      append(directory, uint16_t{0});  // comment
      append(directory, uint16_t{0});  // disk
      append(directory, uint16_t{0});  // attributes inside
      append(directory, uint32_t{0});  // and outside
      append(directory, static_cast<uint32_t>(at));
      directory += name;
      std::string local;
      append(local, kLocal);
      put_fields(local, sum, size, name);
      local += name + head;
      write(bytes_of(local));
      write(data);
      at += local.size() + data.size();
    }
    const auto members = static_cast<uint16_t>(arrays.size());
    const auto length = static_cast<uint32_t>(directory.size());
    append(directory, kEnd);
    append(directory, uint16_t{0});  // this disk
    append(directory, uint16_t{0});  // the directory's
    append(directory, members);
    append(directory, members);
    append(directory, length);
    append(directory, static_cast<uint32_t>(at));
    append(directory, uint16_t{0});  // comment
    write(bytes_of(directory));
  });
}

}  // namespace megafold
