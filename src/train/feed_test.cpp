// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "train/feed.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/errors.h"
#include "batch/synthetic.h"
#include "train/samples.h"

namespace megafold {
namespace {

/// The synthetic cache, in which one entry cannot be read.
class BrokenCache : public synthetic::MemoryCache {
 public:
  explicit BrokenCache(std::string broken) : broken_(std::move(broken)) {
    const auto all = synthetic::cache();
    for (const std::string& id : all->entries()) add(id, all->structure(id));
    for (const char* const key : {"msa30", "msa40"}) add_alignment(all->alignment(key));
  }
  std::shared_ptr<const Record> structure(std::string_view id) const override {
    if (id == broken_) fail<Corrupt>("{}: damaged", id);
    return MemoryCache::structure(id);
  }

 private:
  std::string broken_;
};

Loader loader_over(std::shared_ptr<const CacheReader> cache, LoaderOptions options = {}) {
  Sampler sampler(uniform_elements(cache->entries()), 3);
  return Loader(std::move(cache), std::move(sampler), {.crop = {.tokens = 32}}, std::move(options),
                3);
}

void wait_until_ready(const Loader& loader) {
  while (!loader.ready()) std::this_thread::yield();
}

TEST(DeviceFeed, HandsOutTheLoadersBatchesWhateverWasTakenAhead) {
  Loader plain = loader_over(synthetic::cache());
  Loader loader = loader_over(synthetic::cache(), {.threads = 2, .queue = 3});
  DeviceFeed feed(loader, at::kCPU);
  EXPECT_EQ(feed.next_visit(), 0U);
  for (int i = 0; i < 20; ++i) {
    if (i % 3 != 0) {
      wait_until_ready(loader);
      feed.prefetch();
      feed.prefetch();  // one ahead, not two
      EXPECT_EQ(loader.next_visit(), feed.next_visit() + 1);
    }
    const Batch expected = plain.next();
    const auto [batch, checksum] = feed.next();
    EXPECT_EQ(batch.id, expected.id);
    EXPECT_EQ(batch.visit, expected.visit);
    EXPECT_EQ(feed.next_visit(), plain.next_visit());
    EXPECT_EQ(checksum, batch_checksum(expected));
    EXPECT_EQ(batch_checksum(batch), checksum);
  }
}

TEST(DeviceFeed, WhatGoesWrongAheadIsToldInItsPlace) {
  const Sampler sampler(uniform_elements(synthetic::cache()->entries()), 3);
  uint64_t broken = 1;  // the first visit to an entry that is not that of visit 0
  while (sampler.at(broken).entry == sampler.at(0).entry) ++broken;
  const auto cache = std::make_shared<BrokenCache>(sampler.at(broken).entry);

  Loader stopping = loader_over(cache);
  DeviceFeed strict(stopping, at::kCPU);
  for (uint64_t visit = 0; visit < broken; ++visit) {
    EXPECT_EQ(strict.next().batch.visit, visit);
    wait_until_ready(stopping);
    EXPECT_NO_THROW(strict.prefetch());
  }
  EXPECT_EQ(strict.next_visit(), broken) << "a checkpoint made now goes on at the broken visit";
  EXPECT_THROW((void)strict.next(), Corrupt);

  Loader skipping = loader_over(cache, {.skip_broken = true});
  DeviceFeed lenient(skipping, at::kCPU);
  for (uint64_t visit = 0; visit < broken; ++visit) (void)lenient.next();
  wait_until_ready(skipping);
  lenient.prefetch();
  EXPECT_EQ(skipping.skipped().size(), 1U);
  EXPECT_EQ(lenient.skipped().size(), 0U) << "it lies before a batch that no step has seen";
  EXPECT_GT(lenient.next().batch.visit, broken);
  EXPECT_EQ(lenient.skipped().size(), 1U);
}

TEST(DeviceFeed, CopiesBesideAStepLeaveItsBatchAlone) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "needs a GPU";
  const at::Device device(at::kCUDA, 0);
  Loader loader = loader_over(synthetic::cache(), {.threads = 2, .pin_memory = true});
  DeviceFeed feed(loader, device);
  at::Tensor work = at::rand({4096, 4096}, at::TensorOptions(device));
  std::vector<std::pair<Batch, uint64_t>> seen;
  for (int i = 0; i < 50; ++i) {
    auto [batch, checksum] = feed.next();
    EXPECT_TRUE(batch.restype.is_cuda());
    // The stream is busy when the batch is given up and the next is copied; it reads it only then.
    for (int k = 0; k < 4; ++k) work = at::softmax(at::matmul(work, work), -1);
    Batch read = batch;
    const auto keep = [](const char*, at::Tensor& tensor) { tensor = tensor.clone(); };
    read.for_each(keep);
    read.for_each_template(keep);
    seen.emplace_back(std::move(read), checksum);
    batch = Batch();
    wait_until_ready(loader);
    feed.prefetch();
  }
  for (auto& [batch, checksum] : seen) {
    const auto back = [](const char*, at::Tensor& tensor) { tensor = tensor.cpu(); };
    batch.for_each(back);
    batch.for_each_template(back);
    EXPECT_EQ(batch_checksum(batch), checksum) << "visit " << batch.visit;
  }
}

}  // namespace
}  // namespace megafold
