// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace megafold {

/// SHA-256 of several pieces, each preceded by its length, so that ("ab", "c") and ("a", "bc")
/// differ. Used for content keys. 64 lower-case hexadecimal digits.
std::string sha256_hex(std::initializer_list<std::string_view> pieces);

/// XXH3, 64 bits: the checksum of blocks in files that megafold writes.
uint64_t checksum64(std::span<const std::byte> bytes);

}  // namespace megafold
