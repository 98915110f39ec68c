// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the shared kernel's warps share: the places in shared memory, the barriers, the items.
#pragma once

#include "kernels/common/arch/sm90a/tma.cuh"
#include "kernels/common/arch/sm90a/wgmma.cuh"
#include "kernels/evo_attention/sm90a/forward.h"

namespace megafold::kernels::sm90a {

/// Sizes and places that follow from a ForwardShape.
template <class Shape>
struct ForwardLayout : Shape {
  using Shape::kDim, Shape::kRows, Shape::kSubs, Shape::kBuffers;
  using Shape::kKvStages, Shape::kBiasStages;
  static constexpr int kKeys = kTileKeys;
  static constexpr int kThreads = 128 * (kRows + 1);
  static constexpr int kParts = kKeys / 32;  // words of 32 keys in a tile

  static constexpr Swizzle kSwizzle = swizzle_of_row(2 * kDim);
  static constexpr int kPitch = row_bytes(kSwizzle);  // bytes of a token's row in shared memory
  static constexpr bool kValidInside = 2 * kDim < kPitch;  // `valid` fits beside v in its row

  static constexpr int kQueryBytes = kTileQueries * kPitch;  // of one tile
  static constexpr int kKeyBytes = kKeys * kPitch;           // of K, of V
  static constexpr int kRowBytes = 2 * kKeyBytes;
  // K and V of a step, and the `valid` columns of its rows side by side: chunk r is row r's.
  static constexpr int kValidOffset = kRows * kRowBytes;
  static constexpr int kStageBytes = kValidOffset + (kValidInside ? 0 : kKeyBytes);
  static_assert(kValidInside || kRows <= kPitch / 16);
  static constexpr int kBiasBytes = kTileQueries * kKeys * 4;

  static constexpr int kRowQueryBytes = kSubs * kQueryBytes;
  static constexpr int kQOffset = kKvStages * kStageBytes;
  static constexpr int kBiasOffset = kQOffset + kRows * kRowQueryBytes;
  static constexpr int kTileBytes = kBiasOffset + kBiasStages * kBiasBytes;

  // setmaxnreg hands round what the CTA was launched with and no more: 512 threads at 128
  // registers. Asking for more waits forever.
  static constexpr int kProducerRegisters = 32, kConsumerRegisters = 160;
  static_assert(kRows == 3 && kSubs == 2 && (kBuffers == 1 || kBuffers == 2));
};

struct alignas(16) ForwardItem {
  int batch, row, head, block;  // row: the first of the group's; batch < 0: no more items
};

constexpr int kItemSlots = 4;

/// What stands in shared memory behind the tiles. Phases: items for q_* and item_*, steps for
/// kv_*, tiles for bias_*.
template <class L>
struct ForwardSync {
  Mbarrier q_full[L::kRows], q_empty[L::kRows];
  Mbarrier kv_full[L::kKvStages][L::kRows];   // K and V have arrived
  Mbarrier kv_ready[L::kKvStages][L::kRows];  // .. and the mask is in them
  Mbarrier kv_empty[L::kKvStages][L::kRows];
  Mbarrier bias_full[L::kBiasStages], bias_empty[L::kBiasStages];
  Mbarrier item_full[kItemSlots], item_empty[kItemSlots];
  ForwardItem items[kItemSlots];
};

/// The parts of the kernel's state that every warp has.
template <class Shape_>
struct ForwardContext {
  using Shape = Shape_;
  using L = ForwardLayout<Shape>;
  using Sync = ForwardSync<L>;
  static constexpr size_t kSharedBytes = L::kTileBytes + sizeof(Sync);
  static_assert(kSharedBytes <= 232448);

  const ForwardArgs& args;
  uint8_t* tiles;
  Sync& sync;

  __device__ uint32_t keys_tile(int stage, int row) const {
    return smem_address(tiles) + stage * L::kStageBytes + row * L::kRowBytes;
  }
  __device__ uint32_t values_tile(int stage, int row) const {
    return keys_tile(stage, row) + L::kKeyBytes;
  }
  __device__ uint8_t* query_tile(int row, int sub) const {
    return tiles + L::kQOffset + row * L::kRowQueryBytes + sub * L::kQueryBytes;
  }
  __device__ uint8_t* bias_tile(int stage) const {
    return tiles + L::kBiasOffset + stage * L::kBiasBytes;
  }

  __device__ bool windows() const { return args.key_total != 0; }
  /// The token of key 0.
  __device__ int first_key(const ForwardItem& at) const {
    if (!windows()) return 0;
    return args.key_first != nullptr ? args.key_first[at.batch]
                                     : args.key_offset + at.batch * args.key_step;
  }
  /// The words of (batch, row): bit j % 32 of word j / 32 says whether key j may be attended.
  __device__ const uint32_t* valid_words(const ForwardItem& at, int row) const {
    const int64_t rows = int64_t{args.row_groups} * L::kRows;
    return args.valid + (at.batch * rows + row) * args.key_tiles * L::kParts;
  }

  __device__ void init_barriers() const {
    for (int r = 0; r < L::kRows; ++r) {
      mbarrier_init(&sync.q_full[r], 1);
      mbarrier_init(&sync.q_empty[r], 4);  // warps
    }
    for (int s = 0; s < L::kKvStages; ++s) {
      for (int r = 0; r < L::kRows; ++r) {
        mbarrier_init(&sync.kv_full[s][r], 1);
        mbarrier_init(&sync.kv_ready[s][r], 1);
        mbarrier_init(&sync.kv_empty[s][r], 4);
      }
    }
    for (int s = 0; s < L::kBiasStages; ++s) {
      mbarrier_init(&sync.bias_full[s], 1);
      mbarrier_init(&sync.bias_empty[s], 4 * L::kRows);
    }
    for (int s = 0; s < kItemSlots; ++s) {
      mbarrier_init(&sync.item_full[s], 1);
      // The consumers' warps, and the warps of K and V, of the bias and of the mask.
      mbarrier_init(&sync.item_empty[s], 4 * L::kRows + 3);
    }
    fence_mbarrier_init();
  }

  /// Item number `count` of this CTA; whole warps or single lanes call it in step. release_item
  /// afterwards gives its slot back.
  __device__ ForwardItem wait_item(uint32_t count) const {
    mbarrier_wait(&sync.item_full[count % kItemSlots], count / kItemSlots & 1);
    return sync.items[count % kItemSlots];
  }
  __device__ void release_item(uint32_t count) const {
    mbarrier_arrive(&sync.item_empty[count % kItemSlots]);
  }
};

}  // namespace megafold::kernels::sm90a
