// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The forward kernel's producer warpgroup: warp 0 hands out items, loads q and scales it, one lane
// of warp 1 loads K and V, one of warp 2 the bias, warp 3 puts the mask into V.
#pragma once

#include "kernels/evo_attention/sm90a/forward_layout.cuh"

namespace megafold::kernels::sm90a {

template <class Context>
struct ForwardProducer : Context {
  using L = typename Context::L;
  using Context::args, Context::sync, Context::kExact;

  __device__ ForwardItem decode(int item) const {
    const int blocks = kExact ? args.exact_query_blocks : args.query_blocks;
    ForwardItem at;
    at.block = item % blocks;
    item /= blocks;
    at.head = item % args.heads;
    item /= args.heads;
    at.row = item % args.row_groups * L::kRows;
    at.batch = item / args.row_groups;
    return at;
  }

  /// One lane of warp 0. Each warpgroup's q follows as soon as it has let go of the last item's, so
  /// that it arrives during the end of that item.
  __device__ void produce_queries() const {
    const int total = kExact ? args.queue->count : args.items;
    int index = blockIdx.x;
    for (uint32_t count = 0;; ++count) {
      ForwardItem at{-1, 0, 0, 0};
      if (index < total) at = decode(kExact ? args.list[index] : index);
      const uint32_t slot = count % kItemSlots;
      mbarrier_wait(&sync.item_empty[slot], (count / kItemSlots & 1) ^ 1);
      sync.items[slot] = at;
      mbarrier_arrive(&sync.item_full[slot]);
      if (at.batch < 0) return;
      index = static_cast<int>(gridDim.x) +
              atomicAdd(kExact ? &args.queue->next_exact : &args.queue->next, 1);
      uint32_t waiting = (1U << L::kGroups) - 1;
      while (waiting != 0) {
        for (int g = 0; g < L::kGroups; ++g) {
          if ((waiting >> g & 1) != 0 && mbarrier_test(&sync.q_empty[g], (count & 1) ^ 1)) {
            load_queries(at, g);
            waiting ^= 1U << g;
          }
        }
        __nanosleep(40);
      }
    }
  }
  __device__ void load_queries(const ForwardItem& at, int g) const {
    mbarrier_expect(&sync.q_full[g], L::kSubs * L::kQueryBytes);
    for (int sub = 0; sub < L::kSubs; ++sub) {
      const int token = Context::query_tile_index(at, g % L::kQueryGroups, sub) * kTileQueries;
      tma_load<5>(this->query_tile(g, sub), &args.q, &sync.q_full[g],
                  {{0, at.head, token, at.row + g / L::kQueryGroups, at.batch}});
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

  /// One lane of warp 2, unless consumers read the bias themselves.
  __device__ void produce_bias() const {
    RingCursor<L::kBiasStages> bias;
    for (uint32_t count = 0;; ++count) {
      const ForwardItem at = this->wait_item(count);
      this->release_item(count);
      if (at.batch < 0) return;
      if (args.bias_tiles == nullptr) continue;
      const int64_t head = int64_t{at.batch} * args.heads + at.head;
      for (int t = 0; t < args.key_tiles; ++t) {
        for (int i = 0; i < L::kQueryTiles; ++i) {
          // A block's last tiles may lie past the last query: any tile serves.
          const int tile = min(at.block * L::kQueryTiles + i, args.query_tiles - 1);
          const int64_t from = (head * args.query_tiles + tile) * args.key_tiles + t;
          mbarrier_wait(&sync.bias_empty[bias.slot], bias.parity ^ 1);
          mbarrier_expect(&sync.bias_full[bias.slot], L::kBiasBytes);
          bulk_load(this->bias_tile(bias.slot), args.bias_tiles + from * (L::kBiasBytes / 4),
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
    const uint32_t values = this->values_tile(0, 0) + lane * L::kPitch;
    const uint32_t column = (L::kValidInside ? L::kDim / 8 ^ permuted : permuted) * 16 +
                            (L::kValidInside ? 0 : L::kKeyBytes);
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
        if (kExact && lane < kWords) {
          sync.valid[kv.slot][lane / L::kParts][lane % L::kParts] = word;
        }
        // K and V have arrived; where `valid` is part of v's row, they have overwritten it.
        const bool all = __all_sync(~0U, word == ~0U);
        if (L::kValidInside || !all || !(marked >> kv.slot & 1)) {
          const uint32_t stage = values + kv.slot * L::kStageBytes;
#pragma unroll
          for (int i = 0; i < kWords; ++i) {
            const bool valid = __shfl_sync(~0U, word, i) >> lane & 1;
            const uint32_t row =
                stage + i / L::kParts * L::kRowBytes + i % L::kParts * 32 * L::kPitch;
            store_16(row + column, valid ? 0x3F803F80U : 0);  // bf16 1, twice
            if (!valid) {
#pragma unroll
              for (int c = 0; c < L::kPitch / 16; ++c) store_16(row + c * 16, 0);
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
