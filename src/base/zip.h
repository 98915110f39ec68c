// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Zip archives as torch.save and numpy write them: members that are stored or deflated, with zip64
// sizes. Nothing that the directory says is believed before it is held against the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace megafold {

struct ZipMember {
  std::string name;
  uint64_t size = 0;  // unpacked
  uint32_t crc = 0;   // of the unpacked bytes
  bool is_deflated = false;
  std::span<const std::byte> data;  // as they lie in the file
};

/// The members in the directory's order; nullopt where the bytes are no zip archive. `file` stands
/// in messages. Throws Corrupt where the directory does not fit the bytes, BadInput where a member
/// is packed in another way.
std::optional<std::vector<ZipMember>> read_zip_directory(std::span<const std::byte> bytes,
                                                         const std::string& file);

/// The member's bytes. Throws Corrupt where they are not as many as the directory says or have
/// another checksum.
std::string unpack(const ZipMember& member, const std::string& file);

}  // namespace megafold
