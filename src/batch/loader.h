// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Threads that make samples ahead of the step. Visits are handed out in their order, and a visit's
// bytes depend on (cache, options, seed, visit) alone: the same sequence with any number of threads
// and after a resume.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "batch/sample.h"
#include "batch/sampling.h"
#include "cache/reader.h"

namespace megafold {

struct LoaderOptions {
  int threads = 1;
  int64_t queue = 4;         // visits ready or in the making beyond the one handed out last
  bool pin_memory = false;   // for copies to a GPU
  bool skip_broken = false;  // a sample that throws is skipped and listed; otherwise next() throws
  int64_t max_skips_in_a_row = 100;
  uint64_t first_visit = 0;  // where a resumed run goes on
};

/// A visit that gave no batch.
struct SkippedVisit {
  uint64_t visit;
  std::string entry;
  std::string reason;
};

class Loader {
 public:
  Loader(std::shared_ptr<const CacheReader> cache, Sampler sampler, BatchOptions samples,
         LoaderOptions options, uint64_t seed);
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  ~Loader();  // waits for samples in the making

  /// The next visit's batch. Throws what making it threw, with entry and visit in front; with
  /// skip_broken, only when max_skips_in_a_row is reached.
  Batch next();

  /// The visit that next() will look at first: what a checkpoint keeps.
  [[nodiscard]] uint64_t next_visit() const { return next_visit_; }
  /// Seconds that next() has waited in all, and that the threads have worked, summed over them.
  [[nodiscard]] double waited_seconds() const { return waited_; }
  [[nodiscard]] double worked_seconds() const;
  /// Everything skipped so far: to be reported and written down by the caller.
  [[nodiscard]] const std::vector<SkippedVisit>& skipped() const { return skipped_; }
  [[nodiscard]] const Sampler& sampler() const { return sampler_; }

 private:
  struct Slot {
    std::optional<Batch> batch;
    std::exception_ptr error;
    [[nodiscard]] bool ready() const { return batch.has_value() || error != nullptr; }
  };
  void work();
  Batch make(uint64_t visit) const;

  std::shared_ptr<const CacheReader> cache_;
  Sampler sampler_;
  BatchOptions samples_;
  LoaderOptions options_;
  uint64_t seed_;
  // Of the caller's thread alone.
  uint64_t next_visit_;
  double waited_ = 0;
  std::vector<SkippedVisit> skipped_;
  // Shared, under the mutex. Visit v lies in slot v % queue while first_kept_ <= v < + queue.
  mutable std::mutex mutex_;
  std::condition_variable slot_free_, slot_ready_;
  std::vector<Slot> slots_;
  uint64_t first_kept_;
  uint64_t next_to_make_;
  double worked_ = 0;
  bool stop_ = false;
  std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

}  // namespace megafold
