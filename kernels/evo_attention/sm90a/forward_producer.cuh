// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The shared kernel's producer warpgroup: one lane each of warp 0 hands out items and loads
// q, of warp 1 loads K and V, of warp 2 the bias; warp 3 puts the mask into V.
#pragma once

#include "kernels/evo_attention/sm90a/forward_layout.cuh"

namespace megafold::kernels::sm90a {

template <class Context>
struct ForwardProducer : Context {
  using L = typename Context::L;
  using Context::args, Context::sync;

  __device__ ForwardItem decode(int item) const {
    ForwardItem at;
    at.block = item % args.query_blocks;
    item /= args.query_blocks;
    at.head = item % args.head_group;
    item /= args.head_group;
    at.row = item % args.row_groups * L::kRows;
    item /= args.row_groups;
    const int head_groups = args.heads / args.head_group;
    at.head += item % head_groups * args.head_group;
    at.batch = item / head_groups;
    return at;
  }

  /// One lane of warp 0. A row's q of the next item follows as soon as its consumer has let go of
  /// this one's, so that it arrives during the end of the item.
  __device__ void produce_queries() const {
    int index = blockIdx.x;
    for (uint32_t count = 0;; ++count) {
      ForwardItem at{-1, 0, 0, 0};
      if (index < args.items) at = decode(index);
      const uint32_t slot = count % kItemSlots;
      mbarrier_wait(&sync.item_empty[slot], (count / kItemSlots & 1) ^ 1);
      sync.items[slot] = at;
      mbarrier_arrive(&sync.item_full[slot]);
      if (at.batch < 0) return;
      index = static_cast<int>(gridDim.x) + atomicAdd(&args.queue->next, 1);
      uint32_t waiting = (1U << L::kRows) - 1;
      while (waiting != 0) {
        for (int r = 0; r < L::kRows; ++r) {
          if ((waiting >> r & 1) != 0 && mbarrier_test(&sync.q_empty[r], (count & 1) ^ 1)) {
            load_queries(at, r);
            waiting ^= 1U << r;
          }
        }
        __nanosleep(40);
      }
    }
  }
  __device__ void load_queries(const ForwardItem& at, int row) const {
    mbarrier_expect(&sync.q_full[row], L::kRowQueryBytes);
    for (int sub = 0; sub < L::kSubs; ++sub) {
      const int token = (at.block * L::kSubs + sub) * kTileQueries;
      tma_load<5>(this->query_tile(row, sub), &args.q, &sync.q_full[row],
                  {{0, at.head, token, at.row + row, at.batch}});
    }
  }

  /// One lane of warp 1.
  __device__ void produce_keys() const {
    RingCursor<L::kKvStages> kv;
    for (uint32_t count = 0;; ++count) {
      const ForwardItem at = this->wait_item(count);
      this->release_item(count);
      if (at.batch < 0) return;
      const int first = this->first_key(at), batch = this->windows() ? 0 : at.batch;
      for (int t = 0; t < args.key_tiles; ++t) {
        for (int r = 0; r < L::kRows; ++r) {
          Mbarrier* full = &sync.kv_full[kv.slot][r];
          mbarrier_wait(&sync.kv_empty[kv.slot][r], kv.parity ^ 1);
          mbarrier_expect(full, 2 * L::kKeyBytes);
          const Coordinates<5> from = {{0, at.head, first + t * L::kKeys, at.row + r, batch}};
          uint8_t* to = this->tiles + kv.slot * L::kStageBytes + r * L::kRowBytes;
          tma_load<5>(to, &args.k, full, from);
          tma_load<5>(to + L::kKeyBytes, &args.v, full, from);
        }
        kv.advance();
      }
    }
  }

