// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The one way in which megafold makes a file visible: temporary name in the same folder, write,
// fsync, rename, fsync of the folder. A reader sees the old file, the new one, or none; never a
// part of one.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>

namespace megafold {

/// Writes `bytes` to `path`, replacing what stands there. Folders are made when missing.
/// Throws Device with the path and the system's reason (disk full, read-only, permission) and
/// leaves neither the temporary file nor a changed target behind.
void publish(const std::filesystem::path& path, std::span<const std::byte> bytes);
void publish(const std::filesystem::path& path, std::string_view text);

/// The same for large files: `write` is called once and hands over pieces in order.
using WritePiece = std::function<void(std::span<const std::byte>)>;
void publish(const std::filesystem::path& path,
             const std::function<void(const WritePiece&)>& write);

/// Reads a whole file. Throws BadInput when it is missing or unreadable.
std::string read_file(const std::filesystem::path& path);

/// Named points at which a test may kill the process: MEGAFOLD_KILL_AT=name ends it there by
/// SIGKILL, MEGAFOLD_KILL_AT=name:3 at the third passage. Costs one branch when unset.
void kill_point(const char* name);

}  // namespace megafold
