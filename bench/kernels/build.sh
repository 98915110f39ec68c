#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
# Builds the kernels and entry.cpp into one shared library:
#   build.sh FOLDER [portable]  ->  FOLDER/libmegafold_kernels.so
# With `portable` it holds the portable kernels too, for sm_90 (36 files of ten seconds each).
# NVCC_FLAGS are added, for a variant of a kernel. Needs nvcc alone; objects that are newer than every source are kept.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$(realpath -m "${1:?usage: build.sh FOLDER [portable]}")
nvcc=${NVCC:-/usr/local/cuda/bin/nvcc}
mkdir -p "$out"
cd "$root"
sources=(kernels/*/sm90a/*.cu bench/kernels/entry.cpp)
flags=(-std=c++20 -O3 -I. -lineinfo --expt-relaxed-constexpr -Xcompiler=-fPIC,-Wall -Xptxas=-warn-spills ${NVCC_FLAGS:-})
if [ "${2:-}" = portable ]; then
  flags+=(-DMEGAFOLD_CUDA=1 -DMEGAFOLD_BENCH_PORTABLE=1 -DFMT_HEADER_ONLY=1 -Isrc)
  sources+=(kernels/evo_attention/portable/*.cu kernels/evo_attention/portable/portable.cpp
    kernels/evo_attention/dispatch.cpp kernels/evo_attention/reference.cpp kernels/evo_attention/cpu.cpp
    kernels/common/arch/host/launch_error.cpp)
fi
objects=()
for source in "${sources[@]}"; do
  object=$out/$(echo "$source" | tr / _).o
  objects+=("$object")
  if [ -e "$object" ] && [ -z "$(find kernels bench/kernels -newer "$object" -name '*.[ch]*')" ]; then continue; fi
  echo "$source"
  arch=90a
  [[ $source == */portable/* ]] && arch=90
  [[ $source == */cpu.cpp ]] && own=(-Xcompiler=-march=x86-64-v3,-fopenmp) || own=()
  "$nvcc" "${flags[@]}" "${own[@]}" "-gencode=arch=compute_$arch,code=sm_$arch" -c "$source" -o "$object"
done
"$nvcc" -shared -cudart=static -gencode=arch=compute_90a,code=sm_90a -Xcompiler=-fopenmp "${objects[@]}" \
  -o "$out/libmegafold_kernels.so"
ls -l "$out/libmegafold_kernels.so"
