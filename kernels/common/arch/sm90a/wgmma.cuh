// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Hopper's warpgroup matrix product (PTX ISA, "Asynchronous warpgroup level matrix instructions"):
// D[64, N] += A[64, 16] B[16, N] with bf16 operands and fp32 sums, issued by 4 consecutive warps
// whose first warp index is a multiple of 4. B lies in shared memory, A in shared memory or
// registers.
//
// Accumulator fragment: d[4 j + 2 h + c] of thread t holds row 16 (t / 32) + 8 h + (t % 32) / 4 and
// column 8 j + 2 (t % 4) + c, with h, c in {0, 1} and j < N / 8 (t: thread within the warpgroup).
// A fragment in registers: the packed pair a[2 c + h] holds the same rows h and columns 8 c + 2 (t
// % 4)
// + {0, 1} of a 64 x 16 operand, so two neighbouring column blocks of an accumulator, packed to
// bf16, are an A operand as they stand (as_operand).
//
// Use: pin accumulators that ordinary code wrote, fence(), products, commit(), wait<n>(); between
// the first product and the wait no instruction may touch the accumulators or the A registers.
#pragma once

#include <cuda_bf16.h>
#include <cstdint>

namespace megafold::kernels::sm90a {

/// How 16-byte chunks are permuted within rows of a tile, as TMA writes them: chunk c of row r lies
/// at c ^ (r mod 8) with rows of 128 bytes, c ^ (r / 2 mod 4) with rows of 64, c ^ (r / 4 mod 2)
/// with 32. The values are the descriptor's; a tile starts at a multiple of 8 rows' bytes.
enum class Swizzle : uint32_t { none = 0, bytes128 = 1, bytes64 = 2, bytes32 = 3 };

constexpr uint32_t row_bytes(Swizzle swizzle) {
  return swizzle == Swizzle::bytes128 ? 128 : swizzle == Swizzle::bytes64 ? 64 : 32;
}
/// The swizzle of a tile whose rows hold `bytes` bytes (padded to 128 between 65 and 128).
constexpr Swizzle swizzle_of_row(uint32_t bytes) {
  return bytes > 64 ? Swizzle::bytes128 : bytes > 32 ? Swizzle::bytes64 : Swizzle::bytes32;
}

/// Which index of an operand is contiguous in shared memory: its reduction index (k, the usual form
/// of both A[m][k] and B[n][k]), or its row or column index (mn: A[k][m], B[k][n]).
enum class Major : uint32_t { k = 0, mn = 1 };

/// The operand descriptor of a tile at shared address `tile`, rows of row_bytes(swizzle). Major k:
/// rows are m or n and hold 16 or more k. Major mn: rows are k and hold up to row_bytes / 2 of m or
/// n; a wider operand continues `next_atom` bytes further on.
__device__ inline uint64_t descriptor(uint32_t tile, Swizzle swizzle, uint32_t next_atom = 16) {
  const uint64_t eight_rows = 8 * row_bytes(swizzle);
  return uint64_t{(tile & 0x3FFFF) >> 4} | uint64_t{next_atom >> 4} << 16 | eight_rows >> 4 << 32 |
         uint64_t{static_cast<uint32_t>(swizzle)} << 62;
}
/// What to add to a descriptor to move on by 16 k.
constexpr uint64_t k16_step(Swizzle swizzle, Major major) {
  return (major == Major::k ? 32 : 16 * row_bytes(swizzle)) >> 4;
}

/// Before the first product, and whenever ordinary code wrote accumulators or A registers since.
__device__ inline void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Until at most `pending` of the newest groups are in flight.
template <int pending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

/// Keeps the compiler from moving loads or sums into these registers past this point: without it
/// they sink between products, and ptxas serialises them (C7517). Also after a wait, so that no
/// read rises above it.
template <int n>
__device__ inline void pin(float (&registers)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}
template <int n>
__device__ inline void pin(uint32_t (&registers)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+r"(registers[i])::"memory");
}

/// {low, high} rounded to nearest even in one instruction.
__device__ inline uint32_t pack_bf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

/// Columns 16 step .. 16 step + 15 of an accumulator as an A operand.
template <int n>
__device__ inline void as_operand(const float (&d)[n], int step, uint32_t (&a)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) a[i] = pack_bf16(d[8 * step + 2 * i], d[8 * step + 2 * i + 1]);
}

