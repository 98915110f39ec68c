// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// metrics.jsonl: the record of a run, one JSON object a line, each written whole and at once. A
// resumed run appends; where a step stands twice, the later line counts. A line torn by a kill is
// cut off when the file is opened again.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace megafold {

class MetricsFile {
 public:
  /// Opens for appending. Throws Device with the system's reason.
  explicit MetricsFile(const std::filesystem::path& path);
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;
  ~MetricsFile();
  /// Throws Device (disk full ...), and then no part of the line is left.
  void append(const nlohmann::json& object);

 private:
  std::filesystem::path path_;
  int file_ = -1;
  int64_t size_ = 0;
};

/// Resident memory of this process now, and its peak, in MiB (0 where the system does not say).
double resident_mib();
double peak_resident_mib();
/// The processor's name, "?" where the system does not say.
std::string cpu_name();

}  // namespace megafold
