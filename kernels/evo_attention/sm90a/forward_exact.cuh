// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention forward on Hopper, one tile of 64 queries of one (batch, row, head) at a time:
//
//   S = scale q k^T + bias          wgmma; scaled and summed in fp32
//   S = -inf where masked, m' = max(m, max_j S), P = exp(S - m'), l = exp(m - m') l + sum_j P
//   O = exp(m - m') O + P v         wgmma, P from registers in bf16
//
// Every finite input is right: nothing needs a second look. It is the whole forward where nothing
// is shared (one row a batch, windows of atoms), and the second pass of the shared kernel over
// the tiles on its list. With one row a batch the bias is most of the bytes and is read once, so
// what matters is how many bytes are under way: a warp of its own brings q and, two stages ahead,
// K, V and the bias from the caller's tensors by TMA; three such CTAs run on a multiprocessor, one
// computing while the others wait. A bias that TMA cannot take (rows not 16-byte aligned, keys not
// contiguous) is loaded by the threads that need it.
#pragma once

#include "kernels/common/arch/sm90a/host.h"
#include "kernels/common/arch/sm90a/tma.cuh"
#include "kernels/evo_attention/sm90a/forward_store.cuh"

namespace megafold::kernels::sm90a {

/// kQueries: 64, or 32 where there are no more: the other half of the tile is computed from what
/// stands in shared memory, without exponentials, and never stored.
template <int kDim_, int kQueries_, int kStages_>
struct ExactShape {
  static constexpr int kDim = kDim_, kQueries = kQueries_, kStages = kStages_;
};

template <class Shape>
struct ExactLayout : Shape {
  using Shape::kDim, Shape::kQueries, Shape::kStages;
  static constexpr int kThreads = 160;  // one consumer warpgroup and the warp that loads
  static constexpr Swizzle kSwizzle = swizzle_of_row(2 * kDim);
  static constexpr int kPitch = row_bytes(kSwizzle);     // bytes of a token's row in shared memory
  static constexpr int kQueryBytes = kQueries * kPitch;  // as loaded
  static constexpr int kKeyBytes = kTileKeys * kPitch;   // of K, of V
  static constexpr int kBiasHalf = kQueries * 128;       // one box: 32 keys in f32, 64 in bf16
  static constexpr int kBiasOffset = 2 * kKeyBytes;      // within a stage
  static constexpr int kStageBytes = kBiasOffset + 2 * kBiasHalf;
  static constexpr int kQueryBuffers = kStages / 2;
  static constexpr int kQueryTile = kTileQueries * kPitch;
  static constexpr int kStageOffset = kQueryBuffers * kQueryTile;
  static constexpr int kTileBytes = kStageOffset + kStages * kStageBytes;
};

template <class L>
struct ExactSync {
  Mbarrier q_full[L::kQueryBuffers], q_empty[L::kQueryBuffers];
  Mbarrier full[L::kStages], empty[L::kStages];
};

struct ExactItem {
  int batch, row, head, tile;
};

template <class Shape_>
struct ExactContext {
  using Shape = Shape_;
  using L = ExactLayout<Shape>;
  using Sync = ExactSync<L>;
  static constexpr size_t kSharedBytes = L::kTileBytes + sizeof(Sync);
  static_assert(kExactBlocks * (kSharedBytes + 1024) <= 233472);

  const ForwardArgs& args;
  uint8_t* tiles;
  Sync& sync;

  __device__ uint8_t* query_tile(uint32_t buffer) const { return tiles + buffer * L::kQueryTile; }
  __device__ uint8_t* stage(uint32_t slot) const {
    return tiles + L::kStageOffset + slot * L::kStageBytes;
  }
  __device__ int item_count() const {
    return args.list != nullptr ? args.queue->count
                                : args.batch * args.rows * args.heads * args.query_tiles;
  }
  __device__ ExactItem item(int index) const {
    int rest = args.list != nullptr ? args.list[index] : index;
    ExactItem at;
    at.tile = rest % args.query_tiles;
    rest /= args.query_tiles;
    at.head = rest % args.heads;
    rest /= args.heads;
    at.row = rest % args.rows;
    at.batch = rest / args.rows;
    return at;
  }
  __device__ bool windows() const { return args.key_total != 0; }
  /// The token of key 0.
  __device__ int first_key(const ExactItem& at) const {
    if (!windows()) return 0;
    return args.key_first != nullptr ? args.key_first[at.batch]
                                     : args.key_offset + at.batch * args.key_step;
  }

