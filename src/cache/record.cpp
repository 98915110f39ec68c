// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/record.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/errors.h"
#include "base/hash.h"
#include "base/publish.h"

namespace megafold {
namespace {

using nlohmann::json;
static_assert(std::endian::native == std::endian::little, "records are little-endian");

constexpr std::string_view kMagic = "MFRECORD";
constexpr std::string_view kEndMagic = "MFRECEND";
constexpr size_t kHeaderSize = 16;   // magic, version, zero
constexpr size_t kTrailerSize = 40;  // index offset, size, checksum; checksum of both ends; magic
constexpr uint64_t kBlockSize = uint64_t{1} << 20;  // raw bytes, rounded down to whole rows
constexpr int kLevel = 3;
constexpr uint64_t kMaxArray = uint64_t{1} << 36;  // a larger one is damage

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

template <class T>
T value_at(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

/// One context per thread: making one costs more than packing a small block.
ZSTD_CCtx* compressor() {
  thread_local const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(),
                                                                                  ZSTD_freeCCtx);
  if (!context) fail<Device>("Zstandard found no memory");
  return context.get();
}

ZSTD_DCtx* decompressor() {
  thread_local const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(),
                                                                                  ZSTD_freeDCtx);
  if (!context) fail<Device>("Zstandard found no memory");
  return context.get();
}

/// Raw bytes per block: whole rows, at least one.
uint64_t block_bytes(const NamedArray& array) {
  const uint64_t total = array.data.size();
  const uint64_t rows = array.shape.empty() ? 1 : std::max<int64_t>(1, array.shape[0]);
  const uint64_t row = std::max<uint64_t>(1, total / rows);
  return std::max<uint64_t>(row, kBlockSize / row * row);
}

std::string checksum_text(uint64_t value) {
  return fmt::format("{:016x}", value);
}

/// A record that owns its arrays.
class LoadedRecord : public Record {
 public:
  LoadedRecord(std::string name, std::string key) : name_(std::move(name)), key_(std::move(key)) {}

  [[nodiscard]] const std::string& key() const override { return key_; }
  [[nodiscard]] ArrayView array(std::string_view name) const override {
    const auto found = arrays_.find(name);
    if (found == arrays_.end()) fail<Corrupt>("{}: the record has no array '{}'", name_, name);
    const NamedArray& array = found->second;
    return {array.type, array.shape, array.data.data()};
  }
  [[nodiscard]] std::vector<std::string> names() const override {
    std::vector<std::string> out;
    for (const auto& [name, array] : arrays_) out.push_back(name);
    return out;
  }
  void add(NamedArray array) {
    std::string name = array.name;
    arrays_.insert_or_assign(std::move(name), std::move(array));
  }

 private:
  std::string name_, key_;
  std::map<std::string, NamedArray, std::less<>> arrays_;
};

/// A record of which one array is another.
class MetaRecord : public Record {
 public:
  MetaRecord(std::shared_ptr<const Record> base, std::string meta)
      : base_(std::move(base)), meta_(std::move(meta)) {}

  [[nodiscard]] const std::string& key() const override { return base_->key(); }
  [[nodiscard]] std::vector<std::string> names() const override { return base_->names(); }
  [[nodiscard]] ArrayView array(std::string_view name) const override {
    if (name != "meta") return base_->array(name);
    return {ArrayType::u8,
            {static_cast<int64_t>(meta_.size())},
            reinterpret_cast<const std::byte*>(meta_.data())};
  }

 private:
  std::shared_ptr<const Record> base_;
  std::string meta_;
};

RecordKind kind_of(std::string_view name, const std::string& file) {
  for (const RecordKind kind : {RecordKind::structure, RecordKind::alignment, RecordKind::index})
    if (name_of(kind) == name) return kind;
  fail<Corrupt>("{}: a record of unknown kind '{}'", file, name);
}

NamedArray unpack(std::string_view bytes, const ArrayEntry& entry, const std::string& name) {
  NamedArray array{entry.name, entry.type, entry.shape, {}};
  array.data.resize(entry.raw_bytes());
  size_t at = 0;
  for (size_t i = 0; i < entry.blocks.size(); ++i) {
    const ArrayEntry::BlockEntry& block = entry.blocks[i];
    const std::string_view packed = bytes.substr(block.offset, block.packed);
    if (checksum64(bytes_of(packed)) != block.checksum)
      fail<Corrupt>(
          "{}: array '{}', block {} of {} (bytes {} to {}): wrong checksum; the file is damaged, "
          "delete it and build the cache again",
          name, entry.name, i + 1, entry.blocks.size(), block.offset, block.offset + block.packed);
    const size_t got = ZSTD_decompressDCtx(decompressor(), array.data.data() + at, block.raw,
                                           packed.data(), packed.size());
    if (ZSTD_isError(got) != 0 || got != block.raw)
      fail<Corrupt>("{}: array '{}', block {} of {}: does not unpack to {} bytes", name, entry.name,
                    i + 1, entry.blocks.size(), block.raw);
    at += block.raw;
  }
  return array;
}

}  // namespace

