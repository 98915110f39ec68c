// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention forward, portable: one block per (batch, row, head, tile of queries), online softmax
// in base 2 over tiles of keys, O(N) memory.
//
// A wave keeps 16 queries as operands in registers; K and V tiles go through shared memory, two of
// each in flight where they fit. Scores S are accumulators with queries on lines, so row maxima and
// sums stay within a lane and its line, and P becomes the left operand of P V where it is.
// Bound by exponentials and shared-memory reads (one ldmatrix for two products).
#pragma once

#include "kernels/evo_attention/portable/tiles.h"

namespace megafold::kernels::evo_portable {

/// Which (batch, row, head, tile) a block works on; tiles are the fastest, so that neighbours share
/// K and V in the cache.
struct Work {
  int64_t batch, row, head, tile;
};
MEGAFOLD_DEVICE Work work_of(int64_t block, int64_t rows, int64_t heads, int64_t tiles) {
  Work work;
  work.tile = block % tiles;
  block /= tiles;
  work.head = block % heads;
  block /= heads;
  work.row = block % rows;
  work.batch = block / rows;
  return work;
}

/// For each key of a tile, what min(score, cap) makes of it: +inf keeps the score (NaN included:
/// min(NaN, +inf) = +inf, whose softmax is NaN), -inf drops the key whatever its score is.
/// Three tiles' worth live in shared memory: the one in use, the one being copied (caps also say
/// which rows of K and V may be read) and the one whose mask bytes are on their way.
template <class Arch, class C>
struct Caps {
  typename Arch::template Shared<float> at;

  MEGAFOLD_DEVICE typename Arch::template Shared<float> of(int tile) const {
    return at + tile % 3 * C::kLoop;
  }
  MEGAFOLD_DEVICE void put(int tile, bool keep) const {
    if (Arch::thread() < C::kLoop) {
      Arch::template store<1>(of(tile) + Arch::thread(),
                              arch::Pack<float, 1>{keep ? kInfinity : -kInfinity});
    }
  }
  MEGAFOLD_DEVICE bool keeps(int tile, int key) const {
    return Arch::template load<1>(of(tile) + key).v[0] > 0.0F;
  }
};

template <class C>
struct ForwardKernel {
  using Args = ForwardArgs;
  using T = typename C::Element;
  static constexpr const char* kName = "evo_attention_forward";
  static constexpr int kWaves = C::kWaves;
  static constexpr int kBlocks = C::kWidth == 64 ? 2 : 0;  // for a third, ptxas spills 24 bytes
  static constexpr int kStages = 4 * C::kLoopBytes + 3 * C::kFloats <= kSharedLimit ? 2 : 1;
  static constexpr int kCapsAt = 2 * kStages * C::kLoopBytes;
  static constexpr int kSharedBytes = kCapsAt + 3 * C::kFloats;
  static_assert(kSharedBytes <= kSharedLimit && C::kLoop <= 32 * kWaves);

