// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/arch/host/emulator.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "kernels/common/arch/host/fiber.h"

namespace megafold::kernels::arch::host {
namespace {

constexpr int kNobody = -1, kSeveral = -2;
constexpr int kCopyBytes = 16;

/// What is known of one byte of shared memory. An epoch is the time between two barriers of a
/// block; epochs count up over all blocks, so a new block needs no clearing.
struct Byte {
  uint32_t write_epoch = 0, read_epoch = 0;
  int16_t writer = kNobody, reader = kNobody;
  int16_t copying = kNobody;  // thread with an unfinished asynchronous copy to here
};

struct Copy {
  uint32_t offset;
  const void* from;
  bool valid;
};

enum class State : uint8_t { ready, at_meeting, at_barrier, done };

struct Thread {
  std::unique_ptr<Fiber> fiber;
  State state = State::ready;
  std::vector<Copy> copies;        // not yet arrived, oldest first
  std::vector<size_t> group_ends;  // positions in `copies`, one per committed group
};

struct Wave {
  Meeting kind = Meeting::none;
  int arrived = 0;
  std::vector<void*> arguments;
};

const char* name_of(Meeting kind) {
  switch (kind) {
    case Meeting::shuffle:
      return "a shuffle";
    case Meeting::load_matrix:
      return "a matrix load";
    case Meeting::product:
      return "a matrix product";
    case Meeting::none:
      break;
  }
  return "nothing";
}

class Emulator {
 public:
  Emulator(const Launch& launch, const std::function<void(int64_t)>& kernel)
      : launch_(launch),
        kernel_(kernel),
        threads_(static_cast<size_t>(launch.threads)),
        waves_(static_cast<size_t>(launch.threads / launch.wave)),
        memory_(static_cast<size_t>(launch.shared_bytes)),
        bytes_(static_cast<size_t>(launch.shared_bytes)) {
    for (Thread& thread : threads_) {
      thread.fiber = std::make_unique<Fiber>();
    }
    for (Wave& wave : waves_) {
      wave.arguments.resize(static_cast<size_t>(launch.wave));
    }
  }

  void run_block(int64_t block) {
    block_ = block;
    first_epoch_ = ++epoch_;
    for (Thread& thread : threads_) {
      thread.state = State::ready;
      thread.fiber->start([](void* self) { static_cast<Emulator*>(self)->run_thread(); }, this);
    }
    while (step()) {
    }
    for (size_t t = 0; t < threads_.size(); ++t) {
      if (!threads_[t].copies.empty()) {
        fail(who(static_cast<int>(t)) + " ended with asynchronous copies it did not wait for");
      }
    }
  }

  int current() const { return current_; }

  void barrier() {
    Thread& me = thread(current_);
    me.state = State::at_barrier;
    me.fiber->suspend();
  }

  void meet(Meeting kind, void* argument, Complete complete) {
    Wave& wave = waves_[static_cast<size_t>(current_ / launch_.wave)];
    const int first = current_ / launch_.wave * launch_.wave;
    if (wave.arrived == 0) {
      wave.kind = kind;
    } else if (wave.kind != kind) {
      fail(who(current_) + " is at " + name_of(kind) + " while others of its wave are at " +
           name_of(wave.kind));
    }
    wave.arguments[static_cast<size_t>(current_ - first)] = argument;
    if (++wave.arrived < launch_.wave) {
      Thread& me = thread(current_);
      me.state = State::at_meeting;
      me.fiber->suspend();
      return;
    }
    complete(wave.arguments.data(), first);
    wave.arrived = 0;
    for (int t = first; t < first + launch_.wave; ++t) {
      thread(t).state = State::ready;
    }
  }

