// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A fiber: a stack of its own and a place to go on from. The emulator gives one to every emulated
// thread. AddressSanitizer and ThreadSanitizer are told of every switch.
#pragma once

#include <cstddef>

namespace megafold::kernels::arch::host {

class Fiber {
 public:
  /// Maps a stack with a guard page below it; throws std::bad_alloc.
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next `resume` begins `entry(argument)`. What the fiber did before is dropped: frames left
  /// on its stack are never unwound, so they must own nothing. `entry` must not throw.
  void start(void (*entry)(void*), void* argument);
  /// Runs the fiber until it calls `suspend` or ends. Not from within a fiber.
  void resume();
  /// Back to `resume`; only inside this fiber.
  void suspend();
  bool finished() const { return finished_; }

 private:
  static void run(Fiber* self);
  void arrive();  // first act on this fiber's stack after a switch

  char* mapping_ = nullptr;  // guard page, then the stack
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  bool finished_ = true;

  struct Machine;  // saved stack pointers or contexts
  Machine* machine_ = nullptr;
};

}  // namespace megafold::kernels::arch::host
