// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/shard.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "base/errors.h"
#include "base/hash.h"
#include "base/publish.h"
#include "cache/bytes.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic{"MFSHARD\0", 8};
constexpr std::string_view kEndMagic{"MFSHEND\0", 8};
constexpr uint64_t kHeaderSize = 16;   // magic, version, zero
constexpr uint64_t kTrailerSize = 40;  // footer's offset, rows, checksum; of both ends; magic
constexpr uint64_t kRowSize = 56;      // key, kind, zero, offset, size

std::string header() {
  std::string out(kMagic);
  append(out, kShardVersion);
  append(out, uint32_t{0});
  return out;
}

}  // namespace

std::string shard_file(std::string_view name) {
  return std::string(name) + std::string(kShardExtension);
}

fs::path shard_path(const fs::path& cache, std::string_view name) {
  return cache / kShardFolder / shard_file(name);
}

std::array<unsigned char, 32> key_bytes(std::string_view hex) {
  std::array<unsigned char, 32> out{};
  bool good = hex.size() == 64;
  for (size_t i = 0; good && i < 64; ++i) {
    const char c = hex[i];
    good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
    out[i / 2] = static_cast<unsigned char>(out[i / 2] << 4 | digit);
  }
  if (!good) fail<BadInput>("'{}' is no key of a record", hex);
  return out;
}

std::string key_text(const unsigned char* bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < 32; ++i) {
    out += kDigits[bytes[i] >> 4];
    out += kDigits[bytes[i] & 15];
  }
  return out;
}

ShardInfo write_shard(const fs::path& cache, std::vector<PackedRecord> records) {
  std::sort(records.begin(), records.end(),
            [](const PackedRecord& a, const PackedRecord& b) { return a.key < b.key; });
  ShardInfo out;
  std::string keys, footer;
  uint64_t next = kHeaderSize;
  for (const PackedRecord& record : records) {
    keys += record.key;
    out.rows.push_back({record.key, record.kind, next, record.bytes.size()});
    const auto key = key_bytes(record.key);
    footer.append(reinterpret_cast<const char*>(key.data()), key.size());
    append(footer, static_cast<uint32_t>(record.kind));
    append(footer, uint32_t{0});
    append(footer, next);
    append(footer, uint64_t{record.bytes.size()});
    next += record.bytes.size();
  }
  std::string trailer;
  append(trailer, next);
  append(trailer, uint64_t{records.size()});
  append(trailer, checksum64(bytes_of(footer)));
  append(trailer, checksum64(bytes_of(header() + trailer)));
  trailer += kEndMagic;
  out.name = sha256_hex({"shard", keys}).substr(0, 16);
  out.size = next + footer.size() + trailer.size();
  publish(shard_path(cache, out.name), [&](const WritePiece& write) {
    write(bytes_of(header()));
    for (const PackedRecord& record : records) write(bytes_of(record.bytes));
    write(bytes_of(footer));
    write(bytes_of(trailer));
  });
  return out;
}

ShardInfo read_shard(const ReadFile& file) {
  const std::string& name = file.name();
  if (file.size() < kHeaderSize + kTrailerSize)
    fail<Corrupt>("{}: {} bytes are too few for a shard (cut short?)", name, file.size());
  const std::string head = file.read(0, kHeaderSize);
  const std::string tail = file.read(file.size() - kTrailerSize, kTrailerSize);
  if (!head.starts_with(kMagic)) fail<Corrupt>("{}: does not start as a megafold shard", name);
  if (!tail.ends_with(kEndMagic))
    fail<Corrupt>("{}: does not end as a megafold shard (cut short?)", name);
  if (checksum64(bytes_of(head + tail.substr(0, 24))) != value_at<uint64_t>(tail, 24))
    fail<Corrupt>("{}: wrong checksum of header and trailer; the file is damaged", name);
  if (const auto version = value_at<uint32_t>(head, 8); version != kShardVersion)
    fail<Unsupported>("{}: shard format {}, this program reads {}: build the cache again", name,
                      version, kShardVersion);
  const auto offset = value_at<uint64_t>(tail, 0), count = value_at<uint64_t>(tail, 8);
  const uint64_t end = file.size() - kTrailerSize;
  if (offset < kHeaderSize || offset > end || (end - offset) % kRowSize != 0 ||
      count != (end - offset) / kRowSize)
    fail<Corrupt>("{}: the footer is said to stand at {} with {} rows, in {} bytes", name, offset,
                  count, file.size());
  const std::string footer = file.read(offset, end - offset);
  if (checksum64(bytes_of(footer)) != value_at<uint64_t>(tail, 16))
    fail<Corrupt>("{}: wrong checksum of the footer; the file is damaged", name);
  ShardInfo out{fs::path(name).stem().string(), file.size(), {}};
  uint64_t next = kHeaderSize;
  for (size_t at = 0; at < footer.size(); at += kRowSize) {
    const auto kind = value_at<uint32_t>(footer, at + 32);
    ShardRow row{key_text(reinterpret_cast<const unsigned char*>(footer.data()) + at),
                 static_cast<RecordKind>(kind), value_at<uint64_t>(footer, at + 40),
                 value_at<uint64_t>(footer, at + 48)};
    if (kind > static_cast<uint32_t>(RecordKind::templates) || row.offset != next ||
        row.size > offset - next || (!out.rows.empty() && row.key <= out.rows.back().key))
      fail<Corrupt>("{}: row {} of the footer is out of place", name, at / kRowSize);
    next += row.size;
    out.rows.push_back(std::move(row));
  }
  if (next != offset) fail<Corrupt>("{}: {} bytes belong to no record", name, offset - next);
  return out;
}

}  // namespace megafold