/// D += A B for one k16 step; accumulate = false starts D from zero. N = 2 * n, one of 16, 32, 40,
/// 48, 56, 64, 72, 80, 96, 128, 192, 256.
template <Major a_major = Major::k, Major b_major = Major::k, int n>
__device__ void wgmma(float (&d)[n], uint64_t a, uint64_t b, bool accumulate = true);
template <Major b_major = Major::k, int n>
__device__ void wgmma(float (&d)[n], const uint32_t (&a)[4], uint64_t b, bool accumulate = true);

// The register lists of the instruction: "%0, .., %(n - 1)" and their operands, in eights.
#define MEGAFOLD_NAMES_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define MEGAFOLD_NAMES_16 MEGAFOLD_NAMES_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define MEGAFOLD_NAMES_20 MEGAFOLD_NAMES_16 ",%16,%17,%18,%19"
#define MEGAFOLD_NAMES_24 MEGAFOLD_NAMES_20 ",%20,%21,%22,%23"
#define MEGAFOLD_NAMES_28 MEGAFOLD_NAMES_24 ",%24,%25,%26,%27"
#define MEGAFOLD_NAMES_32 MEGAFOLD_NAMES_28 ",%28,%29,%30,%31"
#define MEGAFOLD_NAMES_36 MEGAFOLD_NAMES_32 ",%32,%33,%34,%35"
#define MEGAFOLD_NAMES_40 MEGAFOLD_NAMES_36 ",%36,%37,%38,%39"
#define MEGAFOLD_NAMES_48 MEGAFOLD_NAMES_40 ",%40,%41,%42,%43,%44,%45,%46,%47"
#define MEGAFOLD_NAMES_64                            \
  MEGAFOLD_NAMES_48                                  \
  ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59" \
  ",%60,%61,%62,%63"
#define MEGAFOLD_NAMES_96                            \
  MEGAFOLD_NAMES_64                                  \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75" \
  ",%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87" \
  ",%88,%89,%90,%91,%92,%93,%94,%95"
