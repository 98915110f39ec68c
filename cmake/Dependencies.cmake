# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
# Third-party libraries under short names, so that the table in CMakeLists.txt stays readable.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(ZLIB REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_path(GEMMI_INCLUDE gemmi/mmcif.hpp REQUIRED)  # Debian's gemmi-dev: headers alone, no CMake package
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

add_library(gemmi_headers INTERFACE)
target_include_directories(gemmi_headers SYSTEM INTERFACE ${GEMMI_INCLUDE})

set(megafold_third_spdlog spdlog::spdlog)
set(megafold_third_json nlohmann_json::nlohmann_json)
set(megafold_third_crypto OpenSSL::Crypto)
set(megafold_third_xxhash PkgConfig::XXHASH)
set(megafold_third_zstd PkgConfig::ZSTD)
set(megafold_third_zlib ZLIB::ZLIB)
set(megafold_third_gemmi gemmi_headers)
set(megafold_third_yaml yaml-cpp)
set(megafold_third_cli11 CLI11::CLI11)

# LibTorch is the C++ side of the `torch` wheel in .venv. Its own CMake package stops where there is no
# CUDA toolkit, so the libraries are imported here by hand.
file(GLOB torch_candidates ${CMAKE_SOURCE_DIR}/.venv/lib/python3.*/site-packages/torch)
list(APPEND torch_candidates "")
list(GET torch_candidates 0 torch_default)
set(MEGAFOLD_TORCH "${torch_default}" CACHE PATH "The torch package's folder (site-packages/torch)")
if(NOT EXISTS "${MEGAFOLD_TORCH}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "No LibTorch in '${MEGAFOLD_TORCH}': run ./dev setup, or pass -DMEGAFOLD_TORCH=DIR")
endif()
function(import_torch name file)
  add_library(torch::${name} SHARED IMPORTED)
  set_target_properties(torch::${name} PROPERTIES
    IMPORTED_LOCATION ${MEGAFOLD_TORCH}/lib/${file}
    IMPORTED_NO_SONAME FALSE)
  # After the system's headers: the wheel carries a copy of fmt that must not stand before the one that
  # spdlog was built with.
  target_compile_options(torch::${name} INTERFACE "SHELL:-idirafter \"${MEGAFOLD_TORCH}/include\"")
endfunction()
import_torch(c10 libc10.so)
import_torch(cpu libtorch_cpu.so)
target_link_libraries(torch::cpu INTERFACE torch::c10)
# The OpenMP that ATen uses: one pool of threads for its operators and for our CPU kernels.
import_torch(gomp libgomp.so.1)
if(MEGAFOLD_CUDA)
  find_package(CUDAToolkit REQUIRED)
  import_torch(c10_cuda libc10_cuda.so)
  import_torch(cuda libtorch_cuda.so)
  target_link_libraries(torch::cuda INTERFACE torch::cpu torch::c10_cuda CUDA::cudart)
  # Nothing refers to libtorch_cuda.so by name: its operators register themselves when it is loaded. Its
  # own needs (cuBLAS, cuDNN ...) are found beside it when the program starts, not when it is linked.
  target_link_options(torch::cuda INTERFACE LINKER:--no-as-needed LINKER:--allow-shlib-undefined)
endif()

# libtorch_cpu.so of this wheel needs libcudart.so.13 and libcupti.so.13, also where there is no GPU.
# They come as wheels beside it; a program finds them by its own run path, so nothing is installed.
file(GLOB nvidia_folders ${MEGAFOLD_TORCH}/../nvidia/*/lib)
set(megafold_rpath ${MEGAFOLD_TORCH}/lib ${nvidia_folders})
