// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A consumer warpgroup of the shared kernel: the steps of one row's tiles, and their end.
#pragma once

#include "kernels/evo_attention/sm90a/forward_layout.cuh"
#include "kernels/evo_attention/sm90a/forward_store.cuh"

namespace megafold::kernels::sm90a {

template <class Context>
struct ForwardConsumer : Context {
  using L = typename Context::L;
  using Context::args, Context::sync;
  static constexpr int kDim = L::kDim, kKeys = L::kKeys, kSubs = L::kSubs;
  static constexpr int kScores = kKeys / 2;        // accumulators of a score tile, per thread
  static constexpr int kOutputs = (kDim + 8) / 2;  // of [O | l]
  static constexpr int kSum = kDim / 2;            // where l stands in them (and in kSum + 2)

  int group, thread;  // group: the row, 0 .. 2; thread: within the warpgroup
  // Low words of the descriptors of stage 0, and this thread's place in bias slot 0. Opaque to the
  // compiler, which would rather work them out again in each step.
  uint32_t q_low, k_low, v_low, bias_place;
  static constexpr int kBuffers = L::kBuffers;
  float s[kBuffers][kScores];  // this step's scores and the next one's
  float o[kSubs][kOutputs];
  float scale_log2;  // scale log2(e)
  RingCursor<L::kKvStages> kv;
  RingCursor<L::kBiasStages> bias;  // the slot to load next
  uint32_t loaded_slot = 0;         // the one loaded last

  __device__ ForwardConsumer(const Context& context, int warpgroup)
      : Context(context),
        group(warpgroup),
        thread(static_cast<int>(threadIdx.x % 128)),
        scale_log2(context.args.scale * kLog2E) {
    q_low = smem_address(this->query_tile(group, 0)) >> 4 | 1U << 16;
    k_low = this->keys_tile(0, group) >> 4 | 1U << 16;
    // Behind v's own columns the product finds `valid`, however far away that is.
    const uint32_t to_valid = L::kValidOffset + group * 16 - group * L::kRowBytes - L::kKeyBytes;
    v_low = this->values_tile(0, group) >> 4 | (to_valid >> 4) << 16;
    bias_place = smem_address(this->bias_tile(0)) + thread * 16;
    asm volatile("" : "+r"(q_low), "+r"(k_low), "+r"(v_low), "+r"(bias_place));
  }

  __device__ bool has_bias() const { return args.bias_tiles != nullptr; }
  __device__ void arrive_warp(Mbarrier* barrier) const {
    __syncwarp();
    if (thread % 32 == 0) mbarrier_arrive(barrier);
  }

  // ---- the bias: key tile t of the next tile in turn, in the accumulators' registers ----

