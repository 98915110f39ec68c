// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Threads for CPU kernels: OpenMP, so that they share one pool with ATen (two pools on the same
// cores cost more than they bring). Work is cut by its size alone, never by the number of threads,
// so that sums are taken in the same order on any machine.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace megafold::kernels {

/// Calls f(i) for i = 0 .. n - 1, in any order and on several threads.
template <class F>
void parallel_for(int64_t n, F&& f) {
#pragma omp parallel for schedule(dynamic) if (n > 1)
  for (int64_t i = 0; i < n; ++i) f(i);
}

/// Threads that work on `n` tasks of a parallel_for_threads.
inline int64_t threads_for(int64_t n) {
  return std::clamp<int64_t>(n, 1, omp_get_max_threads());
}

/// Calls f(i, thread) with thread in 0 .. threads_for(n) - 1: the index of memory that a thread
/// keeps for itself. (A team of more threads than tasks would number its working ones beyond n.)
template <class F>
void parallel_for_threads(int64_t n, F&& f) {
#pragma omp parallel for schedule(dynamic) num_threads(static_cast<int>(threads_for(n)))
  for (int64_t i = 0; i < n; ++i) f(i, static_cast<int64_t>(omp_get_thread_num()));
}

/// Cuts 0 .. n - 1 into blocks of `block` and calls f(index, begin, end) for each.
template <class F>
void parallel_blocks(int64_t n, int64_t block, F&& f) {
  parallel_for((n + block - 1) / block,
               [&](int64_t b) { f(b, b * block, n < (b + 1) * block ? n : (b + 1) * block); });
}

}  // namespace megafold::kernels
