// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// fuzz --target=NAME [libFuzzer's options] [folders]
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "fuzz/targets.h"

namespace {
const megafold::fuzz::Target* chosen = nullptr;
}

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  constexpr std::string_view kOption = "--target=";
  for (int i = 1; i < *argc; ++i)
    if (const std::string_view text = (*argv)[i]; text.starts_with(kOption))
      chosen = megafold::fuzz::find_target(text.substr(kOption.size()));
  if (chosen != nullptr) return 0;
  std::fprintf(stderr, "fuzz: --target=NAME, NAME one of:");
  for (const auto& target : megafold::fuzz::targets())
    std::fprintf(stderr, " %.*s", static_cast<int>(target.name.size()), target.name.data());
  std::fprintf(stderr, "\n");
  std::exit(2);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  megafold::fuzz::run(*chosen, {reinterpret_cast<const char*>(data), size});
  return 0;
}