  template <class Arch>
  MEGAFOLD_DEVICE static void run(const Args& args, int64_t block) {
    using Accumulator = typename Arch::Accumulator;
    const EvoAttentionForward& p = args.params;
    const Work work = work_of(block, p.rows, p.heads, args.query_tiles);
    const Keys keys = keys_of(p, work.batch);
    const T* k = static_cast<const T*>(p.k) +
                 offset_of(p.k_stride, keys.batch, work.row, work.head) +
                 keys.first * p.k_stride.token;
    const T* v = static_cast<const T*>(p.v) +
                 offset_of(p.v_stride, keys.batch, work.row, work.head) +
                 keys.first * p.v_stride.token;
    const int64_t query0 = work.tile * C::kRows + Arch::wave() * arch::kTile;
    const bool active = query0 < p.queries;
    const int tiles = static_cast<int>((p.keys + C::kLoop - 1) / C::kLoop);
    const Caps<Arch, C> caps{Arch::template shared<float>(kCapsAt)};

    const auto k_tile = [&](int tile) {
      return Arch::template shared<T>(tile % kStages * 2 * C::kLoopBytes);
    };
    const auto v_tile = [&](int tile) { return k_tile(tile) + C::kLoop * C::kStride; };
    const auto keep = [&](int tile) {
      return may_attend(p, keys, work.row, int64_t{tile} * C::kLoop + Arch::thread());
    };
    const auto copy = [&](int tile) {
      const auto valid = [&](int row) { return caps.keeps(tile, row); };
      copy_tile<Arch, C, C::kLoop>(k_tile(tile), k + int64_t{tile} * C::kLoop * p.k_stride.token,
                                   p.k_stride.token, args.k_aligned, valid);
      copy_tile<Arch, C, C::kLoop>(v_tile(tile), v + int64_t{tile} * C::kLoop * p.v_stride.token,
                                   p.v_stride.token, args.v_aligned, valid);
      Arch::copy_commit();
    };

    caps.put(0, keep(0));
    caps.put(1, keep(1));
    bool next_keep = keep(2);

    typename Arch::template Operand<T> q[C::kWidthFragments];
    load_queries<Arch>(q, p, work, query0);
    const BiasView bias_view = bias_by_query(p, work.batch, work.head, args.bias_aligned);

    Accumulator o[C::kWidthFragments];
    clear<Arch, C>(o);
    float highest[Arch::kLines], sum[Arch::kLines];  // of the scores so far, in base 2
    MEGAFOLD_UNROLL
    for (int l = 0; l < Arch::kLines; ++l) {
      highest[l] = -kInfinity;
      sum[l] = 0.0F;
    }

    if constexpr (kStages == 2) {
      Arch::barrier();
      if (tiles > 0) {
        copy(0);
      }
    }
    for (int tile = 0; tile < tiles; ++tile) {
      if constexpr (kStages == 1) {
        Arch::barrier();  // everyone is done with the tile before
        copy(tile);
      }
      float bias[C::kLoopFragments][Arch::kElements];
      load_bias<Arch>(bias, bias_view, active ? query0 : p.queries, int64_t{tile} * C::kLoop);
      Arch::template copy_wait<0>();
      Arch::barrier();  // this tile is here, and everyone is done with the one before
      if constexpr (kStages == 2) {
        if (tile + 1 < tiles) {
          copy(tile + 1);
        }
      }
      caps.put(tile + 2, next_keep);
      next_keep = keep(tile + 3);
      if (!active) {
        continue;
      }

      Accumulator s[C::kLoopFragments];
      clear<Arch, C>(s);
      const auto k_here = k_tile(tile);
      MEGAFOLD_UNROLL
      for (int d = 0; d < C::kWidthFragments; ++d) {
        MEGAFOLD_UNROLL
        for (int n = 0; n < C::kLoopFragments; ++n) {
          Arch::template multiply<T>(
              s[n], q[d],
              Arch::template load_lines<T>(
                  k_here + (n * arch::kTile * C::kStride + d * arch::kTile), C::kStride));
        }
      }
      update_softmax<Arch>(s, o, highest, sum, bias, args.base2_scale, caps.of(tile));
      multiply_tile<Arch, C>(o, s, v_tile(tile));
    }
    if (active) {
      finish<Arch>(o, highest, sum, args, work, query0);
    }
  }

 private:
  /// The wave's queries as left operands, straight from global memory: it happens once.
  template <class Arch>
  MEGAFOLD_DEVICE static void load_queries(
      typename Arch::template Operand<T> (&q)[C::kWidthFragments], const EvoAttentionForward& p,
      const Work& work, int64_t query0) {
    const T* from =
        static_cast<const T*>(p.q) + offset_of(p.q_stride, work.batch, work.row, work.head);
    MEGAFOLD_UNROLL
    for (int d = 0; d < C::kWidthFragments; ++d) {
      typename Arch::Accumulator values;
      MEGAFOLD_UNROLL
      for (int i = 0; i < Arch::kElements; ++i) {
        const int64_t query = query0 + Arch::line(Arch::slot(i));
        const int column = d * arch::kTile + Arch::step(i);
        values.v[i] = query < p.queries && column < C::kDim
                          ? Arch::to_float(from[query * p.q_stride.token + column])
                          : 0.0F;
      }
      q[d] = Arch::template convert<T>(values);
    }
  }

