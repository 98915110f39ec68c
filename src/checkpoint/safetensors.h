// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The safetensors format: 8 bytes of header length, a JSON header {name: {dtype, shape,
// data_offsets}, "__metadata__": {text: text}}, then the raw bytes. Nothing in it is executed.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace megafold {

/// A file open for reading: the header is checked as a whole, the bytes are mapped.
class Safetensors {
 public:
  /// Throws BadInput when the file is missing or is no safetensors file, Corrupt when it is one
  /// that is cut short or whose header does not fit its bytes; both name the file and the tensor.
  explicit Safetensors(const std::filesystem::path& path);

  struct Info {
    std::string name;
    at::ScalarType dtype;
    std::vector<int64_t> shape;
    uint64_t begin, end;  // bytes after the header
  };
  /// In the order of their bytes.
  [[nodiscard]] const std::vector<Info>& tensors() const { return tensors_; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
  [[nodiscard]] bool contains(std::string_view name) const { return find(name) != nullptr; }

  /// A view of the mapped bytes (CPU; do not write to it), which keeps the mapping alive. Throws
  /// BadInput when there is no such name.
  [[nodiscard]] at::Tensor operator[](std::string_view name) const;

 private:
  [[nodiscard]] const Info* find(std::string_view name) const;
  std::filesystem::path path_;
  std::shared_ptr<const std::byte> bytes_;  // the mapping, after the header
  std::vector<Info> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// What stands before the tensors' bytes: the length and the JSON. `name_of_file` is for messages.
/// Throws as write_safetensors().
std::string safetensors_header(const std::string& name_of_file,
                               const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                               const std::map<std::string, std::string>& metadata = {});

/// Publishes the tensors in the given order (base/publish.h). Tensors of any device and stride.
/// Throws BadInput for two equal names or a dtype that the format lacks.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace megafold
