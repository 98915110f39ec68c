// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Threads that make samples ahead of the step. They finish in any order; visits are handed out in
// theirs, and a visit's bytes depend on (cache, options, seed, visit) alone: the same sequence with
// any number of threads and after a resume. A sample that takes longer than the deadline is not
// waited for: its entry goes into the quarantine, from that visit on, and another thread takes the
// place of the one that hangs. With the same quarantine file the sequence is the same again.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "batch/quarantine.h"
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
  /// Seconds from the start of a sample's making; 0: none. With samples made `queue` visits ahead
  /// of steps of s seconds, a deadline below queue * s is met without a wait.
  double deadline = 0;
  int max_hanging = 16;                   // threads that hang at once before next() gives up
  std::filesystem::path quarantine = {};  // file; empty: in memory alone
};

/// A visit that gave no batch.
struct SkippedVisit {
  uint64_t visit;
  std::string entry;
  std::string reason;
};

class Loader {
 public:
  /// Reads the quarantine file where there is one.
  Loader(std::shared_ptr<const CacheReader> cache, Sampler sampler, BatchOptions samples,
         LoaderOptions options, uint64_t seed);
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  /// Waits for samples in the making, but not for those past their deadline: their threads keep
  /// what they use, and end when they can.
  ~Loader();

  /// The next visit's batch. Visits to entries in the quarantine are skipped. Throws what making it
  /// threw, with entry and visit in front; with skip_broken its entry goes into the quarantine
  /// instead. Throws Device when max_skips_in_a_row or max_hanging is reached.
  Batch next();
  /// Whether next() would not wait for its first visit.
  [[nodiscard]] bool ready() const;

  /// The visit that next() will look at first: what a checkpoint keeps.
  [[nodiscard]] uint64_t next_visit() const { return next_visit_; }
  /// Seconds that next() has waited in all, and that the threads have worked, summed over them.
  [[nodiscard]] double waited_seconds() const { return waited_; }
  [[nodiscard]] double worked_seconds() const;
  /// Everything skipped so far: to be reported and written down by the caller.
  [[nodiscard]] const std::vector<SkippedVisit>& skipped() const { return skipped_; }
  [[nodiscard]] const Sampler& sampler() const;

 private:
  struct Shared;
  struct Worker {
    uint64_t number;
    std::thread thread;
  };
  void start_worker();
  /// Lets a thread that hangs go its way and starts another.
  void replace_worker(uint64_t number);
  /// Waits for the next visit and takes it off the queue: its batch or its error. Comes back with
  /// the reason where it is left out.
  std::string wait_for(uint64_t visit, const std::string& entry, std::optional<Batch>& batch,
                       std::exception_ptr& error);

  std::shared_ptr<Shared> shared_;
  // Of the caller's thread alone.
  uint64_t next_visit_;
  double waited_ = 0;
  std::vector<SkippedVisit> skipped_;
  std::list<Worker> workers_;
  uint64_t workers_made_ = 0;
};

}  // namespace megafold
