# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
add_library(megafold_flags INTERFACE)
target_compile_options(megafold_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Werror -march=${MEGAFOLD_CPU_ARCH}
    -fPIC -fno-math-errno -fdiagnostics-color=auto>)
target_include_directories(megafold_flags INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR})
target_link_libraries(megafold_flags INTERFACE Threads::Threads)
if(MEGAFOLD_CUDA)
  target_compile_definitions(megafold_flags INTERFACE MEGAFOLD_CUDA=1)
endif()
if(MEGAFOLD_SANITIZE)
  target_compile_options(megafold_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${MEGAFOLD_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all>)
  target_link_options(megafold_flags INTERFACE -fsanitize=${MEGAFOLD_SANITIZE})
endif()

# Parsing headers is most of what building costs: ATen's, JSON's and fmt's are parsed once, and one
# precompiled header serves every torch library.
file(WRITE ${CMAKE_BINARY_DIR}/aten_pch.cpp "// Holds the precompiled headers.\n")
add_library(megafold_aten OBJECT ${CMAKE_BINARY_DIR}/aten_pch.cpp)
target_link_libraries(megafold_aten PRIVATE megafold_flags torch::cpu spdlog::spdlog nlohmann_json::nlohmann_json)
target_precompile_headers(megafold_aten PRIVATE <ATen/ATen.h> <fmt/format.h> <fmt/ranges.h> <nlohmann/json.hpp>
  <filesystem> <functional> <map> <optional> <set> <span>)

# Their unnamed namespaces hold names that a neighbour's hold too: compiled by themselves.
set_source_files_properties(src/cache/shard.cpp src/loss/smooth_lddt.cpp src/checkpoint/protenix_rules.cpp
  PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)

# gemmi's documents hold vectors of a type that is not complete yet, which clang refuses in C++20 (Debian 12's
# libstdc++ has constexpr vectors). The reader of CIF is C++17 too; src/cache/import*.cpp, which writes CIF and is
# used by no other file of its part, is left out of a build by clang (preset fuzz).
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  set_source_files_properties(src/structure/cif_text.cpp PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON
    COMPILE_OPTIONS -std=c++17)
endif()

function(_megafold_target target parts third torch)
  target_link_libraries(${target} PUBLIC megafold_flags)
  foreach(part IN LISTS parts)
    target_link_libraries(${target} PUBLIC megafold_${part})
  endforeach()
  foreach(name IN LISTS third)
    target_link_libraries(${target} PUBLIC ${megafold_third_${name}})
  endforeach()
  if(torch)
    if(MEGAFOLD_CUDA)
      target_link_libraries(${target} PUBLIC torch::cuda)
    endif()
    target_link_libraries(${target} PUBLIC torch::cpu)
    target_precompile_headers(${target} REUSE_FROM megafold_aten)
  endif()
  # Loading the precompiled header costs a file 4 s, JSON's and fmt's templates 5, its own lines less than 1: six
  # are compiled as one.
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)
  set_target_properties(${target} PROPERTIES BUILD_RPATH "${megafold_rpath}" INSTALL_RPATH "${megafold_rpath}")
endfunction()

# A folder's *_test.cpp become one program of GoogleTest cases.
function(_megafold_tests name files parts third torch)
  if(NOT MEGAFOLD_TESTS OR NOT files)
    return()
  endif()
  find_package(GTest REQUIRED)
  add_executable(test_${name} ${files})
  _megafold_target(test_${name} "${parts}" "${third}" ${torch})
  set_target_properties(test_${name} PROPERTIES UNITY_BUILD OFF)  # each test file may name its helpers as it likes
  target_link_libraries(test_${name} PRIVATE GTest::gtest GTest::gtest_main)
  target_compile_definitions(test_${name} PRIVATE MEGAFOLD_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  include(GoogleTest)
  gtest_discover_tests(test_${name} TEST_PREFIX ${name}. DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT 600 LABELS ${name})
endfunction()

# megafold_library(NAME "other parts" "third parties" torch?)
function(megafold_library name parts third torch)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    list(FILTER sources EXCLUDE REGEX "/cache/import[^/]*\\.cpp$")
  endif()
  if(NOT sources)
    file(WRITE ${CMAKE_BINARY_DIR}/empty_${name}.cpp "// src/${name} has only headers.\n")
    set(sources ${CMAKE_BINARY_DIR}/empty_${name}.cpp)
  endif()
  add_library(megafold_${name} STATIC ${sources})
  _megafold_target(megafold_${name} "${parts}" "${third}" ${torch})
  _megafold_tests(${name} "${tests}" "${name}" "" ${torch})
endfunction()

# megafold_program(NAME folder "parts" "third parties" torch?)
function(megafold_program name folder parts third torch)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${folder}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  if(NOT sources)
    return()
  endif()
  add_executable(${name} ${sources})
  _megafold_target(${name} "${parts}" "${third}" ${torch})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  target_compile_definitions(${name} PRIVATE MEGAFOLD_VERSION="${PROJECT_VERSION}" MEGAFOLD_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
endfunction()

# kernels/: torch-free. kernels/OP/*.cpp and OP/portable/*.cpp make the library, OP/**/*.cu join in a CUDA
# build, OP/test*.cpp are tests and OP/bench.cpp a Google Benchmark program (both may use the library alone).
function(megafold_kernels)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/*/*.cpp ${CMAKE_SOURCE_DIR}/kernels/*/portable/*.cpp
    ${CMAKE_SOURCE_DIR}/kernels/common/arch/*/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/(test[^/]*|bench[^/]*|[^/]*_test)\\.cpp$")
  if(MEGAFOLD_CUDA)
    megafold_cuda_sources(cuda ${CMAKE_SOURCE_DIR})
    list(APPEND sources ${cuda})
  endif()
  if(NOT sources)
    file(WRITE ${CMAKE_BINARY_DIR}/empty_kernels.cpp "// kernels/ has only headers.\n")
    set(sources ${CMAKE_BINARY_DIR}/empty_kernels.cpp)
  endif()
  add_library(megafold_kernels STATIC ${sources})
  target_link_libraries(megafold_kernels PUBLIC megafold_flags PRIVATE $<LINK_ONLY:torch::gomp>)
  target_compile_options(megafold_kernels PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp -O3>)
  if(MEGAFOLD_CUDA)
    megafold_cuda_flags(megafold_kernels)
    target_link_libraries(megafold_kernels PUBLIC CUDA::cudart)
  endif()
  # Its test of parallel.h needs the pragmas too.
  set_source_files_properties(${CMAKE_SOURCE_DIR}/kernels/common/test.cpp PROPERTIES COMPILE_OPTIONS -fopenmp)
  file(GLOB folders CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/*)
  foreach(folder IN LISTS folders)
    get_filename_component(op ${folder} NAME)
    file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${folder}/test*.cpp ${folder}/*_test.cpp)
    _megafold_tests(kernels_${op} "${tests}" "kernels" "" NO)
    if(MEGAFOLD_TESTS AND EXISTS ${folder}/bench.cpp)
      find_package(benchmark REQUIRED)
      add_executable(bench_${op} ${folder}/bench.cpp)
      _megafold_target(bench_${op} "kernels" "" NO)
      target_link_libraries(bench_${op} PRIVATE benchmark::benchmark)
    endif()
  endforeach()
endfunction()