  /// Turns products into P = exp2(score - highest), and rescales o and sum when highest moves. The
  /// sums are each lane's own until the end.
  template <class Arch>
  MEGAFOLD_DEVICE static void update_softmax(
      typename Arch::Accumulator (&s)[C::kLoopFragments],
      typename Arch::Accumulator (&o)[C::kWidthFragments], float (&highest)[Arch::kLines],
      float (&sum)[Arch::kLines], const float (&bias)[C::kLoopFragments][Arch::kElements],
      float scale, typename Arch::template Shared<float> caps) {
    float top[Arch::kLines], rescale[Arch::kLines];
    MEGAFOLD_UNROLL
    for (int l = 0; l < Arch::kLines; ++l) {
      top[l] = highest[l];
    }
    MEGAFOLD_UNROLL
    for (int n = 0; n < C::kLoopFragments; ++n) {
      MEGAFOLD_UNROLL
      for (int i = 0; i < Arch::kElements; i += Arch::kRun) {
        const auto cap = Arch::template load<Arch::kRun>(caps + (n * arch::kTile + Arch::step(i)));
        MEGAFOLD_UNROLL
        for (int e = 0; e < Arch::kRun; ++e) {
          float& score = s[n].v[i + e];
          score = Arch::min(scale * score + bias[n][i + e], cap.v[e]);
          top[Arch::slot(i)] = score > top[Arch::slot(i)] ? score : top[Arch::slot(i)];
        }
      }
    }
    MEGAFOLD_UNROLL
    for (int l = 0; l < Arch::kLines; ++l) {
      top[l] = arch::max_over_line<Arch>(top[l]);
      const float before = highest[l];
      highest[l] = top[l];
      top[l] = top[l] == -kInfinity ? 0.0F : top[l];  // no key yet: keeps -inf - (-inf) away
      rescale[l] = Arch::exp2(before - top[l]);
      sum[l] *= rescale[l];
    }
    MEGAFOLD_UNROLL
    for (int n = 0; n < C::kLoopFragments; ++n) {
      MEGAFOLD_UNROLL
      for (int i = 0; i < Arch::kElements; ++i) {
        s[n].v[i] = Arch::exp2(s[n].v[i] - top[Arch::slot(i)]);
        sum[Arch::slot(i)] += s[n].v[i];
      }
    }
    MEGAFOLD_UNROLL
    for (int d = 0; d < C::kWidthFragments; ++d) {
      MEGAFOLD_UNROLL
      for (int i = 0; i < Arch::kElements; ++i) {
        o[d].v[i] *= rescale[Arch::slot(i)];
      }
    }
  }

  /// out = sigmoid(gate) o / sum and lse; a row without valid keys has sum 0 and gives 0 and -inf.
  template <class Arch>
  MEGAFOLD_DEVICE static void finish(typename Arch::Accumulator (&o)[C::kWidthFragments],
                                     const float (&highest)[Arch::kLines],
                                     float (&sum)[Arch::kLines], const Args& args, const Work& work,
                                     int64_t query0) {
    const EvoAttentionForward& p = args.params;
    float inverse[Arch::kLines];
    MEGAFOLD_UNROLL
    for (int l = 0; l < Arch::kLines; ++l) {
      sum[l] = arch::sum_over_line<Arch>(sum[l]);
      inverse[l] = sum[l] == 0.0F ? 0.0F : 1.0F / sum[l];
      const int64_t query = query0 + Arch::line(l);
      if (p.lse != nullptr && query < p.queries && Arch::step(0) == 0) {
        p.lse[((work.batch * p.rows + work.row) * p.heads + work.head) * p.queries + query] =
            sum[l] == 0.0F ? -kInfinity : kLn2 * (highest[l] + Arch::log2(sum[l]));
      }
    }
    const T* gate = p.gate == nullptr
                        ? nullptr
                        : static_cast<const T*>(p.gate) +
                              offset_of(p.gate_stride, work.batch, work.row, work.head) +
                              query0 * p.gate_stride.token;
    MEGAFOLD_UNROLL
    for (int d = 0; d < C::kWidthFragments; ++d) {
      MEGAFOLD_UNROLL
      for (int i = 0; i < Arch::kElements; ++i) {
        const int line = Arch::line(Arch::slot(i)), column = d * arch::kTile + Arch::step(i);
        float& value = o[d].v[i];
        value *= inverse[Arch::slot(i)];
        if (gate != nullptr && query0 + line < p.queries && column < C::kDim) {
          const float x = Arch::to_float(gate[line * p.gate_stride.token + column]);
          value *= 1.0F / (1.0F + Arch::exp2(-kLog2E * x));
        }
      }
    }
    T* out = static_cast<T*>(p.out) + offset_of(p.out_stride, work.batch, work.row, work.head) +
             query0 * p.out_stride.token;
    store_rows<Arch, C>(out, p.out_stride.token, p.queries - query0, o, 1.0F, args.out_aligned);
  }
};

}  // namespace megafold::kernels::evo_portable
