# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
# Readers under random bytes (tests/fuzz/targets.h). Preset `fuzz` makes the program of libFuzzer; the other
# presets replay the kept inputs and a fixed number of mutations as CTest cases.
set(fuzz_targets mmcif bcif ccd a3m a2m stockholm m8 hhr hit_rows record shard index safetensors torch npz
  npy)
# Not the checkpoint library: its readers of files alone, without the model behind it.
set(fuzz_sources tests/fuzz/targets.cpp src/checkpoint/safetensors.cpp src/checkpoint/torch_file.cpp
  src/checkpoint/torch_archive.cpp)

function(_megafold_fuzz target)
  add_executable(${target} ${ARGN} ${fuzz_sources})
  target_link_libraries(${target} PRIVATE megafold_cache torch::cpu)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${target} PRIVATE MEGAFOLD_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  set_target_properties(${target} PROPERTIES BUILD_RPATH "${megafold_rpath}")
endfunction()

if(MEGAFOLD_SANITIZE MATCHES "fuzzer")
  _megafold_fuzz(fuzz tests/fuzz/libfuzzer.cpp)
  target_link_options(fuzz PRIVATE -fsanitize=fuzzer)
elseif(MEGAFOLD_TESTS)
  _megafold_fuzz(fuzz_replay tests/fuzz/replay.cpp)
  # The importers write CIF by gemmi, which clang 14 does not compile (cmake/Megafold.cmake).
  target_compile_definitions(fuzz_replay PRIVATE MEGAFOLD_FUZZ_IMPORT)
  foreach(name IN LISTS fuzz_targets ITEMS alphafold3)
    add_test(NAME fuzz.${name} COMMAND fuzz_replay ${name} 2000 ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
    set_tests_properties(fuzz.${name} PROPERTIES LABELS fuzz TIMEOUT 120)
  endforeach()
endif()
