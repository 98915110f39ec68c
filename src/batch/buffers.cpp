// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/buffers.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

namespace megafold {
namespace {

constexpr size_t kSmallest = 4096;           // below that the pool would cost more
constexpr size_t kKept = size_t{512} << 20;  // bytes that may lie idle
constexpr size_t kAlignment = 64;

class Pool {
 public:
  void* take(size_t bytes) {
    {
      const std::scoped_lock lock(mutex_);
      if (auto found = idle_.find(bytes); found != idle_.end() && !found->second.empty()) {
        void* const out = found->second.back();
        found->second.pop_back();
        idle_bytes_ -= bytes;
        return out;
      }
    }
    void* const out = std::aligned_alloc(kAlignment, bytes);
    if (out == nullptr) throw std::bad_alloc();
    return out;
  }
  void give(void* buffer, size_t bytes) {
    {
      const std::scoped_lock lock(mutex_);
      if (idle_bytes_ + bytes <= kKept) {
        idle_[bytes].push_back(buffer);
        idle_bytes_ += bytes;
        return;
      }
    }
    std::free(buffer);
  }

 private:
  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> idle_;  // by size
  size_t idle_bytes_ = 0;
};

/// Never destroyed: a tensor may outlive every static.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

}  // namespace

at::Tensor pooled_tensor(at::IntArrayRef sizes, at::ScalarType type) {
  size_t bytes = at::elementSize(type);
  for (const int64_t size : sizes) bytes *= static_cast<size_t>(size);
  if (bytes < kSmallest) return at::empty(sizes, type);
  // Four sizes to each power of two, so that samples of nearly one size share buffers.
  const size_t step = std::bit_floor(bytes) / 4;
  const size_t rounded = (bytes + step - 1) / step * step;
  void* const buffer = pool().take(rounded);
  return at::from_blob(
      buffer, sizes, [rounded](void* data) { pool().give(data, rounded); },
      at::TensorOptions().dtype(type));
}

}  // namespace megafold