  void read(int reader, uint32_t offset, int size, void* to) {
    check_bounds(reader, offset, size, "reads");
    for (int i = 0; i < size; ++i) {
      Byte& byte = bytes_[offset + static_cast<uint32_t>(i)];
      check_copying(byte, reader, offset, size, "reads");
      if (byte.write_epoch < first_epoch_) {
        fail(who(reader) + " reads " + where(offset, size) + ", which its block has not written");
      }
      if (byte.write_epoch == epoch_ && byte.writer != reader) {
        fail("race: " + who(byte.writer) + " wrote and " + who(reader) + " reads " +
             where(offset, size) + " with no barrier between");
      }
      byte.reader = byte.read_epoch == epoch_ && byte.reader != reader
                        ? static_cast<int16_t>(kSeveral)
                        : static_cast<int16_t>(reader);
      byte.read_epoch = epoch_;
    }
    std::memcpy(to, memory_.data() + offset, static_cast<size_t>(size));
  }

  void write(uint32_t offset, int size, const void* from) {
    note_write(offset, size);
    std::memcpy(memory_.data() + offset, from, static_cast<size_t>(size));
  }

  void copy_async(uint32_t offset, const void* from, bool valid) {
    if (valid && reinterpret_cast<uintptr_t>(from) % kCopyBytes != 0) {
      fail(who(current_) + " copies 16 bytes from an address that is not 16-byte aligned");
    }
    note_write(offset, kCopyBytes);
    for (uint32_t i = 0; i < kCopyBytes; ++i) {
      bytes_[offset + i].copying = static_cast<int16_t>(current_);
    }
    thread(current_).copies.push_back({offset, from, valid});
  }

  void copy_commit() {
    Thread& me = thread(current_);
    me.group_ends.push_back(me.copies.size());
  }

  void copy_wait(int newest) {
    Thread& me = thread(current_);
    const auto kept = std::min(me.group_ends.size(), static_cast<size_t>(newest));
    const size_t groups = me.group_ends.size() - kept;
    if (groups == 0) {
      return;
    }
    const size_t end = me.group_ends[groups - 1];
    for (size_t c = 0; c < end; ++c) {
      const Copy& copy = me.copies[c];
      for (uint32_t i = 0; i < kCopyBytes; ++i) {
        bytes_[copy.offset + i].copying = kNobody;
      }
      note_write(copy.offset, kCopyBytes);
      if (copy.valid) {
        std::memcpy(memory_.data() + copy.offset, copy.from, kCopyBytes);
      } else {
        std::memset(memory_.data() + copy.offset, 0, kCopyBytes);
      }
    }
    me.copies.erase(me.copies.begin(), me.copies.begin() + static_cast<ptrdiff_t>(end));
    me.group_ends.erase(me.group_ends.begin(),
                        me.group_ends.begin() + static_cast<ptrdiff_t>(groups));
    for (size_t& group_end : me.group_ends) {
      group_end -= end;
    }
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Violation(std::string(launch_.kernel) + ", block " + std::to_string(block_) + ": " +
                    what);
  }

 private:
  Thread& thread(int t) { return threads_[static_cast<size_t>(t)]; }

  std::string who(int t) const {
    if (t < 0) {
      return "several threads";
    }
    return "thread " + std::to_string(t) + " (wave " + std::to_string(t / launch_.wave) +
           ", lane " + std::to_string(t % launch_.wave) + ")";
  }
  static std::string where(uint32_t offset, int size) {
    return std::to_string(size) + " bytes at shared address " + std::to_string(offset);
  }

  void check_bounds(int who_is, uint32_t offset, int size, const char* does) const {
    if (offset + static_cast<uint64_t>(size) > memory_.size()) {
      fail(who(who_is) + " " + does + " " + where(offset, size) + " of " +
           std::to_string(memory_.size()));
    }
    if (offset % static_cast<uint32_t>(size) != 0) {
      fail(who(who_is) + " " + does + " " + where(offset, size) + ", which is not aligned");
    }
  }

  void check_copying(const Byte& byte, int who_is, uint32_t offset, int size,
                     const char* does) const {
    if (byte.copying != kNobody) {
      fail("race: " + who(who_is) + " " + does + " " + where(offset, size) + " while " +
           who(byte.copying) + " has not waited for its asynchronous copy to there");
    }
  }

