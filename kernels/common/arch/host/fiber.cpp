// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/arch/host/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace megafold::kernels::arch::host {
namespace {

constexpr size_t kGuard = 4096;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
constexpr size_t kStack = 512 * 1024;  // red zones and unshared stack slots
#else
constexpr size_t kStack = 64 * 1024;
#endif

}  // namespace

#if defined(__x86_64__)
// swapcontext makes two system calls a switch; products switch 64 times each, so this matters.
// Saves the registers that the ABI preserves, then exchanges stacks.
extern "C" void megafold_switch_stack(void** save, void* load);
extern "C" void megafold_begin_fiber();  // calls %r12(%rbx)
asm(R"(
.text
.p2align 4
.type megafold_switch_stack, @function
megafold_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size megafold_switch_stack, .-megafold_switch_stack
.type megafold_begin_fiber, @function
megafold_begin_fiber:
  movq %rbx, %rdi
  call *%r12
  ud2
.size megafold_begin_fiber, .-megafold_begin_fiber
)");
#endif

struct Fiber::Machine {
#if defined(__x86_64__)
  void* inside = nullptr;
  void* outside = nullptr;
#else
  ucontext_t inside, outside;
#endif
#if defined(__SANITIZE_ADDRESS__)
  void* fake_inside = nullptr;  // ASan's shadow frames of the stack that is left
  void* fake_outside = nullptr;
  const void* outside_bottom = nullptr;
  size_t outside_size = 0;
#endif
#if defined(__SANITIZE_THREAD__)
  void* tsan_inside = __tsan_create_fiber(0);
  void* tsan_outside = nullptr;
  ~Machine() { __tsan_destroy_fiber(tsan_inside); }
#endif

  void enter() {
#if defined(__x86_64__)
    megafold_switch_stack(&outside, inside);
#else
    swapcontext(&outside, &inside);
#endif
  }
  void leave() {
#if defined(__x86_64__)
    megafold_switch_stack(&inside, outside);
#else
    swapcontext(&inside, &outside);
#endif
  }
};

Fiber::Fiber() : machine_(new Machine) {
  void* memory = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kGuard, PROT_NONE) != 0) {
    delete machine_;
    throw std::bad_alloc();
  }
  mapping_ = static_cast<char*>(memory);
}

Fiber::~Fiber() {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(mapping_ + kGuard, kStack);
#endif
  munmap(mapping_, kGuard + kStack);
  delete machine_;
}

void Fiber::start(void (*entry)(void*), void* argument) {
  entry_ = entry;
  argument_ = argument;
  finished_ = false;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(mapping_ + kGuard, kStack);  // frames that were dropped
  machine_->fake_inside = nullptr;
#endif
#if defined(__x86_64__)
  // As if megafold_begin_fiber had called megafold_switch_stack: where to return, then six
  // registers. The stack is 16-byte aligned where megafold_begin_fiber calls.
  auto** top = reinterpret_cast<void**>(mapping_ + kGuard + kStack - 64);
  *--top = reinterpret_cast<void*>(&megafold_begin_fiber);
  *--top = nullptr;                        // rbp: the end of back traces
  *--top = this;                           // rbx
  *--top = reinterpret_cast<void*>(&run);  // r12
  *--top = nullptr;                        // r13
  *--top = nullptr;                        // r14
  *--top = nullptr;                        // r15
  machine_->inside = top;
#else
  getcontext(&machine_->inside);
  machine_->inside.uc_stack = {.ss_sp = mapping_ + kGuard, .ss_flags = 0, .ss_size = kStack};
  machine_->inside.uc_link = nullptr;
  const auto self = reinterpret_cast<uintptr_t>(this);
  void (*const begin)(unsigned, unsigned) = [](unsigned low, unsigned high) {
    run(reinterpret_cast<Fiber*>((static_cast<uintptr_t>(high) << 32) | low));
  };
  makecontext(&machine_->inside, reinterpret_cast<void (*)()>(begin), 2,
              static_cast<unsigned>(self), static_cast<unsigned>(self >> 32));
#endif
}

void Fiber::resume() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&machine_->fake_outside, mapping_ + kGuard, kStack);
#endif
#if defined(__SANITIZE_THREAD__)
  machine_->tsan_outside = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(machine_->tsan_inside, 0);
#endif
  machine_->enter();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(machine_->fake_outside, nullptr, nullptr);
#endif
}

void Fiber::suspend() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(finished_ ? nullptr : &machine_->fake_inside,
                                 machine_->outside_bottom, machine_->outside_size);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(machine_->tsan_outside, 0);
#endif
  machine_->leave();
  arrive();
}

void Fiber::arrive() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(machine_->fake_inside, &machine_->outside_bottom,
                                  &machine_->outside_size);
#endif
}

void Fiber::run(Fiber* self) {
  self->arrive();
  self->entry_(self->argument_);
  self->finished_ = true;
  self->suspend();
}

}  // namespace megafold::kernels::arch::host
