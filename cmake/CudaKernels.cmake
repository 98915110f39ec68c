# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
# The GPU kernels' sources and flags: the same for the program (CMakeLists.txt) and the Python package (python/).
set(MEGAFOLD_CUDA_ARCHITECTURES "80;90" CACHE STRING "GPUs that the portable kernels hold machine code for: \
a newer GPU compiles the lowest one's PTX when it starts. 90 alone makes libraries a third smaller, for Hopper and \
newer. The kernels of sm90a/ are always built: only Hopper runs them")
if(NOT MEGAFOLD_CUDA_ARCHITECTURES MATCHES "^[0-9]+(;[0-9]+)*$")
  message(FATAL_ERROR "MEGAFOLD_CUDA_ARCHITECTURES is '${MEGAFOLD_CUDA_ARCHITECTURES}': give numbers, e.g. '80;90' or 90")
endif()

# megafold_cuda_sources(OUT): the .cu files under ROOT/kernels, each with the GPUs it is compiled for.
function(megafold_cuda_sources out root)
  file(GLOB portable CONFIGURE_DEPENDS ${root}/kernels/*/portable/*.cu)
  file(GLOB sm90a CONFIGURE_DEPENDS ${root}/kernels/*/sm90a/*.cu)
  set(numbers ${MEGAFOLD_CUDA_ARCHITECTURES})
  list(SORT numbers COMPARE NATURAL)
  list(GET numbers 0 lowest)
  if(lowest LESS 80)
    message(FATAL_ERROR "MEGAFOLD_CUDA_ARCHITECTURES has ${lowest}: the kernels need 80 (Ampere) or newer")
  endif()
  list(TRANSFORM numbers PREPEND "sm_" OUTPUT_VARIABLE codes)
  list(JOIN codes "," codes)
  set_source_files_properties(${portable} PROPERTIES
    COMPILE_OPTIONS "-gencode=arch=compute_${lowest},code=[${codes},compute_${lowest}]")
  set_source_files_properties(${sm90a} PROPERTIES COMPILE_OPTIONS "-gencode=arch=compute_90a,code=sm_90a")
  set(${out} ${portable} ${sm90a} PARENT_SCOPE)
endfunction()

# Flags of the target that compiles them.
function(megafold_cuda_flags target)
  set_target_properties(${target} PROPERTIES CUDA_ARCHITECTURES OFF CUDA_VISIBILITY_PRESET hidden)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo --expt-relaxed-constexpr
    -Xptxas=-warn-spills -Xcompiler=-Wall>)
endfunction()