  __device__ void init_barriers() const {
    for (int s = 0; s < L::kQueryBuffers; ++s) {
      mbarrier_init(&sync.q_full[s], 1);
      mbarrier_init(&sync.q_empty[s], 4);  // warps
    }
    for (int s = 0; s < L::kStages; ++s) {
      mbarrier_init(&sync.full[s], 1);
      mbarrier_init(&sync.empty[s], 4);
    }
    fence_mbarrier_init();
  }

  /// One lane of the loading warp.
  __device__ void produce() const {
    RingCursor<L::kStages> ring;
    RingCursor<L::kQueryBuffers> q;
    const int total = item_count();
    for (int index = blockIdx.x; index < total; index += gridDim.x) {
      const ExactItem at = item(index);
      const int first = first_key(at), key_batch = windows() ? 0 : at.batch;
      for (int t = 0; t < args.key_tiles; ++t) {
        Mbarrier* full = &sync.full[ring.slot];
        uint8_t* to = stage(ring.slot);
        mbarrier_wait(&sync.empty[ring.slot], ring.parity ^ 1);
        const int bias_bytes = args.bias_source == BiasSource::tma_f32    ? 2 * L::kBiasHalf
                               : args.bias_source == BiasSource::tma_bf16 ? L::kBiasHalf
                                                                          : 0;
        mbarrier_expect(full, 2 * L::kKeyBytes + bias_bytes);
        for (int b = 0; b < bias_bytes / L::kBiasHalf; ++b) {
          tma_load<4>(to + L::kBiasOffset + b * L::kBiasHalf, &args.bias, full,
                      {{t * kTileKeys + 32 * b, at.tile * kTileQueries, at.head, at.batch}});
        }
        const Coordinates<5> from = {{0, at.head, first + t * kTileKeys, at.row, key_batch}};
        tma_load<5>(to, &args.k, full, from);
        tma_load<5>(to + L::kKeyBytes, &args.v, full, from);
        if (t == 0) {  // behind the first bias tile, which is the longer way
          mbarrier_wait(&sync.q_empty[q.slot], q.parity ^ 1);
          mbarrier_expect(&sync.q_full[q.slot], L::kQueryBytes);
          tma_load<5>(query_tile(q.slot), &args.q, &sync.q_full[q.slot],
                      {{0, at.head, at.tile * kTileQueries, at.row, at.batch}});
          q.advance();
        }
        ring.advance();
      }
    }
  }
};

template <class Shape>
struct ExactConsumer : ExactContext<Shape> {
  using Base = ExactContext<Shape>;
  using L = typename Base::L;
  using Base::args, Base::sync;
  static constexpr int kDim = L::kDim;
  static constexpr int kScores = kTileKeys / 2, kOutputs = kDim / 2;  // a thread's share

  int thread;
  int first_ = 0;  // the token of key 0
  float s[kScores], o[kOutputs];
  float largest[2], sum[2];  // of this thread's two rows; the sum of its own columns alone
  RingCursor<L::kStages> ring;
  RingCursor<L::kQueryBuffers> q;

  __device__ explicit ExactConsumer(const Base& context)
      : Base(context), thread(static_cast<int>(threadIdx.x)) {}

  __device__ void arrive_warp(Mbarrier* barrier) const {
    __syncwarp();
    if (thread % 32 == 0) mbarrier_arrive(barrier);
  }
  /// This thread's first row of the tile.
  __device__ int first_row() const { return thread / 32 * 16 + thread % 32 / 4; }

  /// Do this warp's rows exist?
  __device__ bool computes() const {
    return L::kQueries == kTileQueries || thread < 2 * L::kQueries;
  }

  // ---- the mask: bit j of the two words says whether key j of the tile may be attended ----

  __device__ bool key_valid(const ExactItem& at, int key) const {
    bool valid = key < args.keys;
    int64_t token = key, batch = at.batch;
    if (this->windows()) {
      token += first_;
      valid = valid && token >= 0 && token < args.key_total;
      batch = 0;
    }
    if (valid && args.mask != nullptr) {
      valid = args.mask[batch * args.mask_batch + at.row * args.mask_row + token * args.mask_key];
    }
    return valid;
  }
  /// For all lanes of a warp alike; free where every key may be attended.
  __device__ void valid_words(const ExactItem& at, int t, uint32_t (&words)[2]) const {
    words[0] = words[1] = ~0U;
    if (args.mask == nullptr && (t + 1) * kTileKeys <= args.keys) {
      if (!this->windows()) return;
      const int token = first_ + t * kTileKeys;
      if (token >= 0 && token + kTileKeys <= args.key_total) return;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int key = t * kTileKeys + 32 * i + thread % 32;
      words[i] = __ballot_sync(~0U, key_valid(at, key));
    }
  }
  /// Masked rows of v become zeros: they may hold anything, and 0 * NaN is NaN.
  __device__ void clear_values(const uint32_t (&words)[2]) const {
    const int key = thread / 2;
    if (((key < 32 ? words[0] : words[1]) >> key % 32 & 1) == 0) {
      uint4* row = reinterpret_cast<uint4*>(this->stage(ring.slot) + L::kKeyBytes +
                                            key * L::kPitch + thread % 2 * (L::kPitch / 2));
#pragma unroll
      for (int c = 0; c < L::kPitch / 32; ++c) row[c] = make_uint4(0, 0, 0, 0);
    }
    fence_proxy_async();
    named_barrier_sync(1, 128);
  }
  __device__ void mask_scores(const uint32_t (&words)[2]) {
#pragma unroll
    for (int i = 0; i < kScores; ++i) {
      const uint32_t bits = words[i / 16] >> (thread % 4 * 2);
      if ((bits >> (i / 4 % 4 * 8 + i % 2) & 1) == 0) s[i] = -INFINITY;
    }
  }

