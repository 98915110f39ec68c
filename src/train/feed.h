// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The loader's batches, on the device. Two of them are there at most: the one that a step reads,
// and the next, whose copy from pinned memory runs on a stream of its own beside that step.
#pragma once

#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <exception>
#include <optional>
#include <span>

#include "batch/loader.h"

namespace megafold {

/// A loader's batch where the model reads it.
struct FedBatch {
  Batch batch;
  uint64_t checksum = 0;  // batch_checksum() of it
};

/// Used from one thread. The loader outlives it.
class DeviceFeed {
 public:
  DeviceFeed(Loader& loader, const at::Device& device);

  /// Begins the next batch's copy, if that batch is made and its copy has not begun. To be called
  /// when the step has given the device its work. What goes wrong here next() throws.
  void prefetch();
  /// The next batch, in the loader's order, for the current stream. Throws as Loader::next() does.
  FedBatch next();

  /// The visit that next() will look at first, and what was skipped before it: they depend on what
  /// was handed out, not on what prefetch() took.
  [[nodiscard]] uint64_t next_visit() const { return next_visit_; }
  [[nodiscard]] std::span<const SkippedVisit> skipped() const {
    return std::span(loader_.skipped()).first(skipped_);
  }

 private:
  void take();

  Loader& loader_;
  at::Device device_;
  std::optional<c10::Stream> copies_;  // none where the model is on the CPU
  std::optional<c10::Event> copied_;   // of ahead_
  std::optional<FedBatch> ahead_;
  std::exception_ptr error_;  // in the place of ahead_
  uint64_t next_visit_;
  size_t skipped_ = 0;
};

}  // namespace megafold
