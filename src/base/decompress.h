// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace megafold {

/// A text or binary file that may be packed: gzip (several members too, as bgzip writes) and
/// Zstandard (several frames) are told by their first bytes, never by the name; anything else is
/// returned as it is. Throws BadInput, naming `name`, where the packed data are damaged or cut
/// short, or when more than `limit` bytes come out. Of more than `wanted` bytes the first are
/// returned, and what follows is not looked at.
inline constexpr uint64_t kDecompressLimit = uint64_t{16} << 30, kDecompressAll = ~uint64_t{0};
std::string decompress(std::string packed, std::string_view name, uint64_t limit = kDecompressLimit,
                       uint64_t wanted = kDecompressAll);

/// "x.cif.gz" -> "x.cif": a name without the ending that says how it is packed (.gz, .zst).
std::string unpacked_name(std::string_view name);

/// read_file() and decompress() in one.
std::string read_decompressed(const std::filesystem::path& path, uint64_t wanted = kDecompressAll);

}  // namespace megafold