  /// One lane of warp 2.
  __device__ void produce_bias() const {
    RingCursor<L::kBiasStages> bias;
    for (uint32_t count = 0;; ++count) {
      const ForwardItem at = this->wait_item(count);
      this->release_item(count);
      if (at.batch < 0) return;
      if (args.bias_tiles == nullptr) continue;
      const int64_t head = int64_t{at.batch} * args.heads + at.head;
      for (int t = 0; t < args.key_tiles; ++t) {
        for (int i = 0; i < L::kSubs; ++i) {
          // A block's last tiles may lie past the last query: any tile serves.
          const int tile = min(at.block * L::kSubs + i, args.query_tiles - 1);
          const int64_t from = (head * args.query_tiles + tile) * args.key_tiles + t;
          mbarrier_wait(&sync.bias_empty[bias.slot], bias.parity ^ 1);
          mbarrier_expect(&sync.bias_full[bias.slot], L::kBiasBytes);
          bulk_load(this->bias_tile(bias.slot),
                    static_cast<const uint8_t*>(args.bias_tiles) + from * L::kBiasBytes,
                    L::kBiasBytes, &sync.bias_full[bias.slot]);
          bias.advance();
        }
      }
    }
  }

  /// Warp 3, all lanes; lane r * kParts + i looks after word i of row r.
  __device__ void apply_mask(int lane) const {
    constexpr int kWords = L::kRows * L::kParts;
    // Chunk c of a row lies at c ^ permuted (Swizzle), the same for all of this lane's keys.
    const int permuted = L::kPitch == 128 ? lane % 8 : lane / 2 % 4;
    const uint32_t place = this->keys_tile(0, 0) + lane * L::kPitch;
    RingCursor<L::kKvStages> kv;
    uint32_t marked = 0;  // bit per stage: every `valid` of it is 1 already
    for (uint32_t count = 0;; ++count) {
      const ForwardItem at = this->wait_item(count);
      __syncwarp();
      if (lane == 0) this->release_item(count);
      if (at.batch < 0) return;
      const uint32_t* words = nullptr;
      uint32_t next = ~0U;
      if (lane < kWords) {
        words = this->valid_words(at, at.row + lane / L::kParts) + lane % L::kParts;
        next = *words;
      }
      for (int t = 0; t < args.key_tiles; ++t) {
        const uint32_t word = next;
        if (lane < kWords && t + 1 < args.key_tiles) next = *(words += L::kParts);
        for (int r = 0; r < L::kRows; ++r) mbarrier_wait(&sync.kv_full[kv.slot][r], kv.parity);
        // K and V have arrived; where `valid` is part of v's row, they have overwritten it.
        const bool all = __all_sync(~0U, word == ~0U);
        if (L::kValidInside || !all || !(marked >> kv.slot & 1)) {
          const uint32_t stage = place + kv.slot * L::kStageBytes;
#pragma unroll
          for (int i = 0; i < kWords; ++i) {
            const bool valid = __shfl_sync(~0U, word, i) >> lane & 1;
            const int r = i / L::kParts;
            const uint32_t key = stage + i % L::kParts * 32 * L::kPitch;
            const uint32_t value = key + r * L::kRowBytes + L::kKeyBytes;
            const uint32_t column = L::kValidInside ? value + (L::kDim / 8 ^ permuted) * 16
                                                    : key + L::kValidOffset + (r ^ permuted) * 16;
            store_16(column, valid ? 0x3F803F80U : 0);  // bf16 1, twice
            if (!valid) {
#pragma unroll
              for (int c = 0; c < L::kPitch / 16; ++c) {
                if (!L::kValidInside || c != (L::kDim / 8 ^ permuted)) store_16(value + c * 16, 0);
              }
            }
          }
          fence_proxy_async();
        }
        marked = all ? marked | 1U << kv.slot : marked & ~(1U << kv.slot);
        __syncwarp();
        if (lane < L::kRows) mbarrier_arrive(&sync.kv_ready[kv.slot][lane]);
        kv.advance();
      }
    }
  }
  __device__ static void store_16(uint32_t to, uint32_t word) {
    asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(to), "r"(word) : "memory");
  }
};

}  // namespace megafold::kernels::sm90a
