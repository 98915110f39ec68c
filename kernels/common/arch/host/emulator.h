// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs a kernel on the CPU: the blocks one after the other, a fiber for each thread of a block. A
// fiber runs until it meets others: at a barrier (the block), at a shuffle, a matrix product or an
// ldmatrix (the wave). Every access to shared memory is checked byte by byte:
//   - a race: two threads, no barrier between, at least one writes;
//   - a read of memory that the block has not written;
//   - an access to the target of an asynchronous copy before its thread has waited for it;
//   - an address outside the block's shared memory, or not aligned to the access.
// Threads that never reach a meeting the others wait at are reported too. Lane code sees plain
// functions; host/isa.h shapes them into a back end.
#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>

namespace megafold::kernels::arch::host {

/// What the checks found: kernel, block, threads, address.
struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Launch {
  const char* kernel = "";  // named in reports
  int64_t blocks = 1;
  int threads = 32;  // of a block, a multiple of `wave`
  int wave = 32;
  int shared_bytes = 0;
  bool backwards = false;  // resume threads last to first: a correct kernel gives the same bits
};

/// Runs kernel(block) for every block. Throws Violation, or what the kernel itself threw.
void run(const Launch& launch, const std::function<void(int64_t block)>& kernel);

// Called by a running kernel. Offsets are bytes into the block's shared memory.
int current_thread();
void barrier();
void shared_read(uint32_t offset, int bytes, void* to);
void shared_write(uint32_t offset, int bytes, const void* from);
/// Reads on behalf of another thread of the wave: a collective load.
void shared_read_as(int thread, uint32_t offset, int bytes, void* to);
/// 16 bytes that arrive when the thread waits for them; zeros, and `from` not read, if not valid.
void copy_async(uint32_t offset, const void* from, bool valid);
void copy_commit();
void copy_wait(int newest);  // all but the `newest` last groups of this thread

enum class Meeting : uint8_t { none, shuffle, load_matrix, product };
/// Waits until every lane of the wave is here with the same kind of meeting; the last to come calls
/// complete(arguments of lanes 0 .. wave - 1, number of the wave's first thread).
using Complete = void (*)(void* const* arguments, int first_thread);
void meet(Meeting kind, void* argument, Complete complete);

}  // namespace megafold::kernels::arch::host
