// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dispatch_counts.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>

namespace megafold::kernels {
namespace {

struct Counter {
  std::mutex mutex;
  std::map<std::tuple<std::string, std::string, Reasons>, int64_t> calls;
};

Counter& counter() {
  static Counter counter;
  return counter;
}

}  // namespace

std::vector<DispatchCount> dispatch_counts() {
  std::vector<DispatchCount> counts;
  {
    const std::scoped_lock lock(counter().mutex);
    for (const auto& [key, calls] : counter().calls) {
      const auto& [operation, implementation, refused] = key;
      counts.push_back({operation, implementation, refused, calls});
    }
  }
  std::ranges::stable_sort(counts, [](const DispatchCount& a, const DispatchCount& b) {
    return std::tuple(std::string_view(a.operation), -a.calls) <
           std::tuple(std::string_view(b.operation), -b.calls);
  });
  return counts;
}

void count_dispatch(std::string_view operation, std::string_view implementation,
                    const Reasons& refused) {
  const std::scoped_lock lock(counter().mutex);
  ++counter().calls[{std::string(operation), std::string(implementation), refused}];
}

void reset_dispatch_counts() {
  const std::scoped_lock lock(counter().mutex);
  counter().calls.clear();
}

}  // namespace megafold::kernels