  __device__ void wait_bias() const {
    if (has_bias()) mbarrier_wait(&sync.bias_full[bias.slot], bias.parity);
  }
  /// The accumulators of 8-key block `c`, as bits.
  __device__ __forceinline__ void load_16(int c, uint32_t (&to)[4]) const {
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(bias_place + bias.slot * L::kBiasBytes + c * 2048)
                 : "memory");
  }
  /// Those of keys 16 k .. 16 k + 15; k is a constant once loops are unrolled.
  template <int kBuffer>
  __device__ __forceinline__ void load_bias(int k) {
    if (!has_bias()) return;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      uint32_t bits[4];
      load_16(2 * k + i, bits);
#pragma unroll
      for (int j = 0; j < 4; ++j) s[kBuffer][8 * k + 4 * i + j] = __uint_as_float(bits[j]);
    }
  }
  template <int kBuffer>
  __device__ __forceinline__ void load_bias_tile() {
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) load_bias<kBuffer>(k);
  }
  __device__ void advance_bias() {
    loaded_slot = bias.slot;
    bias.advance();
  }
  /// The slot loaded last may be filled again: after the products that read those registers were
  /// issued, and before the next load.
  __device__ void release_bias() const {
    __syncwarp();
    if (has_bias() && thread % 32 == 0) mbarrier_arrive(&sync.bias_empty[loaded_slot]);
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

  /// P from S, which stands in units of 1 / scale: q and k go into the product as they are, so that
  /// lse belongs to the very S that a backward makes of them.
  __device__ float weight(float score) const { return exp2_fast(score * scale_log2); }

  // ---- the steps ----

  /// What follows a step: nothing, the same keys and the next sub, or the next keys.
  enum class Next { none, sub, keys };

  /// The step of key tile t, whose scores stand in s[kBuffer]. The next tile's product q k^T starts
  /// (its bias is loaded already); then P, and into its place, block by block, the bias after next
  /// (kLoad: there is one); then O's product.
  template <int kSub, int kBuffer, Next kNext, bool kLoad>
  __device__ void step(int t) {
    constexpr int kOther = 1 - kBuffer;
    RingCursor<L::kKvStages> next = kv;
    if constexpr (kNext == Next::keys) {
      next.advance();
      mbarrier_wait(&sync.kv_ready[next.slot][group], next.parity);
    }
    if constexpr (kLoad) wait_bias();
    if constexpr (kNext != Next::none) {
      pin(s[kOther]);
      wgmma_fence();
      multiply_keys<kOther>(next.slot, kNext == Next::keys ? 0 : kSub + 1);
      wgmma_commit();
    }
    uint32_t p[kKeys / 16][4];
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        p[k][i] =
            pack_bf16(weight(s[kBuffer][8 * k + 2 * i]), weight(s[kBuffer][8 * k + 2 * i + 1]));
      }
      pin(p[k]);
      if constexpr (kLoad) load_bias<kBuffer>(k);
    }
    wgmma_fence();
    multiply_values<kSub>(p, kv.slot, t > 0);
    wgmma_commit();
    if constexpr (kNext != Next::none) release_bias();
    if constexpr (kLoad) advance_bias();
    wgmma_wait<0>();
    if constexpr (kNext != Next::none) pin(s[kOther]);
    pin(o[kSub]);
    if constexpr (kSub + 1 == kSubs) arrive_warp(&sync.kv_empty[kv.slot][group]);
    if constexpr (kNext == Next::keys) kv = next;
  }

  /// The same with one score buffer: P; O's product; under it the next tile's bias takes the
  /// scores' place, and its q k^T follows.
  template <int kSub, Next kNext>
  __device__ void step_single(int t) {
    uint32_t p[kKeys / 16][4];
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        p[k][i] = pack_bf16(weight(s[0][8 * k + 2 * i]), weight(s[0][8 * k + 2 * i + 1]));
      }
      pin(p[k]);
    }
    wgmma_fence();
    multiply_values<kSub>(p, kv.slot, t > 0);
    wgmma_commit();
    RingCursor<L::kKvStages> next = kv;
    if constexpr (kNext != Next::none) {
      wait_bias();
      load_bias_tile<0>();
      advance_bias();
      if constexpr (kNext == Next::keys) {
        next.advance();
        mbarrier_wait(&sync.kv_ready[next.slot][group], next.parity);
      }
      pin(s[0]);
      wgmma_fence();
      multiply_keys<0>(next.slot, kNext == Next::keys ? 0 : kSub + 1);
      wgmma_commit();
      release_bias();
    }
    wgmma_wait<0>();
    if constexpr (kNext != Next::none) pin(s[0]);
    pin(o[kSub]);
    if constexpr (kSub + 1 == kSubs) arrive_warp(&sync.kv_empty[kv.slot][group]);
    if constexpr (kNext == Next::keys) kv = next;
  }
  __device__ void attend_single() {
    int t = 0;
    for (; t + 1 < args.key_tiles; ++t) {
      step_single<0, Next::sub>(t);
      step_single<1, Next::keys>(t);
    }
    step_single<0, Next::sub>(t);
    arrive_warp(&sync.q_empty[group]);
    step_single<1, Next::none>(t);
  }

  /// Buffer i holds sub i.
  __device__ void attend_double() {
    int t = 0;
    for (; t + 1 < args.key_tiles; ++t) {
      step<0, 0, Next::sub, true>(t);
      step<1, 1, Next::keys, true>(t);
    }
    step<0, 0, Next::sub, false>(t);
    arrive_warp(&sync.q_empty[group]);
    step<1, 1, Next::none, false>(t);
  }
  /// Item number `count` of this CTA.
  __device__ void attend(uint32_t count) {
    mbarrier_wait(&sync.q_full[group], count & 1);
    mbarrier_wait(&sync.kv_ready[kv.slot][group], kv.parity);
    wait_bias();
    load_bias_tile<0>();
    advance_bias();
    pin(s[0]);
    wgmma_fence();
    multiply_keys<0>(kv.slot, 0);
    wgmma_commit();
    release_bias();
    if constexpr (kBuffers == 2) {
      wait_bias();
      load_bias_tile<kBuffers - 1>();
      advance_bias();
    }
    wgmma_wait<0>();
    pin(s[0]);
    if constexpr (kBuffers == 1) {
      attend_single();
    } else {
      attend_double();
    }
    kv.advance();
  }

  // ---- the end of an item ----

  /// Normalises, gates and stores the item's tiles of O, and their lse.
  __device__ void finish(const ForwardItem& at) {
    const int row = at.row + group;
    if (row >= args.rows) return;  // the whole warpgroup alike
    // Or the compiler keeps what follows from it in registers through the steps, and spills.
    asm volatile("" : "+r"(thread));
    const int query = at.block * kSubs * kTileQueries + thread / 32 * 16 + thread % 32 / 4;
    const ForwardTarget target = target_of(args, at.batch, row, at.head, query);
    finish_tile<0>(at, row, target);
    finish_tile<1>(at, row, target);
  }

  template <int kSub>
  __device__ void finish_tile(const ForwardItem& at, int row, const ForwardTarget& target) {
    const bool good = tile_good<kSub>(target.query + kSub * kTileQueries);
    bool no_key = false;
    if (!__all_sync(~0U, good)) {
      if (hand_over(at, row, at.block * kSubs + kSub)) return;
      no_key = true;
    }
    const float sum[2] = {o[kSub][kSum], o[kSub][kSum + 2]};
    const float top[2] = {0.0F, 0.0F};
    const bool none[2] = {no_key, no_key};
    store_tile<kDim>(args, target, kSub * kTileQueries, thread, o[kSub], sum, top, none);
  }

  /// Did neither of this thread's rows leave the range in which it is right?
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

  /// Some row of this warp is out of range: puts the tile on the exact kernel's list, unless
  /// another warp has. false: no key of the row may be attended, which needs no work.
  __device__ bool hand_over(const ForwardItem& at, int row, int tile) const {
    const uint32_t* words = this->valid_words(at, row);
    uint32_t any = 0;
    for (int i = thread % 32; i < args.key_tiles * L::kParts; i += 32) any |= words[i];
    if (!__any_sync(~0U, any != 0)) return false;
    if (thread % 32 == 0 && tile < args.query_tiles) {
      const int line = (at.batch * args.rows + row) * args.heads + at.head;
      const int item = line * args.query_tiles + tile;
      if (atomicExch(&args.flags[item], 1) == 0) {
        args.list[atomicAdd(&args.queue->count, 1)] = item;
      }
    }
    return true;
  }

  __device__ void consume() {
    for (uint32_t count = 0;; ++count) {
      ForwardItem at = this->wait_item(count);
      if (at.batch < 0) break;
      attend(count);
      at = this->sync.items[count % kItemSlots];
      finish(at);
      __syncwarp();
      if (thread % 32 == 0) this->release_item(count);
    }
  }
};

}  // namespace megafold::kernels::sm90a
