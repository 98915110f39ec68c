// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "train/tfevents.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <system_error>

#include "base/errors.h"

namespace megafold {
namespace {

static_assert(std::endian::native == std::endian::little, "the bytes below are copied as they are");

template <class T>
void append_raw(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Protobuf's wire format: a field is the varint (number << 3 | kind), then its bytes.
enum class Wire : uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}
void append_key(std::string& out, int field, Wire kind) {
  append_varint(out, static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(kind));
}
void append_bytes(std::string& out, int field, std::string_view bytes) {
  append_key(out, field, Wire::bytes);
  append_varint(out, bytes.size());
  out.append(bytes);
}
void append_varint(std::string& out, int field, int64_t value) {
  append_key(out, field, Wire::varint);
  append_varint(out, static_cast<uint64_t>(value));
}

// The fields that every Event begins with.
std::string begin_event(double wall_time, int64_t step) {
  std::string event;
  append_key(event, 1, Wire::fixed64);
  append_raw(event, wall_time);
  if (step != 0) append_varint(event, 2, step);  // zero is the default and is not written
  return event;
}

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78U : 0U);
    table[i] = crc;
  }
  return table;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = make_crc_table();
  uint32_t crc = ~0U;
  for (const char c : bytes) crc = kTable[(crc ^ static_cast<uint8_t>(c)) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8U;
}

EventWriter::EventWriter(const std::filesystem::path& folder, double wall_time,
                         std::optional<int64_t> purge_step) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail<Device>("{}: cannot make the folder: {}", folder.string(), error.message());
  // TensorBoard reads every file whose name has "tfevents", in the order of names: ten digits of
  // seconds first. A run started twice in a second gets the next number.
  for (int number = 0;; ++number) {
    path_ = folder / fmt::format("events.out.tfevents.{:010}.{}.{}",
                                 static_cast<int64_t>(wall_time), ::getpid(), number);
    if (!std::filesystem::exists(path_)) break;
  }
  file_.open(path_, std::ios::binary | std::ios::app);
  std::string event = begin_event(wall_time, 0);
  append_bytes(event, 3, "brain.Event:2");
  append(event);
  if (purge_step) {
    event = begin_event(wall_time, *purge_step);
    std::string session_log;
    append_varint(session_log, 1, 1);  // status = START
    append_bytes(event, 7, session_log);
    append(event);
  }
}

void EventWriter::scalars(int64_t step, double wall_time, std::span<const Scalar> values) {
  std::string summary;
  for (const Scalar& scalar : values) {
    std::string value;
    append_bytes(value, 1, scalar.tag);
    append_key(value, 2, Wire::fixed32);  // simple_value
    append_raw(value, scalar.value);
    append_bytes(summary, 1, value);
  }
  std::string event = begin_event(wall_time, step);
  append_bytes(event, 5, summary);
  append(event);
}

void EventWriter::append(std::string_view event) {
  std::string record;
  append_raw(record, static_cast<uint64_t>(event.size()));
  append_raw(record, masked_crc32c(record));
  record.append(event);
  append_raw(record, masked_crc32c(event));
  errno = 0;
  file_.write(record.data(), static_cast<std::streamsize>(record.size()));
  file_.flush();
  if (!file_) {
    fail<Device>("{}: cannot write TensorBoard events: {}", path_.string(),
                 std::generic_category().message(errno));
  }
}

}  // namespace megafold
