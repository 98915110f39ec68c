// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The four ways in which megafold fails. Library code throws one of them and never ends the
// process; only cli/ turns them into exit codes (2 bad input, 3 corrupt data, 4 device or memory).
// The message names the file, line or record, the values met, and the remedy.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace megafold {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The caller's input is wrong: a file, a config value, an argument, a tensor's shape.
struct BadInput : Error {
  using Error::Error;
};

/// The input is well-formed, but this build or version cannot do it; the message says what could.
struct Unsupported : Error {
  using Error::Error;
};

/// Data that megafold wrote itself came back different: a cache file, a checkpoint.
struct Corrupt : Error {
  using Error::Error;
};

/// The machine refused: device, memory, disk.
struct Device : Error {
  using Error::Error;
};

/// Throws E with a formatted message: fail<BadInput>("{}:{}: ...", file, line).
template <class E, class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw E(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace megafold