std::string_view name_of(RecordKind kind) {
  constexpr std::array<std::string_view, 3> kNames = {"structure", "alignment", "index"};
  return kNames[static_cast<size_t>(kind)];
}

uint64_t ArrayEntry::raw_bytes() const {
  uint64_t sum = 0;
  for (const BlockEntry& block : blocks) sum += block.raw;
  return sum;
}

uint64_t ArrayEntry::packed_bytes() const {
  uint64_t sum = 0;
  for (const BlockEntry& block : blocks) sum += block.packed;
  return sum;
}

std::string pack_record(RecordKind kind, std::string_view key,
                        const std::vector<NamedArray>& arrays) {
  std::string out(kMagic);
  append(out, kRecordVersion);
  append(out, uint32_t{0});
  json list = json::array();
  for (const NamedArray& array : arrays) {
    json blocks = json::array();
    const uint64_t step = block_bytes(array);
    for (uint64_t from = 0; from < array.data.size(); from += step) {
      const uint64_t raw = std::min<uint64_t>(step, array.data.size() - from);
      const size_t offset = out.size();
      out.resize(offset + ZSTD_compressBound(raw));
      const size_t packed =
          ZSTD_compressCCtx(compressor(), out.data() + offset, out.size() - offset,
                            array.data.data() + from, raw, kLevel);
      if (ZSTD_isError(packed) != 0)
        fail<Device>("Zstandard failed: {}", ZSTD_getErrorName(packed));
      out.resize(offset + packed);
      const uint64_t checksum = checksum64(bytes_of(std::string_view(out).substr(offset)));
      blocks.push_back({offset, packed, raw, checksum_text(checksum)});
    }
    list.push_back({{"name", array.name},
                    {"type", name_of(array.type)},
                    {"shape", array.shape},
                    {"blocks", std::move(blocks)}});
  }
  const std::string index =
      json{{"kind", name_of(kind)}, {"key", key}, {"arrays", std::move(list)}}.dump();
  const std::string header = out.substr(0, kHeaderSize);
  const uint64_t offset = out.size();
  out += index;
  std::string trailer;
  append(trailer, offset);
  append(trailer, uint64_t{index.size()});
  append(trailer, checksum64(bytes_of(index)));
  append(trailer, checksum64(bytes_of(header + trailer)));
  out += trailer;
  out += kEndMagic;
  return out;
}

void write_record(const std::filesystem::path& path, RecordKind kind, std::string_view key,
                  const std::vector<NamedArray>& arrays) {
  publish(path, pack_record(kind, key, arrays));
}