  void note_write(uint32_t offset, int size) {
    check_bounds(current_, offset, size, "writes");
    for (int i = 0; i < size; ++i) {
      Byte& byte = bytes_[offset + static_cast<uint32_t>(i)];
      check_copying(byte, current_, offset, size, "writes");
      if (byte.write_epoch == epoch_ && byte.writer != current_) {
        fail("race: " + who(byte.writer) + " and " + who(current_) + " write " +
             where(offset, size) + " with no barrier between");
      }
      if (byte.read_epoch == epoch_ && byte.reader != current_) {
        fail("race: " + who(byte.reader) + " read and " + who(current_) + " writes " +
             where(offset, size) + " with no barrier between");
      }
      byte.write_epoch = epoch_;
      byte.writer = static_cast<int16_t>(current_);
    }
  }

  void run_thread() {
    const int me = current_;
    try {
      kernel_(block_);
    } catch (...) {
      error_ = std::current_exception();
    }
    thread(me).state = State::done;
  }

  /// Resumes every ready thread once; false when all are done.
  bool step() {
    const int count = launch_.threads;
    bool moved = false;
    for (int i = 0; i < count; ++i) {
      const int t = launch_.backwards ? count - 1 - i : i;
      if (thread(t).state != State::ready) {
        continue;
      }
      moved = true;
      current_ = t;
      thread(t).fiber->resume();
      if (error_) {
        std::rethrow_exception(error_);
      }
    }
    if (moved) {
      return true;
    }
    const auto in = [&](State state) {
      return std::find_if(threads_.begin(), threads_.end(),
                          [&](const Thread& thread) { return thread.state == state; });
    };
    const auto at = [&](auto found) { return who(static_cast<int>(found - threads_.begin())); };
    const auto waiting = in(State::at_meeting), done = in(State::done),
               held = in(State::at_barrier);
    if (waiting != threads_.end()) {
      const Wave& wave = waves_[static_cast<size_t>((waiting - threads_.begin()) / launch_.wave)];
      fail(at(waiting) + " waits at " + name_of(wave.kind) + ", which " +
           std::to_string(launch_.wave - wave.arrived) + " of its wave never reached");
    }
    if (held == threads_.end()) {
      return false;
    }
    if (done != threads_.end()) {
      fail(at(held) + " waits at a barrier, but " + at(done) + " has ended");
    }
    ++epoch_;
    for (Thread& thread : threads_) {
      thread.state = State::ready;
    }
    return true;
  }

  const Launch& launch_;
  const std::function<void(int64_t)>& kernel_;
  std::vector<Thread> threads_;
  std::vector<Wave> waves_;
  std::vector<unsigned char> memory_;
  std::vector<Byte> bytes_;
  std::exception_ptr error_;
  int64_t block_ = 0;
  uint32_t epoch_ = 0, first_epoch_ = 0;
  int current_ = 0;
};

thread_local Emulator* running = nullptr;

}  // namespace

void run(const Launch& launch, const std::function<void(int64_t)>& kernel) {
  if (launch.wave < 1 || launch.threads < launch.wave || launch.threads % launch.wave != 0 ||
      launch.threads > INT16_MAX || launch.shared_bytes < 0) {
    throw Violation(std::string(launch.kernel) + ": a block of " + std::to_string(launch.threads) +
                    " threads in waves of " + std::to_string(launch.wave));
  }
  Emulator emulator(launch, kernel);
  running = &emulator;
  struct Restore {
    ~Restore() { running = nullptr; }
  } restore;
  for (int64_t block = 0; block < launch.blocks; ++block) {
    emulator.run_block(block);
  }
}

int current_thread() {
  return running->current();
}
void barrier() {
  running->barrier();
}
void shared_read(uint32_t offset, int bytes, void* to) {
  running->read(running->current(), offset, bytes, to);
}
void shared_read_as(int thread, uint32_t offset, int bytes, void* to) {
  running->read(thread, offset, bytes, to);
}
void shared_write(uint32_t offset, int bytes, const void* from) {
  running->write(offset, bytes, from);
}
void copy_async(uint32_t offset, const void* from, bool valid) {
  running->copy_async(offset, from, valid);
}
void copy_commit() {
  running->copy_commit();
}
void copy_wait(int newest) {
  running->copy_wait(newest);
}
void meet(Meeting kind, void* argument, Complete complete) {
  running->meet(kind, argument, complete);
}

}  // namespace megafold::kernels::arch::host
