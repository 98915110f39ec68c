// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Event files for TensorBoard, scalars alone. A file is a sequence of TFRecords
//
//   u64 length | u32 masked CRC32C of these 8 bytes | payload | u32 masked CRC32C of the payload
//
// (little-endian), each payload an Event message in the protobuf wire format: wall_time = 1
// (double), step = 2 (int64), then one of file_version = 3 (first record: "brain.Event:2"), summary
// = 5 or session_log = 7. Nothing is ever rewritten: each start of a run, resumed or not, opens a
// file of its own, and a reader skips the torn record that a kill may leave at the end of an older
// one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace megafold {

/// CRC-32C (Castagnoli), the plain value; masked for TFRecords as rotr15(crc) + 0xa282ead8.
[[nodiscard]] uint32_t crc32c(std::string_view bytes);
[[nodiscard]] uint32_t masked_crc32c(std::string_view bytes);

struct Scalar {
  std::string_view tag;  // "loss/diffusion": the part before the slash groups the charts
  float value;
};

class EventWriter {
 public:
  /// Opens a new file in `folder` (made when missing). `wall_time` in seconds since 1970 names it.
  /// With `purge_step`, TensorBoard drops what earlier files of this folder say about that step and
  /// later ones: pass the first step of a resumed run. Throws Device when the file cannot be made.
  EventWriter(const std::filesystem::path& folder, double wall_time,
              std::optional<int64_t> purge_step = std::nullopt);

  /// Appends one Event with all scalars of a step and hands it to the system, so that a kill loses
  /// nothing that was written (power loss may: events are a view, metrics.jsonl is the record).
  /// Throws Device with the system's reason, for instance when the disk is full.
  void scalars(int64_t step, double wall_time, std::span<const Scalar> values);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  void append(std::string_view event);

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace megafold