RecordIndex read_record_index(std::string_view bytes, const std::string& name) {
  if (bytes.size() < kHeaderSize + kTrailerSize)
    fail<Corrupt>("{}: {} bytes are too few for a record (cut short?)", name, bytes.size());
  if (!bytes.starts_with(kMagic)) fail<Corrupt>("{}: does not start as a megafold record", name);
  if (!bytes.ends_with(kEndMagic))
    fail<Corrupt>("{}: does not end as a megafold record (cut short?)", name);
  const std::string_view trailer = bytes.substr(bytes.size() - kTrailerSize);
  const std::string ends =
      std::string(bytes.substr(0, kHeaderSize)) + std::string(trailer.substr(0, 24));
  if (checksum64(bytes_of(ends)) != value_at<uint64_t>(trailer, 24))
    fail<Corrupt>("{}: wrong checksum of header and trailer; the file is damaged", name);
  const auto version = value_at<uint32_t>(bytes, 8);
  if (version != kRecordVersion)
    fail<Unsupported>("{}: record format {}, this program reads {}: build the cache again", name,
                      version, kRecordVersion);
  const auto offset = value_at<uint64_t>(trailer, 0), size = value_at<uint64_t>(trailer, 8);
  if (offset < kHeaderSize || offset > bytes.size() - kTrailerSize ||
      size != bytes.size() - kTrailerSize - offset)
    fail<Corrupt>("{}: the index is said to stand at {} + {} of {} bytes", name, offset, size,
                  bytes.size());
  const std::string_view text = bytes.substr(offset, size);
  if (checksum64(bytes_of(text)) != value_at<uint64_t>(trailer, 16))
    fail<Corrupt>("{}: wrong checksum of the index; the file is damaged", name);
  RecordIndex out;
  try {
    const json index = json::parse(text);
    out.kind = kind_of(index.at("kind").get<std::string>(), name);
    out.key = index.at("key").get<std::string>();
    uint64_t next = kHeaderSize;  // the blocks follow each other without a gap
    for (const json& node : index.at("arrays")) {
      ArrayEntry entry;
      entry.name = node.at("name").get<std::string>();
      entry.type = array_type_of(node.at("type").get<std::string>());
      entry.shape = node.at("shape").get<std::vector<int64_t>>();
      for (const json& block : node.at("blocks")) {
        ArrayEntry::BlockEntry at{block.at(0), block.at(1), block.at(2), 0};
        const auto checksum = block.at(3).get<std::string>();
        const auto parsed =
            std::from_chars(checksum.data(), checksum.data() + checksum.size(), at.checksum, 16);
        if (parsed.ec != std::errc() || at.offset != next || at.packed > offset - next ||
            at.raw > kMaxArray)
          fail<Corrupt>("{}: array '{}': a block is out of place", name, entry.name);
        next += at.packed;
        entry.blocks.push_back(at);
      }
      uint64_t values = 1;
      for (const int64_t extent : entry.shape) {
        if (extent < 0 || static_cast<uint64_t>(extent) > kMaxArray ||
            (extent > 0 && values > kMaxArray / static_cast<uint64_t>(extent)))
          fail<Corrupt>("{}: array '{}': extent {}", name, entry.name, extent);
        values *= static_cast<uint64_t>(extent);
      }
      if (values * size_of(entry.type) != entry.raw_bytes())
        fail<Corrupt>("{}: array '{}': {} values of {} in {} bytes", name, entry.name, values,
                      name_of(entry.type), entry.raw_bytes());
      out.arrays.push_back(std::move(entry));
    }
    if (next != offset) fail<Corrupt>("{}: {} bytes belong to no array", name, offset - next);
  } catch (const json::exception& error) {
    fail<Corrupt>("{}: the index cannot be read: {}", name, error.what());
  } catch (const BadInput& error) {
    fail<Corrupt>("{}: {}", name, error.what());
  }
  return out;
}

std::shared_ptr<const Record> parse_record(std::string_view bytes, const std::string& name,
                                           RecordKind kind, std::string_view key) {
  const RecordIndex index = read_record_index(bytes, name);
  if (index.kind != kind)
    fail<Corrupt>("{}: a record of kind '{}', expected '{}'", name, name_of(index.kind),
                  name_of(kind));
  if (!key.empty() && index.key != key)
    fail<Corrupt>("{}: the record has the key {}, expected {} (was the file renamed?)", name,
                  index.key, key);
  auto record = std::make_shared<LoadedRecord>(name, index.key);
  for (const ArrayEntry& entry : index.arrays) record->add(unpack(bytes, entry, name));
  return record;
}

std::shared_ptr<const Record> with_meta(std::shared_ptr<const Record> record, std::string meta) {
  return std::make_shared<MetaRecord>(std::move(record), std::move(meta));
}

std::shared_ptr<const Record> read_record(const std::filesystem::path& path, RecordKind kind,
                                          std::string_view key) {
  std::string bytes;
  try {
    bytes = read_file(path);
  } catch (const BadInput& error) {  // the index names it: its absence is damage, not a wrong call
    fail<Corrupt>("{}; build the cache again", error.what());
  }
  return parse_record(bytes, path.string(), kind, key);
}

}  // namespace megafold
