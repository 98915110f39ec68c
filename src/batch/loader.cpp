// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/loader.h"

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

Loader::Loader(std::shared_ptr<const CacheReader> cache, Sampler sampler, BatchOptions samples,
               LoaderOptions options, uint64_t seed)
    : cache_(std::move(cache)),
      sampler_(std::move(sampler)),
      samples_(samples),
      options_(options),
      seed_(seed),
      next_visit_(options.first_visit),
      first_kept_(options.first_visit),
      next_to_make_(options.first_visit) {
  if (options_.threads < 1 || options_.queue < 1)
    fail<BadInput>("a loader needs at least one thread and one place in its queue, not {} and {}",
                   options_.threads, options_.queue);
  slots_.resize(static_cast<size_t>(options_.queue));
  for (int i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { work(); });
}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  slot_free_.notify_all();
}

Batch Loader::make(uint64_t visit) const {
  const SamplingElement& element = sampler_.at(visit);
  const StructureView structure(cache_->structure(element.entry));
  Batch batch = make_batch(
      structure, [this](const std::string& key) { return cache_->alignment(key); }, samples_,
      element.preferred, seed_, visit);
  if (options_.pin_memory)
    batch.for_each([](const char*, at::Tensor& tensor) { tensor = tensor.pin_memory(); });
  return batch;
}

void Loader::work() {
  std::unique_lock lock(mutex_);
  const auto queue = static_cast<uint64_t>(options_.queue);
  for (;;) {
    slot_free_.wait(lock, [&] { return stop_ || next_to_make_ < first_kept_ + queue; });
    if (stop_) return;
    const uint64_t visit = next_to_make_++;
    lock.unlock();
    Slot made;
    const auto start = Clock::now();
    try {
      made.batch = make(visit);
    } catch (...) {
      made.error = std::current_exception();
    }
    const double seconds = seconds_since(start);
    lock.lock();
    worked_ += seconds;
    slots_[visit % queue] = std::move(made);
    slot_ready_.notify_one();
  }
}

Batch Loader::next() {
  const auto queue = static_cast<uint64_t>(options_.queue);
  for (int64_t skips = 0;; ++skips) {
    const uint64_t visit = next_visit_;
    Slot slot;
    const auto start = Clock::now();
    {
      std::unique_lock lock(mutex_);
      slot_ready_.wait(lock, [&] { return slots_[visit % queue].ready(); });
      slot = std::exchange(slots_[visit % queue], {});
      ++first_kept_;
    }
    waited_ += seconds_since(start);
    slot_free_.notify_one();
    ++next_visit_;
    if (slot.batch) return *std::move(slot.batch);
    const std::string& entry = sampler_.at(visit).entry;
    try {
      rethrow(slot.error, entry, visit);
    } catch (const std::exception& error) {
      if (!options_.skip_broken) throw;
      skipped_.push_back({visit, entry, error.what()});
      if (skips + 1 >= options_.max_skips_in_a_row) throw;
    }
  }
}

double Loader::worked_seconds() const {
  const std::lock_guard lock(mutex_);
  return worked_;
}

}  // namespace megafold
