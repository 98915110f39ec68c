// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "base/zip.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "base/decompress.h"
#include "base/errors.h"

namespace megafold {
namespace {

// Sizes and places of the format (PKWARE's APPNOTE 4.3); all numbers little end first.
constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50,
                   kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr uint64_t kEndSize = 22, kLocator64Size = 20, kCentralSize = 46, kLocalSize = 30;
constexpr uint64_t kMaxComment = 65535;
constexpr uint32_t kIn64 = 0xFFFFFFFF;
constexpr uint16_t kStored = 0, kDeflated = 8;
constexpr uint64_t kMaxRatio = 1032;  // of deflate

/// Reads numbers inside a file, and throws Corrupt outside.
struct Reader {
  std::span<const std::byte> bytes;
  const std::string& file;

  void need(uint64_t at, uint64_t count) const {
    if (at > bytes.size() || count > bytes.size() - at)
      fail<Corrupt>(
          "{}: its zip directory points to byte {}, the file has {}: cut short or damaged", file,
          at + count, bytes.size());
  }
  template <class T>
  [[nodiscard]] T get(uint64_t at) const {
    need(at, sizeof(T));
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    return value;
  }
};

/// Where the central directory begins, and how many members it has.
std::optional<std::pair<uint64_t, uint64_t>> find_directory(const Reader& in) {
  const uint64_t size = in.bytes.size(), last = size < kEndSize ? 0 : size - kEndSize;
  const uint64_t first = last > kMaxComment ? last - kMaxComment : 0;
  for (uint64_t at = last + 1; size >= kEndSize && at-- > first;) {
    if (in.get<uint32_t>(at) != kEnd) continue;
    const uint64_t members = in.get<uint16_t>(at + 10), begin = in.get<uint32_t>(at + 16);
    if (at >= kLocator64Size && in.get<uint32_t>(at - kLocator64Size) == kLocator64) {
      const auto end64 = in.get<uint64_t>(at - kLocator64Size + 8);
      if (in.get<uint32_t>(end64) != kEnd64)
        fail<Corrupt>("{}: its zip64 directory is damaged", in.file);
      return std::pair{in.get<uint64_t>(end64 + 48), in.get<uint64_t>(end64 + 32)};
    }
    return std::pair{begin, members};
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::vector<ZipMember>> read_zip_directory(std::span<const std::byte> bytes,
                                                         const std::string& file) {
  const Reader in{bytes, file};
  const auto directory = find_directory(in);
  if (!directory) return std::nullopt;
  auto [at, count] = *directory;
  std::vector<ZipMember> members;
  for (uint64_t i = 0; i < count; ++i) {
    if (in.get<uint32_t>(at) != kCentral) fail<Corrupt>("{}: its zip directory is damaged", file);
    ZipMember member;
    const auto method = in.get<uint16_t>(at + 10);
    member.crc = in.get<uint32_t>(at + 16);
    uint64_t stored = in.get<uint32_t>(at + 20);
    member.size = in.get<uint32_t>(at + 24);
    const uint64_t name_size = in.get<uint16_t>(at + 28), extra = in.get<uint16_t>(at + 30),
                   comment = in.get<uint16_t>(at + 32);
    uint64_t local = in.get<uint32_t>(at + 42);
    in.need(at + kCentralSize, name_size + extra + comment);
    member.name.assign(reinterpret_cast<const char*>(bytes.data()) + at + kCentralSize, name_size);
    // The zip64 extra field holds, in this order, those of the three that did not fit.
    for (uint64_t e = at + kCentralSize + name_size, end = e + extra; e + 4 <= end;) {
      const auto tag = in.get<uint16_t>(e), length = in.get<uint16_t>(e + 2);
      uint64_t value = e + 4;
      if (tag == 1)
        for (uint64_t* const field : {&member.size, &stored, &local})
          if (*field == kIn64) *field = in.get<uint64_t>(value), value += 8;
      e += 4 + uint64_t{length};
    }
    if (method != kStored && method != kDeflated)
      fail<BadInput>("{}: member '{}' is packed by method {}; stored and deflated are read", file,
                     member.name, method);
    member.is_deflated = method == kDeflated;
    if (in.get<uint32_t>(local) != kLocal)
      fail<Corrupt>("{}: member '{}' is not there", file, member.name);
    const uint64_t begin =
        local + kLocalSize + in.get<uint16_t>(local + 26) + in.get<uint16_t>(local + 28);
    in.need(begin, stored);
    if (member.is_deflated ? member.size / kMaxRatio > stored : member.size != stored)
      fail<Corrupt>("{}: member '{}' cannot be {} bytes in {}", file, member.name, member.size,
                    stored);
    member.data = bytes.subspan(begin, stored);
    members.push_back(std::move(member));
    at += kCentralSize + name_size + extra + comment;
  }
  return members;
}

std::string unpack(const ZipMember& member, const std::string& file) {
  constexpr uint64_t kPiece = uint64_t{1} << 30;  // zlib counts in 32 bits
  const auto* const in = reinterpret_cast<const Bytef*>(member.data.data());
  if (member.size > kDecompressLimit)
    fail<BadInput>("{}: member '{}' would be {} bytes, at most {} are read", file, member.name,
                   member.size, kDecompressLimit);
  std::string out(member.size, '\0');
  if (!member.is_deflated) {
    std::copy_n(in, member.data.size(), out.data());
  } else {
    z_stream stream{};
    if (inflateInit2(&stream, -15) != Z_OK) fail<Device>("{}: zlib found no memory", file);
    const std::unique_ptr<z_stream, decltype(&inflateEnd)> guard(&stream, inflateEnd);
    uint64_t consumed = 0, made = 0;
    Bytef beyond = 0;  // so that too much output shows
    for (int status = Z_OK; status != Z_STREAM_END;) {
      const bool is_full = made == out.size();
      stream.next_in = const_cast<Bytef*>(in + consumed);  // zlib's signature: it only reads
      stream.avail_in = static_cast<uInt>(std::min(member.data.size() - consumed, kPiece));
      stream.next_out = is_full ? &beyond : reinterpret_cast<Bytef*>(out.data()) + made;
      stream.avail_out = is_full ? 1 : static_cast<uInt>(std::min(out.size() - made, kPiece));
      const uInt room = stream.avail_out, given = stream.avail_in;
      status = inflate(&stream, Z_NO_FLUSH);
      consumed += given - stream.avail_in;
      made += room - stream.avail_out;
      const bool is_stuck = given == stream.avail_in && room == stream.avail_out;
      if ((status != Z_OK && status != Z_STREAM_END) || made > out.size() ||
          (is_stuck && status != Z_STREAM_END))
        fail<Corrupt>("{}: member '{}' is damaged near byte {} of {}", file, member.name, consumed,
                      member.data.size());
    }
    if (made != out.size())
      fail<Corrupt>("{}: member '{}' has {} bytes, its directory says {}", file, member.name, made,
                    out.size());
  }
  const auto crc =
      static_cast<uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(out.data()), out.size()));
  if (crc != member.crc)
    fail<Corrupt>("{}: member '{}' has the checksum {:08x}, its directory says {:08x}", file,
                  member.name, crc, member.crc);
  return out;
}

}  // namespace megafold
