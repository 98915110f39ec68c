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
#include <mutex>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/errors.h"
#include "base/hash.h"
#include "cache/bytes.h"

namespace megafold {
namespace {

using nlohmann::json;
static_assert(std::endian::native == std::endian::little, "records are little-endian");

constexpr std::string_view kMagic = "MFRECORD";
constexpr std::string_view kEndMagic = "MFRECEND";
constexpr size_t kHeaderSize = 16;   // magic, version, zero
constexpr size_t kTrailerSize = 40;  // index offset, size, checksum; checksum of both ends; magic
// Raw bytes, rounded down to whole rows: a block and what it unpacks to stay in a core's L2, and a
// visit that needs the first rows reads little more than those.
constexpr uint64_t kBlockSize = uint64_t{1} << 17;
constexpr int kLevel = 3;
constexpr uint64_t kMaxArray = uint64_t{1} << 36;  // a larger one is damage

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

/// A record of which one array is another.
class MetaRecord : public Record {
 public:
  MetaRecord(std::shared_ptr<const Record> base, std::string meta)
      : base_(std::move(base)), meta_(std::move(meta)) {}

  [[nodiscard]] const std::string& key() const override { return base_->key(); }
  [[nodiscard]] std::vector<std::string> names() const override { return base_->names(); }
  [[nodiscard]] ArrayView describe(std::string_view name) const override {
    if (name != "meta") return base_->describe(name);
    return Record::describe(name);
  }
  [[nodiscard]] int64_t rows_per_block(std::string_view name) const override {
    return base_->rows_per_block(name);
  }
  void read_rows(std::string_view name, int64_t first, int64_t count,
                 std::byte* out) const override {
    if (name != "meta") return base_->read_rows(name, first, count, out);
    Record::read_rows(name, first, count, out);
  }
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
  for (const RecordKind kind :
       {RecordKind::structure, RecordKind::alignment, RecordKind::templates})
    if (name_of(kind) == name) return kind;
  fail<Corrupt>("{}: a record of unknown kind '{}'", file, name);
}

/// Unpacks one block from its bytes to `out` (block.raw bytes).
void unpack_block(std::string_view packed, const ArrayEntry& entry, size_t i,
                  const std::string& name, std::byte* out) {
  const ArrayEntry::BlockEntry& block = entry.blocks[i];
  if (checksum64(bytes_of(packed)) != block.checksum)
    fail<Corrupt>(
        "{}: array '{}', block {} of {} (bytes {} to {} of the record): wrong checksum; the file "
        "is damaged: build the cache again",
        name, entry.name, i + 1, entry.blocks.size(), block.offset, block.offset + block.packed);
  const size_t got =
      ZSTD_decompressDCtx(decompressor(), out, block.raw, packed.data(), packed.size());
  if (ZSTD_isError(got) != 0 || got != block.raw)
    fail<Corrupt>("{}: array '{}', block {} of {}: does not unpack to {} bytes", name, entry.name,
                  i + 1, entry.blocks.size(), block.raw);
}

/// A buffer per thread that grows and stays: fresh memory costs more than what is read into it.
std::byte* scratch(size_t size) {
  thread_local std::vector<std::byte> buffer;
  if (buffer.size() < size) buffer.resize(size);
  return buffer.data();
}

/// `tail` holds the last bytes of a record of `whole` bytes, its index and trailer among them.
RecordIndex parse_ends(std::string_view header, std::string_view tail, uint64_t whole,
                       const std::string& name) {
  if (!header.starts_with(kMagic)) fail<Corrupt>("{}: does not start as a megafold record", name);
  if (!tail.ends_with(kEndMagic))
    fail<Corrupt>("{}: does not end as a megafold record (cut short?)", name);
  const std::string_view trailer = tail.substr(tail.size() - kTrailerSize);
  const std::string ends = std::string(header) + std::string(trailer.substr(0, 24));
  if (checksum64(bytes_of(ends)) != value_at<uint64_t>(trailer, 24))
    fail<Corrupt>("{}: wrong checksum of header and trailer; the file is damaged", name);
  const auto version = value_at<uint32_t>(header, 8);
  if (version != kRecordVersion)
    fail<Unsupported>("{}: record format {}, this program reads {}: build the cache again", name,
                      version, kRecordVersion);
  const auto offset = value_at<uint64_t>(trailer, 0), size = value_at<uint64_t>(trailer, 8);
  if (offset < kHeaderSize || offset > whole - kTrailerSize || whole - offset > tail.size() ||
      size != whole - kTrailerSize - offset)
    fail<Corrupt>("{}: the index is said to stand at {} + {} of {} bytes", name, offset, size,
                  whole);
  const std::string_view text = tail.substr(tail.size() - (whole - offset), size);
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
      const auto require_integer = [&](const json& number) {
        if (!number.is_number_integer())
          fail<Corrupt>("{}: array '{}': {} is no integer", name, entry.name, number.dump());
      };
      for (const json& extent : node.at("shape")) require_integer(extent);
      entry.shape = node.at("shape").get<std::vector<int64_t>>();
      for (const json& block : node.at("blocks")) {
        for (size_t i = 0; i < 3; ++i) require_integer(block.at(i));
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

/// Reads from a file, or from memory where `bytes` says so.
class StoredRecord : public Record {
 public:
  StoredRecord(RecordPlace place, std::string bytes, uint64_t bytes_at, std::string name,
               RecordIndex index)
      : place_(std::move(place)),
        bytes_(std::move(bytes)),
        bytes_at_(bytes_at),
        name_(std::move(name)),
        index_(std::move(index)) {}

  [[nodiscard]] const std::string& key() const override { return index_.key; }
  [[nodiscard]] std::vector<std::string> names() const override {
    std::vector<std::string> out;
    for (const ArrayEntry& entry : index_.arrays) out.push_back(entry.name);
    return out;
  }
  [[nodiscard]] ArrayView describe(std::string_view name) const override {
    const ArrayEntry& entry = find(name);
    return {entry.type, entry.shape, nullptr};
  }
  [[nodiscard]] int64_t rows_per_block(std::string_view name) const override {
    const ArrayEntry& entry = find(name);
    const uint64_t row = row_bytes(entry);
    return entry.blocks.empty() || row == 0
               ? 1
               : static_cast<int64_t>(std::max<uint64_t>(1, entry.blocks[0].raw / row));
  }
  [[nodiscard]] ArrayView array(std::string_view name) const override {
    const ArrayEntry& entry = find(name);
    const std::scoped_lock lock(mutex_);
    auto found = loaded_.find(name);
    if (found == loaded_.end()) {
      std::vector<std::byte> data(entry.raw_bytes());
      read_blocks(entry, 0, entry.blocks.size(), data.data());
      found = loaded_.emplace(entry.name, std::move(data)).first;
    }
    return {entry.type, entry.shape, found->second.data()};
  }
  void read_rows(std::string_view name, int64_t first, int64_t count,
                 std::byte* out) const override {
    const ArrayEntry& entry = find(name);
    const int64_t rows = entry.shape.empty() ? 1 : entry.shape[0];
    if (first < 0 || count < 0 || first > rows || count > rows - first)
      fail<BadInput>("{}: array '{}' has {} rows, not {} from {} on", name_, name, rows, count,
                     first);
    const uint64_t row = row_bytes(entry);
    const uint64_t from = static_cast<uint64_t>(first) * row;
    const uint64_t to = from + static_cast<uint64_t>(count) * row;
    if (from == to) return;       // `out` may be null
    std::vector<std::byte> part;  // of a block that is needed in part
    uint64_t at = 0;              // raw bytes before block i
    for (size_t i = 0; i < entry.blocks.size() && at < to; at += entry.blocks[i++].raw) {
      const uint64_t end = at + entry.blocks[i].raw;
      if (end <= from) continue;
      if (at >= from && end <= to) {
        read_blocks(entry, i, i + 1, out + (at - from));
        continue;
      }
      part.resize(entry.blocks[i].raw);
      read_blocks(entry, i, i + 1, part.data());
      const uint64_t low = std::max(at, from), high = std::min(end, to);
      std::memcpy(out + (low - from), part.data() + (low - at), high - low);
    }
  }
  void check_all() const {
    std::vector<std::byte> data;
    for (const ArrayEntry& entry : index_.arrays)
      for (size_t i = 0; i < entry.blocks.size(); ++i) {
        data.resize(entry.blocks[i].raw);
        read_blocks(entry, i, i + 1, data.data());
      }
  }

 private:
  [[nodiscard]] const ArrayEntry& find(std::string_view name) const {
    for (const ArrayEntry& entry : index_.arrays)
      if (entry.name == name) return entry;
    fail<Corrupt>("{}: the record has no array '{}'", name_, name);
  }
  static uint64_t row_bytes(const ArrayEntry& entry) {
    uint64_t bytes = size_of(entry.type);
    for (size_t i = 1; i < entry.shape.size(); ++i) bytes *= static_cast<uint64_t>(entry.shape[i]);
    return bytes;
  }
  /// Blocks [first, last) of an array, which stand one after the other: one read.
  void read_blocks(const ArrayEntry& entry, size_t first, size_t last, std::byte* out) const {
    if (first == last) return;
    const uint64_t offset = entry.blocks[first].offset;
    const uint64_t size = entry.blocks[last - 1].offset + entry.blocks[last - 1].packed - offset;
    std::string_view packed;
    if (offset >= bytes_at_) {
      packed = std::string_view(bytes_).substr(offset - bytes_at_, size);
    } else {
      std::byte* const buffer = scratch(size);
      place_.file->read(place_.offset + offset, {buffer, size});
      packed = {reinterpret_cast<const char*>(buffer), size};
    }
    for (size_t i = first; i < last; ++i) {
      const ArrayEntry::BlockEntry& block = entry.blocks[i];
      unpack_block(packed.substr(block.offset - offset, block.packed), entry, i, name_, out);
      out += block.raw;
    }
  }

  RecordPlace place_;
  std::string bytes_;  // of the record from `bytes_at_` to its end
  uint64_t bytes_at_;
  std::string name_;
  RecordIndex index_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::vector<std::byte>, std::less<>> loaded_;
};

void expect(const RecordIndex& index, RecordKind kind, std::string_view key,
            const std::string& name) {
  if (index.kind != kind)
    fail<Corrupt>("{}: a record of kind '{}', expected '{}'", name, name_of(index.kind),
                  name_of(kind));
  if (!key.empty() && index.key != key)
    fail<Corrupt>("{}: the record has the key {}, expected {} (was the file renamed?)", name,
                  index.key, key);
}

std::string place_name(const RecordPlace& place, std::string_view key) {
  return key.empty() ? fmt::format("{}, record at {}", place.file->name(), place.offset)
                     : fmt::format("{}, record {}", place.file->name(), key.substr(0, 12));
}

std::shared_ptr<StoredRecord> open_stored(RecordPlace place, RecordKind kind,
                                          std::string_view key) {
  std::string name = place_name(place, key);
  std::string tail;
  RecordIndex index = read_record_index(place, name, &tail);
  expect(index, kind, key, name);
  const uint64_t tail_at = place.size - tail.size();
  return std::make_shared<StoredRecord>(std::move(place), std::move(tail), tail_at, std::move(name),
                                        std::move(index));
}

}  // namespace

std::string_view name_of(RecordKind kind) {
  constexpr std::array<std::string_view, 3> kNames = {"structure", "alignment", "templates"};
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

RecordIndex read_record_index(const RecordPlace& place, const std::string& name,
                              std::string* tail_out) {
  if (place.size < kHeaderSize + kTrailerSize)
    fail<Corrupt>("{}: {} bytes are too few for a record (cut short?)", name, place.size);
  // The end first: index and trailer of most records are this small, so two reads do.
  const uint64_t guess = std::min<uint64_t>(place.size - kHeaderSize, 16384);
  const std::string header = place.file->read(place.offset, kHeaderSize);
  std::string tail = place.file->read(place.offset + place.size - guess, guess);
  const auto index = value_at<uint64_t>(tail, tail.size() - kTrailerSize);
  if (index >= kHeaderSize && index < place.size && place.size - index > tail.size())
    tail = place.file->read(place.offset + index, place.size - index);
  RecordIndex out = parse_ends(header, tail, place.size, name);
  if (tail_out != nullptr) *tail_out = std::move(tail);
  return out;
}

RecordIndex read_record_index(std::string_view bytes, const std::string& name) {
  if (bytes.size() < kHeaderSize + kTrailerSize)
    fail<Corrupt>("{}: {} bytes are too few for a record (cut short?)", name, bytes.size());
  return parse_ends(bytes.substr(0, kHeaderSize), bytes.substr(kHeaderSize), bytes.size(), name);
}

std::shared_ptr<const Record> open_record(RecordPlace place, RecordKind kind,
                                          std::string_view key) {
  return open_stored(std::move(place), kind, key);
}

void check_record(const RecordPlace& place, RecordKind kind, std::string_view key) {
  open_stored(place, kind, key)->check_all();
}

std::shared_ptr<const Record> parse_record(std::string_view bytes, const std::string& name,
                                           RecordKind kind, std::string_view key) {
  RecordIndex index = read_record_index(bytes, name);
  expect(index, kind, key, name);
  auto record =
      std::make_shared<StoredRecord>(RecordPlace{}, std::string(bytes), 0, name, std::move(index));
  for (const std::string& array : record->names()) (void)record->array(array);
  return record;
}

void Record::read_rows(std::string_view name, int64_t first, int64_t count, std::byte* out) const {
  const ArrayView view = array(name);
  const int64_t rows = view.shape.empty() ? 1 : view.shape[0];
  if (first < 0 || count < 0 || first > rows || count > rows - first)
    fail<BadInput>("record {}: array '{}' has {} rows, not {} from {} on", key(), name, rows, count,
                   first);
  const size_t row = rows == 0 ? 0 : static_cast<size_t>(view.size() / rows) * size_of(view.type);
  std::memcpy(out, view.data + static_cast<size_t>(first) * row, static_cast<size_t>(count) * row);
}

std::shared_ptr<const Record> with_meta(std::shared_ptr<const Record> record, std::string meta) {
  return std::make_shared<MetaRecord>(std::move(record), std::move(meta));
}

}  // namespace megafold
