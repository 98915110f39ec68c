// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Hopper's asynchronous copies and what orders them: mbarriers, tensor maps, bulk copies, named
// barriers, proxy fences, the register budget of a warpgroup, dependent launches.
//
// One thread issues a copy; its bytes arrive on an mbarrier that the readers wait on:
//
//   mbarrier_expect(&full, bytes);  tma_load<3>(tile, &map, &full, {x, y, z});   // producer, one
//   thread mbarrier_wait(&full, parity);  ... read tile ...;  mbarrier_arrive(&empty);  //
//   consumers
//
// The parity to wait for: phase p of a barrier (p = 0, 1, 2, ..) is over when wait(p & 1) returns.
// A barrier that nobody has touched answers wait(1) at once, so a producer waits on `empty` with (p
// & 1) ^ 1.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace megafold::kernels::sm90a {

__device__ __forceinline__ uint32_t smem_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// True in one lane of a converged warp, the same one every time.
__device__ __forceinline__ bool elect_one() {
  uint32_t elected;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}\n"
               : "=r"(elected));
  return elected != 0;
}

// ---- mbarriers
// -----------------------------------------------------------------------------------

using Mbarrier = uint64_t;

/// One thread initialises, then fence_mbarrier_init(), then __syncthreads() before any use.
__device__ __forceinline__ void mbarrier_init(Mbarrier* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(smem_address(barrier)), "r"(arrivals)
               : "memory");
}
__device__ __forceinline__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void mbarrier_arrive(Mbarrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(smem_address(barrier)) : "memory");
}
/// Arrives once and adds `bytes` that copies will bring before this phase can end.
__device__ __forceinline__ void mbarrier_expect(Mbarrier* barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(smem_address(barrier)),
      "r"(bytes)
      : "memory");
}
__device__ __forceinline__ bool mbarrier_try_wait(Mbarrier* barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, "
      "p;\n}\n"
      : "=r"(done)
      : "r"(smem_address(barrier)), "r"(parity)
      : "memory");
  return done != 0;
}
/// Is the phase of this parity over? Does not wait, as try_wait may for a while.
__device__ __forceinline__ bool mbarrier_test(Mbarrier* barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred p;\nmbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, "
      "0, "
      "p;\n}\n"
      : "=r"(done)
      : "r"(smem_address(barrier)), "r"(parity)
      : "memory");
  return done != 0;
}
/// Returns when the phase of this parity is over; what its arrivals released is visible then. Built
/// with MEGAFOLD_TRAP_HANGS, a wait of seconds ends the kernel with an error instead of hanging.
__device__ __forceinline__ void mbarrier_wait(Mbarrier* barrier, uint32_t parity) {
#ifdef MEGAFOLD_TRAP_HANGS
  const long long start = clock64();
  while (!mbarrier_try_wait(barrier, parity)) {
    if (clock64() - start > 4'000'000'000LL) __trap();
  }
#else
  while (!mbarrier_try_wait(barrier, parity)) {
  }
#endif
}

/// A place in a ring of kSlots slots and the parity of the lap.
template <int kSlots>
struct RingCursor {
  uint32_t slot = 0, parity = 0;
  __device__ __forceinline__ void advance() {
    if (++slot == kSlots) {
      slot = 0;
      parity ^= 1;
    }
  }
};

// ---- fences, named barriers, registers, launches
// --------------------------------------------------

/// After ordinary writes to shared memory that wgmma or a bulk copy will read: every writer fences,
/// then a barrier, then the reader.
__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Barriers 1 to 15 (0 is __syncthreads) among `threads` threads, a multiple of 32.
__device__ __forceinline__ void named_barrier_sync(uint32_t id, uint32_t threads) {
  asm volatile("barrier.cta.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void named_barrier_arrive(uint32_t id, uint32_t threads) {
  asm volatile("barrier.cta.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/// A barrier that also answers whether any of its threads brought `true`.
__device__ __forceinline__ bool named_barrier_any(uint32_t id, uint32_t threads, bool value) {
  uint32_t any;
  asm volatile(
      "{\n.reg .pred p, q;\nsetp.ne.u32 p, %3, 0;\nbarrier.cta.red.or.pred q, %1, %2, p;\nselp.u32 "
      "%0, 1, 0, q;\n}\n"
      : "=r"(any)
      : "r"(id), "r"(threads), "r"(static_cast<uint32_t>(value))
      : "memory");
  return any != 0;
}

/// Moves registers between warpgroups; every warp of the warpgroup executes it, and the kernel must
/// have __launch_bounds__(threads, 1). A multiple of 8 in 24 .. 240. The CTA has only what it was
/// launched with (the compiler's count times its threads): asking for more waits forever.
template <int kRegisters>
__device__ __forceinline__ void setmaxnreg_increase() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void setmaxnreg_decrease() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// In a kernel launched with programmatic stream serialization: nothing that an earlier kernel
/// wrote may be read before this, and its own writes must come after.
__device__ __forceinline__ void wait_for_earlier_kernels() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
/// Lets the next kernel of the stream start its prologue.
__device__ __forceinline__ void allow_next_kernel() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// ---- bulk copies
// -----------------------------------------------------------------------------------

/// Coordinates, innermost first, in elements.
template <int kRank>
struct Coordinates {
  int32_t at[kRank];
};

__device__ __forceinline__ void prefetch_tensor_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<uint64_t>(map)) : "memory");
}

/// One box of the map into shared memory (128-byte aligned; 1,024 under the 128-byte swizzle). What
/// lies outside the tensor arrives as zeros and counts as bytes too.
template <int kRank>
__device__ __forceinline__ void tma_load(void* to, const CUtensorMap* map, Mbarrier* barrier,
                                         const Coordinates<kRank>& c) {
  static_assert(kRank >= 2 && kRank <= 5);
  const uint32_t dst = smem_address(to), bar = smem_address(barrier);
  const uint64_t desc = reinterpret_cast<uint64_t>(map);
  if constexpr (kRank == 2) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, "
        "{%3, "
        "%4}], [%2];" ::"r"(dst),
        "l"(desc), "r"(bar), "r"(c.at[0]), "r"(c.at[1])
        : "memory");
  } else if constexpr (kRank == 3) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, "
        "{%3, "
        "%4, %5}], [%2];" ::"r"(dst),
        "l"(desc), "r"(bar), "r"(c.at[0]), "r"(c.at[1]), "r"(c.at[2])
        : "memory");
  } else if constexpr (kRank == 4) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, "
        "{%3, "
        "%4, %5, %6}], [%2];" ::"r"(dst),
        "l"(desc), "r"(bar), "r"(c.at[0]), "r"(c.at[1]), "r"(c.at[2]), "r"(c.at[3])
        : "memory");
  } else {
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, "
        "{%3, "
        "%4, %5, %6, %7}], [%2];" ::"r"(dst),
        "l"(desc), "r"(bar), "r"(c.at[0]), "r"(c.at[1]), "r"(c.at[2]), "r"(c.at[3]), "r"(c.at[4])
        : "memory");
  }
}