#define MEGAFOLD_NAMES_128                                   \
  MEGAFOLD_NAMES_96                                          \
  ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107" \
  ",%108,%109,%110,%111,%112,%113,%114,%115,%116,%117"       \
  ",%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define MEGAFOLD_SUMS_4(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define MEGAFOLD_SUMS_8(i) MEGAFOLD_SUMS_4(i), MEGAFOLD_SUMS_4((i) + 4)
#define MEGAFOLD_SUMS_16(i) MEGAFOLD_SUMS_8(i), MEGAFOLD_SUMS_8((i) + 8)
#define MEGAFOLD_SUMS_20(i) MEGAFOLD_SUMS_16(i), MEGAFOLD_SUMS_4((i) + 16)
#define MEGAFOLD_SUMS_24(i) MEGAFOLD_SUMS_16(i), MEGAFOLD_SUMS_8((i) + 16)
#define MEGAFOLD_SUMS_28(i) \
  MEGAFOLD_SUMS_16(i), MEGAFOLD_SUMS_8((i) + 16), MEGAFOLD_SUMS_4((i) + 24)
#define MEGAFOLD_SUMS_32(i) MEGAFOLD_SUMS_16(i), MEGAFOLD_SUMS_16((i) + 16)
#define MEGAFOLD_SUMS_36(i) MEGAFOLD_SUMS_32(i), MEGAFOLD_SUMS_4((i) + 32)
#define MEGAFOLD_SUMS_40(i) MEGAFOLD_SUMS_32(i), MEGAFOLD_SUMS_8((i) + 32)
#define MEGAFOLD_SUMS_48(i) MEGAFOLD_SUMS_32(i), MEGAFOLD_SUMS_16((i) + 32)
#define MEGAFOLD_SUMS_64(i) MEGAFOLD_SUMS_32(i), MEGAFOLD_SUMS_32((i) + 32)
#define MEGAFOLD_SUMS_96(i) MEGAFOLD_SUMS_64(i), MEGAFOLD_SUMS_32((i) + 64)
#define MEGAFOLD_SUMS_128(i) MEGAFOLD_SUMS_64(i), MEGAFOLD_SUMS_64((i) + 64)

// width N = 2 * sums; i0 .. i6: the numbers of the operands behind the sums, as strings.
#define MEGAFOLD_WGMMA(width, sums, i0, i1, i2, i3, i4, i5, i6)                                   \
  template <Major a_major, Major b_major>                                                         \
  __device__ inline void wgmma_shared(float(&d)[sums], uint64_t a, uint64_t b, bool accumulate) { \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %" i2                                             \
                 ", 0;\n"                                                                         \
                 "wgmma.mma_async.sync.aligned.m64n" #width                                       \
                 "k16.f32.bf16.bf16 {" MEGAFOLD_NAMES_##sums "}, %" i0 ", %" i1 ", p, 1, 1, %" i3 \
                                                             ", %" i4 ";}"                        \
                 : MEGAFOLD_SUMS_##sums(0)                                                        \
                 : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)),                             \
                   "n"(static_cast<int>(a_major)), "n"(static_cast<int>(b_major)));               \
  }                                                                                               \
  template <Major b_major>                                                                        \
  __device__ inline void wgmma_registers(float(&d)[sums], const uint32_t(&a)[4], uint64_t b,      \
                                         bool accumulate) {                                       \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %" i5                                             \
                 ", 0;\n"                                                                         \
                 "wgmma.mma_async.sync.aligned.m64n" #width                                       \
                 "k16.f32.bf16.bf16 {" MEGAFOLD_NAMES_##sums "}, {%" i0 ",%" i1 ",%" i2 ",%" i3   \
                                                             "}, %" i4 ", p, 1, 1, %" i6 ";}"     \
                 : MEGAFOLD_SUMS_##sums(0)                                                        \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b),                            \
                   "r"(static_cast<int>(accumulate)), "n"(static_cast<int>(b_major)));            \
  }
MEGAFOLD_WGMMA(16, 8, "8", "9", "10", "11", "12", "13", "14")
MEGAFOLD_WGMMA(32, 16, "16", "17", "18", "19", "20", "21", "22")
MEGAFOLD_WGMMA(40, 20, "20", "21", "22", "23", "24", "25", "26")
MEGAFOLD_WGMMA(48, 24, "24", "25", "26", "27", "28", "29", "30")
MEGAFOLD_WGMMA(56, 28, "28", "29", "30", "31", "32", "33", "34")
MEGAFOLD_WGMMA(64, 32, "32", "33", "34", "35", "36", "37", "38")
MEGAFOLD_WGMMA(72, 36, "36", "37", "38", "39", "40", "41", "42")
MEGAFOLD_WGMMA(80, 40, "40", "41", "42", "43", "44", "45", "46")
MEGAFOLD_WGMMA(96, 48, "48", "49", "50", "51", "52", "53", "54")
MEGAFOLD_WGMMA(128, 64, "64", "65", "66", "67", "68", "69", "70")
MEGAFOLD_WGMMA(192, 96, "96", "97", "98", "99", "100", "101", "102")
MEGAFOLD_WGMMA(256, 128, "128", "129", "130", "131", "132", "133", "134")
#undef MEGAFOLD_WGMMA

template <Major a_major, Major b_major, int n>
__device__ inline void wgmma(float (&d)[n], uint64_t a, uint64_t b, bool accumulate) {
  wgmma_shared<a_major, b_major>(d, a, b, accumulate);
}
template <Major b_major, int n>
__device__ inline void wgmma(float (&d)[n], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  wgmma_registers<b_major>(d, a, b, accumulate);
}

}  // namespace megafold::kernels::sm90a
