// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "train/feed.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

#include "train/samples.h"

namespace megafold {

DeviceFeed::DeviceFeed(Loader& loader, const at::Device& device)
    : loader_(loader), device_(device), next_visit_(loader.next_visit()) {
  if (!device_.is_cpu())
    copies_ = c10::impl::VirtualGuardImpl(device_.type()).getStreamFromGlobalPool(device_);
}

void DeviceFeed::take() {
  try {
    Batch host = loader_.next();
    const uint64_t checksum = batch_checksum(host);
    if (copies_) {
      // The copies' memory is this stream's. ATen keeps the pinned source until they are done.
      const c10::StreamGuard guard(*copies_);
      host = host.to(device_);
      copied_.emplace(device_.type());
      copied_->record(*copies_);
    }
    ahead_ = FedBatch{std::move(host), checksum};
  } catch (...) {
    error_ = std::current_exception();
  }
}

void DeviceFeed::prefetch() {
  if (!ahead_ && !error_ && loader_.ready()) take();
}

FedBatch DeviceFeed::next() {
  if (!ahead_ && !error_) take();
  next_visit_ = loader_.next_visit();
  skipped_ = loader_.skipped().size();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  FedBatch out = *std::move(ahead_);
  ahead_.reset();
  if (copies_) {
    const c10::Stream current = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
    copied_->block(current);
    // So that the next copy does not take memory that this stream still reads when it is freed.
    const auto used = [&](const char*, at::Tensor& tensor) { tensor.record_stream(current); };
    out.batch.for_each(used);
    out.batch.for_each_template(used);
  }
  return out;
}

}  // namespace megafold