  // ---- the bias of key tile t: S = scale S + bias ----

  __device__ void add_bias(const ExactItem& at, int t) {
    const uint32_t row = smem_address(this->stage(ring.slot)) + L::kBiasOffset + first_row() * 128;
    const uint32_t swizzled = thread % 32 / 4;  // row % 8, which permutes a row's chunks
    if (args.bias_source == BiasSource::tma_f32) {
      const uint32_t from = row + thread % 2 * 8;
#pragma unroll
      for (int c = 0; c < kTileKeys / 8; ++c) {
        const uint32_t chunk = (c % 4 * 2 + thread % 4 / 2) ^ swizzled;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float x[2];
          asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];"
                       : "=f"(x[0]), "=f"(x[1])
                       : "r"(from + chunk * 16 + c / 4 * L::kBiasHalf + half * 1024)
                       : "memory");
          scale_and_add(4 * c + 2 * half, x[0], x[1]);
        }
      }
    } else if (args.bias_source == BiasSource::tma_bf16) {
      const uint32_t from = row + thread % 4 * 4;
#pragma unroll
      for (int c = 0; c < kTileKeys / 8; ++c) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          uint32_t pair;
          asm volatile("ld.shared.b32 %0, [%1];"
                       : "=r"(pair)
                       : "r"(from + (c ^ swizzled) * 16 + half * 1024)
                       : "memory");
          scale_and_add(4 * c + 2 * half, __uint_as_float(pair << 16),
                        __uint_as_float(pair & 0xFFFF0000U));
        }
      }
    } else if (args.bias_source == BiasSource::plain_f32) {
      add_plain<float>(at, t);
    } else if (args.bias_source == BiasSource::plain_bf16) {
      add_plain<__nv_bfloat16>(at, t);
    } else {
#pragma unroll
      for (int i = 0; i < kScores; i += 2) scale_and_add(i, 0.0F, 0.0F);
    }
  }
  __device__ __forceinline__ void scale_and_add(int i, float x, float y) {
    s[i] = fmaf(s[i], args.scale, x);
    s[i + 1] = fmaf(s[i + 1], args.scale, y);
  }
  template <class T>
  __device__ __forceinline__ void add_plain(const ExactItem& at, int t) {
    const int query = at.tile * kTileQueries + first_row(), key = t * kTileKeys + thread % 4 * 2;
    const T* from = static_cast<const T*>(args.bias_from) + at.batch * args.bias_batch +
                    at.head * args.bias_head + query * args.bias_query + key * args.bias_key;
#pragma unroll
    for (int part = 0; part < 4; ++part) {  // 8 loads under way at a time
      T x[kScores / 4];
#pragma unroll
      for (int i = 0; i < kScores / 4; ++i) {
        const int down = i / 2 % 2 * 8, along = (part * 2 + i / 4) * 8 + i % 2;
        x[i] = T{};
        if (query + down < args.queries && key + along < args.keys) {
          x[i] = from[down * args.bias_query + along * args.bias_key];
        }
      }
#pragma unroll
      for (int i = 0; i < kScores / 4; i += 2) {
        scale_and_add(part * (kScores / 4) + i, static_cast<float>(x[i]),
                      static_cast<float>(x[i + 1]));
      }
    }
  }

  // ---- a step ----

  /// S becomes P = exp(S - m'); O and l are rescaled.
  __device__ void exponentiate(bool first) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float now = s[2 * half];
