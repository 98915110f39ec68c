// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A consumer warpgroup of the forward kernel: the steps of one row's tiles, and their end.
#pragma once

#include "kernels/evo_attention/sm90a/forward_layout.cuh"

namespace megafold::kernels::sm90a {

constexpr float kLn2 = 0.693147180559945309F;
constexpr float kLargestFloat = 3.40282347e38F;
// The fast kernel's range of row sums. Below 2^-60 (all scores under -60) small terms start to be
// lost below fp32's 2^-126; above 2^100, l or O could come near the end of the range.
constexpr float kSmallestSum = 0x1p-60F, kLargestSum = 0x1p100F;

/// 2^x; 0 below -126, as every term that small next to a sum within the range.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Of normal numbers, to 2 ulp.
__device__ __forceinline__ float log2_fast(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// bias * log2(e). A finite bias stays finite: -3e38 is a mask to some, and a whole row of it is a
/// row.
__device__ __forceinline__ float scaled_bias(float x) {
  const float scaled = x * kLog2E;
  return isinf(scaled) && !isinf(x) ? copysignf(kLargestFloat, x) : scaled;
}

template <class Context>
struct ForwardConsumer : Context {
  using L = typename Context::L;
  using Context::args, Context::sync, Context::kExact, Context::kDirectBias;
  static constexpr int kDim = L::kDim, kKeys = L::kKeys, kSubs = L::kSubs;
  static constexpr int kScores = kKeys / 2;        // accumulators of a score tile, per thread
  static constexpr int kOutputs = (kDim + 8) / 2;  // of [O | l]
  static constexpr int kSum = kDim / 2;            // where l stands in them (and in kSum + 2)

  int group, thread;  // thread: within the warpgroup
  // Low words of the descriptors of stage 0, and this thread's place in bias slot 0. Opaque to the
  // compiler, which would rather work them out again in each step.
  uint32_t q_low, k_low, v_low, bias_place;
  const uint8_t* bias_from = nullptr;  // kDirectBias: of this thread's first row and key
  float s[2][kScores];                 // this step's scores and the next one's
  float o[kSubs][kOutputs];
  float largest[kExact ? 2 * kSubs : 1];  // the running maximum of rows (sub, half)
  RingCursor<L::kKvStages> kv;
  RingCursor<L::kBiasStages == 0 ? 1 : L::kBiasStages> bias;  // the slot to load next
  uint32_t loaded_slot = 0;                                   // the one loaded last

  __device__ ForwardConsumer(const Context& context, int warpgroup)
      : Context(context), group(warpgroup), thread(static_cast<int>(threadIdx.x % 128)) {
    q_low = smem_address(this->query_tile(group, 0)) >> 4 | 1U << 16;
    k_low = this->keys_tile(0, row_slot()) >> 4 | 1U << 16;
    v_low = this->values_tile(0, row_slot()) >> 4 | static_cast<uint32_t>(L::kKeyBytes >> 4) << 16;
    bias_place = smem_address(this->bias_tile(0)) + thread * 16;
    asm volatile("" : "+r"(q_low), "+r"(k_low), "+r"(v_low), "+r"(bias_place));
  }

  __device__ int row_slot() const { return group / L::kQueryGroups; }
  __device__ int query_group() const { return group % L::kQueryGroups; }
  __device__ bool has_bias() const {
    return kDirectBias ? args.bias != nullptr : args.bias_tiles != nullptr;
  }
  __device__ void arrive_warp(Mbarrier* barrier) const {
    __syncwarp();
    if (thread % 32 == 0) mbarrier_arrive(barrier);
  }

  // ---- the bias: key tile t of the next tile in turn, in the accumulators' registers ----

  __device__ void wait_bias() const {
    if (!kDirectBias && has_bias()) mbarrier_wait(&sync.bias_full[bias.slot], bias.parity);
  }
  /// The kCount 8-key blocks from `first` on, a constant once loops are unrolled.
  template <int kBuffer, int kCount>
  __device__ __forceinline__ void load_bias(int first, int t) {
    if (!has_bias()) return;
    if constexpr (kDirectBias) {
      load_direct<kBuffer, kCount>(first, t);
    } else {
      const uint32_t from = bias_place + bias.slot * L::kBiasBytes;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const int c = first + i;
        float* to = &s[kBuffer][4 * c];
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(to[0]), "=f"(to[1]), "=f"(to[2]), "=f"(to[3])
                     : "r"(from + c * 2048)
                     : "memory");
      }
    }
  }
  /// From the caller's tensor, as its bits: finish_bias scales them when they have arrived.
  template <int kBuffer, int kCount>
  __device__ __forceinline__ void load_direct(int first, int t) {
    const int size = args.bias_bf16 ? 2 : 4;
    const uint8_t* tile = bias_from + int64_t{t} * kKeys * args.bias_key * size;
    const int keys_left = args.keys - t * kKeys - thread % 4 * 2;
    const int rows_left = args.queries - first_query_;
    const bool pairs = args.bias_pairs && keys_left >= kKeys && rows_left > 8;
#pragma unroll
    for (int block = 0; block < kCount; ++block) {
      const int c = first + block;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float* to = &s[kBuffer][4 * c + 2 * half];
        const uint8_t* from =
            tile + (int64_t{8 * half} * args.bias_query + int64_t{8 * c} * args.bias_key) * size;
        if (pairs) {
          asm volatile("ld.global.v2.f32 {%0, %1}, [%2];" : "=f"(to[0]), "=f"(to[1]) : "l"(from));
          continue;
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const bool inside = 8 * c + i < keys_left && 8 * half < rows_left;
          const uint8_t* at = from + i * args.bias_key * size;
          uint32_t bits = 0;
          if (inside) {
            bits = args.bias_bf16 ? *reinterpret_cast<const uint16_t*>(at)
                                  : *reinterpret_cast<const uint32_t*>(at);
          }
          to[i] = __uint_as_float(bits);
        }
      }
    }
  }
  /// Before the products that add to it.
  template <int kBuffer>
  __device__ void finish_bias() {
    if constexpr (kDirectBias) {
      if (has_bias()) {
        if (args.bias_bf16) {
#pragma unroll
          for (int i = 0; i < kScores; ++i) {
            s[kBuffer][i] = __uint_as_float(__float_as_uint(s[kBuffer][i]) << 16);
          }
        }
#pragma unroll
        for (int i = 0; i < kScores; ++i) {
          s[kBuffer][i] = kExact ? scaled_bias(s[kBuffer][i]) : s[kBuffer][i] * kLog2E;
        }
      }
    }
    pin(s[kBuffer]);
  }
  __device__ void advance_bias() {
    loaded_slot = bias.slot;
    bias.advance();
  }
  /// The slot loaded last may be filled again: after the products that read those registers were
  /// issued, and before the next load.
  __device__ void release_bias() const {
    __syncwarp();
    if (!kDirectBias && has_bias() && thread % 32 == 0)
      mbarrier_arrive(&sync.bias_empty[loaded_slot]);
  }

  // ---- the products ----

  /// A descriptor whose low word is `low`: steps along an operand are 32-bit sums there.
  __device__ static uint64_t with_low(uint32_t low) {
    constexpr uint64_t kHigh =
        uint64_t{8 * L::kPitch >> 4} << 32 | uint64_t{static_cast<uint32_t>(L::kSwizzle)} << 62;
    return kHigh | low;
  }
  /// S += q k^T; from zero without a bias.
  template <int kBuffer>
  __device__ void multiply_keys(int stage, int sub) {
    const uint32_t a = q_low + sub * (L::kQueryBytes >> 4);
    const uint32_t b = k_low + stage * (L::kStageBytes >> 4);
    constexpr uint32_t kStep = k16_step(L::kSwizzle, Major::k);
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      wgmma(s[kBuffer], with_low(a + k * kStep), with_low(b + k * kStep), k > 0 || has_bias());
    }
  }
  /// [O | l] += P [v | valid].
  template <int kSub>
  __device__ void multiply_values(uint32_t (&p)[kKeys / 16][4], int stage, bool accumulate) {
    const uint32_t b = v_low + stage * (L::kStageBytes >> 4);
    constexpr uint32_t kStep = k16_step(L::kSwizzle, Major::mn);
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      wgmma<Major::mn>(o[kSub], p[k], with_low(b + k * kStep), accumulate || k > 0);
    }
  }

  /// The exact kernel's part: mask, running maximum, rescaled sums. S becomes S - maximum.
  template <int kSub>
  __device__ void shift_scores(float (&scores)[kScores], bool first) {
    float tile_largest[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int i = 0; i < kScores; ++i) {
      const uint32_t bits = sync.valid[kv.slot][row_slot()][i / 16] >> (thread % 4 * 2);
      if ((bits >> (i / 4 % 4 * 8 + i % 2) & 1) == 0) scores[i] = -INFINITY;
      tile_largest[i / 2 % 2] = fmaxf(tile_largest[i / 2 % 2], scores[i]);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float& running = largest[2 * kSub + half];
      float now = tile_largest[half];
      now = fmaxf(now, __shfl_xor_sync(~0U, now, 1));
      now = fmaxf(now, __shfl_xor_sync(~0U, now, 2));
      if (!first) now = fmaxf(now, running);
      const float shift = now == -INFINITY ? 0.0F : now;
      if (!first) {
        const float factor = exp2_fast(running - shift);
#pragma unroll
        for (int i = 0; i < kOutputs / 4; ++i) {
          o[kSub][4 * i + 2 * half] *= factor;
          o[kSub][4 * i + 2 * half + 1] *= factor;
        }
      }
      running = now;
#pragma unroll
      for (int i = 0; i < kScores / 4; ++i) {
        scores[4 * i + 2 * half] -= shift;
        scores[4 * i + 2 * half + 1] -= shift;
      }
    }
  }

  /// q *= scale log2(e), where it lies: element by element, so the swizzle does not matter.
  __device__ void scale_queries(uint32_t parity) {
    mbarrier_wait(&sync.q_full[group], parity);
    uint4* chunks = reinterpret_cast<uint4*>(this->query_tile(group, 0)) + thread;
#pragma unroll
    for (int i = 0; i < kSubs * L::kQueryBytes / 2048; ++i) {
      uint4 chunk = chunks[i * 128];
      scale_pair(chunk.x);
      scale_pair(chunk.y);
      scale_pair(chunk.z);
      scale_pair(chunk.w);
      chunks[i * 128] = chunk;
    }
    fence_proxy_async();
    named_barrier_sync(1 + group, 128);
  }
  __device__ void scale_pair(uint32_t& pair) const {
    pair = pack_bf16(__uint_as_float(pair << 16) * args.q_scale,
                     __uint_as_float(pair & 0xFFFF0000U) * args.q_scale);
  }

  // ---- the steps ----

  /// What follows a step: nothing, the same keys and the next sub, or the next keys.
  enum class Next { none, sub, keys };

  /// The step of key tile t, whose scores stand in s[kBuffer]. The next tile's product q k^T starts
  /// (its bias is loaded already); then P, and into its place, block by block, the bias after next
  /// (kLoad: there is one); then O's product.
  template <int kSub, int kBuffer, Next kNext, bool kLoad>
  __device__ void step(int t) {
    constexpr int kOther = 1 - kBuffer;
    if constexpr (kExact) shift_scores<kSub>(s[kBuffer], t == 0);
    RingCursor<L::kKvStages> next = kv;
    if constexpr (kNext == Next::keys) {
      next.advance();
      mbarrier_wait(&sync.kv_ready[next.slot][row_slot()], next.parity);
    }
    if constexpr (kLoad) wait_bias();
    if constexpr (kNext != Next::none) {
      finish_bias<kOther>();
      wgmma_fence();
      multiply_keys<kOther>(next.slot, kNext == Next::keys ? 0 : kSub + 1);
      wgmma_commit();
    }
    uint32_t p[kKeys / 16][4];
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        p[k][i] = pack_bf16(exp2_fast(s[kBuffer][8 * k + 2 * i]),
                            exp2_fast(s[kBuffer][8 * k + 2 * i + 1]));
      }
      pin(p[k]);
      if constexpr (kLoad) load_bias<kBuffer, 2>(2 * k, t + (kSubs == 2 ? 1 : 2));
    }
    wgmma_fence();
    multiply_values<kSub>(p, kv.slot, t > 0);
    wgmma_commit();
    if constexpr (kNext != Next::none) release_bias();
    if constexpr (kLoad) advance_bias();
    wgmma_wait<0>();
    if constexpr (kNext != Next::none) pin(s[kOther]);
    pin(o[kSub]);
    if constexpr (kSub + 1 == kSubs) arrive_warp(&sync.kv_empty[kv.slot][row_slot()]);
    if constexpr (kNext == Next::keys) kv = next;
  }

  /// Two subs: buffer i holds sub i.
  __device__ void attend_two_subs() {
    int t = 0;
    for (; t + 1 < args.key_tiles; ++t) {
      step<0, 0, Next::sub, true>(t);
      step<kSubs - 1, 1, Next::keys, true>(t);
    }
    step<0, 0, Next::sub, false>(t);
    arrive_warp(&sync.q_empty[group]);
    step<kSubs - 1, 1, Next::none, false>(t);
  }
  /// One sub: even key tiles in buffer 0, odd ones in 1.
  __device__ void attend_one_sub() {
    int t = 0;
    for (; t + 3 < args.key_tiles; t += 2) {
      step<0, 0, Next::keys, true>(t);
      step<0, 1, Next::keys, true>(t + 1);
    }
    const int left = args.key_tiles - t;  // 1, 2 or 3
    if (left == 3) {
      step<0, 0, Next::keys, true>(t);
      step<0, 1, Next::keys, false>(t + 1);
      t += 2;
    } else if (left == 2) {
      step<0, 0, Next::keys, false>(t);
      arrive_warp(&sync.q_empty[group]);
      step<0, 1, Next::none, false>(t + 1);
      return;
    }
    arrive_warp(&sync.q_empty[group]);
    step<0, 0, Next::none, false>(t);
  }

  /// Item number `count` of this CTA.
  __device__ void attend(const ForwardItem& at, uint32_t count) {
    if constexpr (kDirectBias) start_direct(at);
    scale_queries(count & 1);
    mbarrier_wait(&sync.kv_ready[kv.slot][row_slot()], kv.parity);
    wait_bias();
    load_bias<0, kKeys / 8>(0, 0);
    advance_bias();
    finish_bias<0>();
    wgmma_fence();
    multiply_keys<0>(kv.slot, 0);
    wgmma_commit();
    release_bias();
    if (kSubs == 2 || args.key_tiles > 1) {
      wait_bias();
      load_bias<1, kKeys / 8>(0, kSubs == 2 ? 0 : 1);
      advance_bias();
    }
    wgmma_wait<0>();
    pin(s[0]);
    if constexpr (kSubs == 2) {
      attend_two_subs();
    } else {
      attend_one_sub();
    }
    kv.advance();
  }

  // ---- the end of an item ----

  int first_query_ = 0;  // kDirectBias: this thread's first row

  __device__ void start_direct(const ForwardItem& at) {
    if (!has_bias()) return;
    first_query_ = first_query(at, 0);
    const int64_t element = at.batch * args.bias_batch + at.head * args.bias_head +
                            first_query_ * args.bias_query + thread % 4 * 2 * args.bias_key;
    bias_from = static_cast<const uint8_t*>(args.bias) + element * (args.bias_bf16 ? 2 : 4);
  }

  /// This thread's first row of its tile; the other is 8 further.
  __device__ int first_query(const ForwardItem& at, int sub) const {
    return Context::query_tile_index(at, query_group(), sub) * kTileQueries + thread / 32 * 16 +
           thread % 32 / 4;
  }

  /// Where an item's results of this thread's first row go; the next sub is kSubRows rows further.
  struct Target {
    __nv_bfloat16* out;
    const __nv_bfloat16* gate;  // or null
    float* lse;                 // or null
    int query;
  };
  static constexpr int kSubRows = kTileQueries * L::kQueryGroups;

  __device__ Target target_of(const ForwardItem& at, int row) const {
    Target target{args.out, args.gate, args.lse, first_query(at, 0)};
    const auto place = [&](const TokenStrides& stride) {
      return at.batch * stride.batch + row * stride.row + at.head * stride.head +
             target.query * stride.token;
    };
    target.out += place(args.out_stride);
    if (args.gate != nullptr) target.gate += place(args.gate_stride);
    if (args.lse != nullptr) {
      const int64_t line = (int64_t{at.batch} * args.rows + row) * args.heads + at.head;
      target.lse += line * args.queries + target.query;
    }
    return target;
  }

  /// Normalises, gates and stores the item's tiles of O, and their lse.
  __device__ void finish(const ForwardItem& at) {
    const int row = at.row + row_slot();
    if (row >= args.rows) return;  // the whole warpgroup alike
    // Or the compiler keeps what follows from it in registers through the steps, and spills.
    asm volatile("" : "+r"(thread));
    const Target target = target_of(at, row);
    bool no_key = false;
    if constexpr (!kExact) {
      bool good = tile_good<0>(target.query);
      if constexpr (kSubs == 2) good &= tile_good<1>(target.query + kSubRows);
      if (named_barrier_any(1 + group, 128, !good)) {
        if (hand_over(at, row)) return;
        no_key = true;
      }
    }
    store_tile<0>(target, no_key);
    if constexpr (kSubs == 2) store_tile<1>(target, no_key);
  }

  /// Fast kernel: did neither of this thread's rows leave the range in which it is right?
  template <int kSub>
  __device__ bool tile_good(int query) const {
    bool good = true;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float zero[2] = {0.0F, 0.0F};  // NaN when any of O is infinite or NaN
#pragma unroll
      for (int i = 0; i < kDim / 8; ++i) {
        zero[0] = fmaf(o[kSub][4 * i + 2 * half], 0.0F, zero[0]);
        zero[1] = fmaf(o[kSub][4 * i + 2 * half + 1], 0.0F, zero[1]);
      }
      const float sum = o[kSub][kSum + 2 * half];
      const bool fine = (sum >= kSmallestSum) & (sum <= kLargestSum) & (zero[0] + zero[1] == 0.0F);
      good &= fine | (query + 8 * half >= args.queries);
    }
    return good;
  }

  /// Some row is out of range. Puts the exact kernel's items that cover this row's tiles on its
  /// list, each once; false: no key of the row may be attended, which needs no work.
  __device__ bool hand_over(const ForwardItem& at, int row) const {
    const uint32_t* words = this->valid_words(at, row);
    uint32_t any = 0;
    for (int i = thread; i < args.key_tiles * L::kParts; i += 128) any |= words[i];
    if (!named_barrier_any(1 + group, 128, any != 0)) return false;
    if (thread < kSubs) {
      const int item = ((at.batch * args.row_groups + at.row / L::kRows) * args.heads + at.head) *
                           args.exact_query_blocks +
                       at.block * kSubs + thread;
      if (atomicExch(&args.flags[item], 1) == 0) {
        args.list[atomicAdd(&args.queue->count, 1)] = item;
      }
    }
    return true;
  }

  template <int kSub>
  __device__ void store_tile(const Target& target, bool no_key) {
    const int left = args.queries - target.query - kSub * kSubRows;  // rows from the first on
    float scale[2];
    bool none[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = o[kSub][kSum + 2 * half];
      const float top = kExact ? largest[2 * kSub + half] : 0.0F;
      none[half] = kExact ? top == -INFINITY : no_key;
      scale[half] = reciprocal(sum);
      if (args.lse != nullptr && thread % 4 == 0 && 8 * half < left) {
        target.lse[kSub * kSubRows + 8 * half] =
            none[half] ? -INFINITY : (log2_fast(sum) + top) * kLn2;
      }
    }
    // A thread's pairs of columns are exchanged within its quad so that each stores 16 bytes: word
    // f = half * (D / 8) + chunk of lane t goes to lane f % 4, which then holds all of its chunk.
    constexpr int kChunks = kDim / 8;
    const int t = thread % 4;
#pragma unroll
    for (int i = 0; i < 2 * kChunks / 4; ++i) {
      uint32_t word[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int half = (4 * i + j) / kChunks, chunk = (4 * i + j) % kChunks;
        word[j] = none[half] ? 0
                             : pack_bf16(o[kSub][4 * chunk + 2 * half] * scale[half],
                                         o[kSub][4 * chunk + 2 * half + 1] * scale[half]);
      }
      transpose_quad(word, t);
      const int f = 4 * i + t, half = f >= kChunks, chunk = f - half * kChunks;
      if (8 * half >= left) continue;
      const int row = kSub * kSubRows + 8 * half;
      if (args.gate != nullptr) {
        apply_gate(word, target.gate + row * args.gate_stride.token + 8 * chunk);
      }
      asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(
                       target.out + row * args.out_stride.token + 8 * chunk),
                   "r"(word[0]), "r"(word[1]), "r"(word[2]), "r"(word[3])
                   : "memory");
    }
  }
  /// A 4 x 4 transpose: exchange with the lane that differs in bit 0, then in bit 1.
  __device__ static void transpose_quad(uint32_t (&word)[4], int t) {
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      const uint32_t got = __shfl_xor_sync(~0U, t & 1 ? word[j] : word[j + 1], 1);
      (t & 1 ? word[j] : word[j + 1]) = got;
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const uint32_t got = __shfl_xor_sync(~0U, t & 2 ? word[j] : word[j + 2], 2);
      (t & 2 ? word[j] : word[j + 2]) = got;
    }
  }
  __device__ static void apply_gate(uint32_t (&word)[4], const __nv_bfloat16* from) {
    const uint4 gate = *reinterpret_cast<const uint4*>(from);
    const uint32_t pairs[4] = {gate.x, gate.y, gate.z, gate.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      word[j] = pack_bf16(__uint_as_float(word[j] << 16) * sigmoid(__uint_as_float(pairs[j] << 16)),
                          __uint_as_float(word[j] & 0xFFFF0000U) *
                              sigmoid(__uint_as_float(pairs[j] & 0xFFFF0000U)));
    }
  }
  __device__ static float sigmoid(float x) {
    return __fdividef(1.0F, 1.0F + exp2_fast(-x * kLog2E));
  }

  __device__ void consume() {
    for (uint32_t count = 0;; ++count) {
      ForwardItem at = this->wait_item(count);
      if (at.batch < 0) break;
      attend(at, count);
      if constexpr (!kDirectBias) at = this->sync.items[count % kItemSlots];
      finish(at);
      __syncwarp();
      if (thread % 32 == 0) this->release_item(count);
    }
  }
};

}  // namespace megafold::kernels::sm90a