/// One box from shared memory to the tensor; what lies outside is not written. Then
/// bulk_commit() and, before the shared memory is reused, bulk_wait_read<0>(), by the same thread.
template <int kRank>
__device__ __forceinline__ void tma_store(const CUtensorMap* map, const void* from,
                                          const Coordinates<kRank>& c) {
  static_assert(kRank >= 2 && kRank <= 5);
  const uint32_t src = smem_address(from);
  const uint64_t desc = reinterpret_cast<uint64_t>(map);
  if constexpr (kRank == 2) {
    asm volatile(
        "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(desc),
        "r"(src), "r"(c.at[0]), "r"(c.at[1])
        : "memory");
  } else if constexpr (kRank == 3) {
    asm volatile(
        "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(
            desc),
        "r"(src), "r"(c.at[0]), "r"(c.at[1]), "r"(c.at[2])
        : "memory");
  } else if constexpr (kRank == 4) {
    asm volatile(
        "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(
            desc),
        "r"(src), "r"(c.at[0]), "r"(c.at[1]), "r"(c.at[2]), "r"(c.at[3])
        : "memory");
  } else {
    asm volatile(
        "cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5, %6}], [%1];" ::
            "l"(desc),
        "r"(src), "r"(c.at[0]), "r"(c.at[1]), "r"(c.at[2]), "r"(c.at[3]), "r"(c.at[4])
        : "memory");
  }
}

/// Contiguous bytes, a multiple of 16; both addresses 16-byte aligned.
__device__ __forceinline__ void bulk_load(void* to, const void* from, uint32_t bytes,
                                          Mbarrier* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(smem_address(to)),
      "l"(reinterpret_cast<uint64_t>(from)), "r"(bytes), "r"(smem_address(barrier))
      : "memory");
}
__device__ __forceinline__ void bulk_store(void* to, const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(
                   reinterpret_cast<uint64_t>(to)),
               "r"(smem_address(from)), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void bulk_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// Until at most kPending of this thread's committed groups still read their shared memory.
template <int kPending>
__device__ __forceinline__ void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
/// Until at most kPending of them are incomplete: their writes are visible to this thread then.
template <int kPending>
__device__ __forceinline__ void bulk_wait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace megafold::kernels::sm90a