#pragma unroll
      for (int i = 0; i < kScores / 4; ++i) {
        now = fmaxf(now, fmaxf(s[4 * i + 2 * half], s[4 * i + 2 * half + 1]));
      }
      now = fmaxf(now, __shfl_xor_sync(~0U, now, 1));
      now = fmaxf(now, __shfl_xor_sync(~0U, now, 2));
      if (!first) now = fmaxf(now, largest[half]);
      const float shift = now == -INFINITY ? 0.0F : now;
      if (first) {
        sum[half] = 0.0F;
      } else {
        const float factor = exp2_fast((largest[half] - shift) * kLog2E);
        sum[half] *= factor;
#pragma unroll
        for (int i = 0; i < kOutputs / 4; ++i) {
          o[4 * i + 2 * half] *= factor;
          o[4 * i + 2 * half + 1] *= factor;
        }
      }
      largest[half] = now;
#pragma unroll
      for (int i = 0; i < kScores / 4; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          // Not fmaf(s, log2 e, -shift log2 e): that leaves fp32 at biases of -3e38.
          float& score = s[4 * i + 2 * half + j];
          score = exp2_fast((score - shift) * kLog2E);
          sum[half] += score;
        }
      }
    }
  }

  __device__ static uint64_t operand(const void* tile, Major major, int step) {
    return descriptor(smem_address(tile), L::kSwizzle, major == Major::mn ? L::kKeyBytes : 16) +
           step * k16_step(L::kSwizzle, major);
  }

  __device__ void attend(const ExactItem& at) {
    first_ = this->first_key(at);
    mbarrier_wait(&sync.q_full[q.slot], q.parity);
    uint32_t words[2];
    valid_words(at, 0, words);
    for (int t = 0; t < args.key_tiles; ++t) {
      const bool holes = (words[0] & words[1]) != ~0U;
      mbarrier_wait(&sync.full[ring.slot], ring.parity);
      if (holes) clear_values(words);
      const uint8_t* stage = this->stage(ring.slot);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k) {
        wgmma(s, operand(this->query_tile(q.slot), Major::k, k), operand(stage, Major::k, k),
              k > 0);
      }
      wgmma_commit();
      wgmma_wait<0>();
      pin(s);
      if (t + 1 == args.key_tiles) arrive_warp(&sync.q_empty[q.slot]);
      if (computes()) {
        add_bias(at, t);
        if (holes) mask_scores(words);
      }
      if (t + 1 < args.key_tiles) valid_words(at, t + 1, words);
      if (computes()) exponentiate(t == 0);
      uint32_t p[kTileKeys / 16][4];
#pragma unroll
      for (int k = 0; k < kTileKeys / 16; ++k) {
        as_operand(s, k, p[k]);
        pin(p[k]);
      }
      pin(o);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < kTileKeys / 16; ++k) {
        wgmma<Major::mn>(o, p[k], operand(stage + L::kKeyBytes, Major::mn, k), t > 0 || k > 0);
      }
      wgmma_commit();
      wgmma_wait<0>();
      pin(o);
      arrive_warp(&sync.empty[ring.slot]);
      ring.advance();
    }
    q.advance();
  }

  __device__ void consume() {
    const int total = this->item_count();
    for (int index = blockIdx.x; index < total; index += gridDim.x) {
      const ExactItem at = this->item(index);
      attend(at);
      bool none[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        sum[half] += __shfl_xor_sync(~0U, sum[half], 1);
        sum[half] += __shfl_xor_sync(~0U, sum[half], 2);
        none[half] = largest[half] == -INFINITY;
      }
      if (!computes()) continue;
      const int query = at.tile * kTileQueries + first_row();
      store_tile<kDim>(args, target_of(args, at.batch, at.row, at.head, query), 0, thread, o, sum,
                       largest, none);
    }
  }
};

template <class Shape>
__global__ void __launch_bounds__(ExactLayout<Shape>::kThreads, kExactBlocks)
    evo_attention_exact(const __grid_constant__ ForwardArgs args) {
  using Context = ExactContext<Shape>;
  extern __shared__ __align__(1024) uint8_t shared[];
  const Context context{
      args, shared, *reinterpret_cast<typename Context::Sync*>(shared + Context::L::kTileBytes)};
  if (threadIdx.x == 0) context.init_barriers();
  __syncthreads();
  allow_next_kernel();
  wait_for_earlier_kernels();
  if (threadIdx.x >= 128) {
    if (threadIdx.x == 128) context.produce();
  } else {
    ExactConsumer<Shape> consumer(context);
    consumer.consume();
  }
}

template <class Shape>
void launch_exact(const ForwardArgs& args, int grid, Stream stream) {
  using Context = ExactContext<Shape>;
  launch(evo_attention_exact<Shape>, dim3(grid), dim3(Context::L::kThreads), Context::kSharedBytes,
         stream, true, args);
}

template <class Shape>
constexpr ExactPlan exact_plan() {
  return {Shape::kQueries, launch_exact<Shape>};
}

}  // namespace megafold::kernels::sm90a
