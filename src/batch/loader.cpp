// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/loader.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "base/errors.h"

namespace megafold {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Throws the error again, of its own type, saying which sample it was.
[[noreturn]] void rethrow(const std::exception_ptr& error, const std::string& entry,
                          uint64_t visit) {
  try {
    std::rethrow_exception(error);
  } catch (const BadInput& e) {
    fail<BadInput>("visit {}, entry {}: {}", visit, entry, e.what());
  } catch (const Corrupt& e) {
    fail<Corrupt>("visit {}, entry {}: {}", visit, entry, e.what());
  } catch (const Unsupported& e) {
    fail<Unsupported>("visit {}, entry {}: {}", visit, entry, e.what());
  } catch (const std::bad_alloc&) {
    fail<Device>("visit {}, entry {}: out of memory; lower data.crop.tokens or data.msa.max_rows",
                 visit, entry);
  } catch (const std::exception& e) {
    fail<Device>("visit {}, entry {}: {}", visit, entry, e.what());
  }
}

}  // namespace

/// What the threads and the loader share; a thread that hangs keeps it alive.
struct Loader::Shared {
  struct Slot {
    std::optional<Batch> batch;
    std::exception_ptr error;
    bool left_out = false;                     // the entry is in the quarantine
    std::optional<Clock::time_point> started;  // of its making
    uint64_t worker = 0;                       // that makes it
    [[nodiscard]] bool ready() const { return batch.has_value() || error != nullptr || left_out; }
  };

  Shared(std::shared_ptr<const CacheReader> cache_in, Sampler sampler_in, BatchOptions samples_in,
         LoaderOptions options_in, uint64_t seed_in)
      : cache(std::move(cache_in)),
        sampler(std::move(sampler_in)),
        samples(std::move(samples_in)),
        options(std::move(options_in)),
        seed(seed_in),
        slots(static_cast<size_t>(options.queue)),
        first_kept(options.first_visit),
        next_to_make(options.first_visit) {
    if (!options.quarantine.empty()) quarantine = Quarantine(options.quarantine);
  }

  [[nodiscard]] Slot& slot_of(uint64_t visit) { return slots[visit % slots.size()]; }
  [[nodiscard]] Clock::time_point late_after(Clock::time_point started) const {
    return started + std::chrono::duration_cast<Clock::duration>(
                         std::chrono::duration<double>(options.deadline));
  }

  [[nodiscard]] Batch make(uint64_t visit) const {
    const SamplingElement& element = sampler.at(visit);
    const StructureView structure(cache->structure(element.entry));
    Batch batch = make_batch(
        structure, [this](const std::string& key) { return cache->alignment(key); }, samples,
        element.preferred, seed, visit,
        [this](const std::string& key) { return cache->templates(key); });
    if (options.pin_memory) {
      const auto pin = [](const char*, at::Tensor& tensor) { tensor = tensor.pin_memory(); };
      batch.for_each(pin);
      batch.for_each_template(pin);
    }
    return batch;
  }

  /// A thread's life, until it is told to stop or has been abandoned.
  void work(uint64_t worker) {
    std::unique_lock lock(mutex);
    for (;;) {
      slot_free.wait(lock, [&] { return stop || next_to_make < first_kept + slots.size(); });
      if (stop) break;
      const uint64_t visit = next_to_make++;
      Slot& slot = slot_of(visit);
      if (quarantine.find(sampler.at(visit).entry, visit) != nullptr) {
        slot.left_out = true;
        slot_ready.notify_one();
        continue;
      }
      const auto start = Clock::now();
      busy[worker] = start;
      slot.started = start;
      slot.worker = worker;
      slot_ready.notify_one();  // its deadline is known now
      lock.unlock();
      std::optional<Batch> batch;
      std::exception_ptr error;
      try {
        batch = make(visit);
      } catch (...) {
        error = std::current_exception();
      }
      const double seconds = seconds_since(start);
      lock.lock();
      worked += seconds;
      if (abandoned.erase(worker) > 0) return;  // too late: the slot is another visit's by now
      busy.erase(worker);
      slot.batch = std::move(batch);
      slot.error = error;
      slot_ready.notify_one();
    }
    ended.insert(worker);
    slot_ready.notify_all();
  }

  /// Waits until `worker` has ended, or its sample is past the deadline: then it is abandoned, and
  /// false comes back.
  bool wait_for_end(uint64_t worker) {
    std::unique_lock lock(mutex);
    while (!ended.contains(worker)) {
      const auto making = busy.find(worker);
      if (making == busy.end() || options.deadline <= 0) {
        slot_ready.wait(lock);
      } else if (const auto until = late_after(making->second); Clock::now() >= until) {
        abandoned[worker];
        return false;
      } else {
        slot_ready.wait_until(lock, until);
      }
    }
    return true;
  }

  const std::shared_ptr<const CacheReader> cache;
  const Sampler sampler;
  const BatchOptions samples;
  const LoaderOptions options;
  const uint64_t seed;

