#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
# Builds the kernels and entry.cpp into one shared library:  build.sh FOLDER  ->  FOLDER/libmegafold_kernels.so
# Needs nvcc alone; objects that are newer than every source are kept.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$(realpath -m "${1:?usage: build.sh FOLDER}")
nvcc=${NVCC:-/usr/local/cuda/bin/nvcc}
mkdir -p "$out"
cd "$root"
objects=()
for source in kernels/*/sm90a/*.cu bench/kernels/entry.cpp; do
  object=$out/$(echo "$source" | tr / _).o
  objects+=("$object")
  if [ -e "$object" ] && [ -z "$(find kernels bench/kernels -newer "$object" -name '*.[ch]*')" ]; then continue; fi
  echo "$source"
  "$nvcc" -std=c++20 -O3 -I. -lineinfo --expt-relaxed-constexpr -gencode=arch=compute_90a,code=sm_90a \
    -Xcompiler=-fPIC,-Wall -Xptxas=-warn-spills -c "$source" -o "$object"
done
"$nvcc" -shared -cudart=static -gencode=arch=compute_90a,code=sm_90a "${objects[@]}" -o "$out/libmegafold_kernels.so"
ls -l "$out/libmegafold_kernels.so"