  // Under the mutex. Visit v has slot v % queue while first_kept <= v < first_kept + queue.
  std::mutex mutex;
  std::condition_variable slot_free, slot_ready;
  std::vector<Slot> slots;
  Quarantine quarantine;
  std::map<uint64_t, Clock::time_point> busy;  // workers that make a sample, and since when
  std::map<uint64_t, std::string> abandoned;   // workers that hang, and on which entry
  std::set<uint64_t> ended;
  uint64_t first_kept;
  uint64_t next_to_make;
  double worked = 0;
  bool stop = false;
};

Loader::Loader(std::shared_ptr<const CacheReader> cache, Sampler sampler, BatchOptions samples,
               LoaderOptions options, uint64_t seed)
    : next_visit_(options.first_visit) {
  if (options.threads < 1 || options.queue < 1)
    fail<BadInput>("a loader needs at least one thread and one place in its queue, not {} and {}",
                   options.threads, options.queue);
  const int threads = options.threads;
  shared_ = std::make_shared<Shared>(std::move(cache), std::move(sampler), samples,
                                     std::move(options), seed);
  for (int i = 0; i < threads; ++i) start_worker();
}

Loader::~Loader() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->slot_free.notify_all();
  for (Worker& worker : workers_) {
    if (shared_->wait_for_end(worker.number))
      worker.thread.join();
    else
      worker.thread.detach();
  }
}

void Loader::start_worker() {
  const uint64_t number = ++workers_made_;
  workers_.push_back({number, std::thread([shared = shared_, number] { shared->work(number); })});
}

void Loader::replace_worker(uint64_t number) {
  const auto worker = std::ranges::find(workers_, number, &Worker::number);
  worker->thread.detach();
  workers_.erase(worker);
  const std::lock_guard lock(shared_->mutex);
  if (static_cast<int>(shared_->abandoned.size()) >= shared_->options.max_hanging) {
    std::set<std::string> entries;
    for (const auto& [other, id] : shared_->abandoned) entries.insert(id);
    fail<Device>(
        "{} samples hang at once (entries {}), each for more than {} s (data.deadline): does the "
        "disk that holds the cache still answer?",
        shared_->abandoned.size(), fmt::join(entries, ", "), shared_->options.deadline);
  }
  start_worker();
}

std::string Loader::wait_for(uint64_t visit, const std::string& entry, std::optional<Batch>& batch,
                             std::exception_ptr& error) {
  Shared& shared = *shared_;
  const auto begin = Clock::now();
  std::optional<uint64_t> hanging;
  std::string reason;
  {
    std::unique_lock lock(shared.mutex);
    Shared::Slot& slot = shared.slot_of(visit);
    // A visit is begun before all later ones, so one that is not begun waits for a thread that is
    // free or soon will be.
    while (!slot.ready() && !hanging) {
      if (!slot.started || shared.options.deadline <= 0) {
        shared.slot_ready.wait(lock);
      } else if (const auto until = shared.late_after(*slot.started);
                 Clock::now() < until && shared.quarantine.find(entry, visit) == nullptr) {
        shared.slot_ready.wait_until(lock, until);
      } else {
        hanging = slot.worker;
        shared.busy.erase(slot.worker);
        shared.abandoned[slot.worker] = entry;
      }
    }
    // Also where it was made before its entry came into the quarantine: what is handed out must not
    // depend on how far ahead the threads were.
    if (const Quarantined* const known = shared.quarantine.find(entry, visit)) {
      reason = fmt::format("in quarantine since visit {}: {}", known->visit, known->reason);
    } else if (hanging) {
      reason = fmt::format("not ready after {} s (data.deadline)", shared.options.deadline);
      shared.quarantine.add(entry, visit, reason);
    }
    batch = std::move(slot.batch);
    error = slot.error;
    slot = {};
    ++shared.first_kept;
    ++next_visit_;
  }
  waited_ += seconds_since(begin);
  shared.slot_free.notify_all();
  if (hanging) replace_worker(*hanging);
  return reason;
}

Batch Loader::next() {
  const LoaderOptions& options = shared_->options;
  for (int64_t skips = 1;; ++skips) {
    const uint64_t visit = next_visit_;
    const std::string& entry = shared_->sampler.at(visit).entry;
    std::optional<Batch> batch;
    std::exception_ptr error;
    const std::string reason = wait_for(visit, entry, batch, error);
    if (reason.empty() && batch) return *std::move(batch);
    std::string message = fmt::format("visit {}, entry {}: {}", visit, entry, reason);
    if (reason.empty()) {
      try {
        rethrow(error, entry, visit);
      } catch (const std::exception& failure) {
        if (!options.skip_broken) throw;
        message = failure.what();
        const std::lock_guard lock(shared_->mutex);
        shared_->quarantine.add(entry, visit, message);
      }
    }
    skipped_.push_back({visit, entry, message});
    if (skips >= options.max_skips_in_a_row)
      fail<Device>("{} visits in a row gave no sample; the last: {}", skips, message);
  }
}

bool Loader::ready() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->slot_of(next_visit_).ready();
}

double Loader::worked_seconds() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->worked;
}

const Sampler& Loader::sampler() const {
  return shared_->sampler;
}

}  // namespace megafold
