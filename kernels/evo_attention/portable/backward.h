// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention backward, portable, in four kernels without atomics: every output element has one
// owner, which sums in a fixed order, so runs agree to the bit.
//
//   prepare     delta = sum_d dout out, dA = dout sigmoid(gate), dgate      a thread per (query,
//   head) dK, dV      a block per tile of keys walks over the queries             4 products dQ a
//   block per tile of queries walks over the keys             3 products dBias       a block per
//   tile of scores walks over the rows              2 products
//
// with P = exp(S - lse) made again each time and dS = P (dA V^T - delta); dQ = scale dS K,
// dK = scale dS^T Q, dV = P^T dA, dBias = sum over rows of dS. With a single row dQ's kernel writes
// dBias on its way and the fourth is not run. Seven products are two more than one pass needs: the
// price of no atomics and of no N^2 workspace.
#pragma once

#include "kernels/evo_attention/portable/forward.h"

namespace megafold::kernels::evo_portable {

/// delta, dA and dgate, of any head width. The gated output is what was saved: dout * out summed is
/// sum_j P dP with and without a gate, and dgate = dout * out * (1 - sigmoid(gate)).
template <class T>
struct PrepareKernel {
  using Args = BackwardArgs;
  static constexpr const char* kName = "evo_attention_backward_prepare";
  static constexpr int kWaves = 4;
  static constexpr int kSharedBytes = 0;

  /// Blocks for a wave size: a thread takes one (batch, row, query, head).
  static constexpr int64_t blocks(const EvoAttentionForward& p, int wave) {
    const int64_t threads = int64_t{kWaves} * wave;
    return (p.batch * p.rows * p.queries * p.heads + threads - 1) / threads;
  }

  template <class Arch>
  MEGAFOLD_DEVICE static void run(const Args& args, int64_t block) {
    const EvoAttentionBackward& b = args.params;
    const EvoAttentionForward& p = b.forward;
    const int64_t item = block * (kWaves * Arch::kWave) + Arch::thread();
    if (item >= p.batch * p.rows * p.queries * p.heads) {
      return;
    }
    const Work at = work_of(item, p.rows, p.queries, p.heads);  // heads are the fastest
    const int64_t batch = at.batch, row = at.row, query = at.head, head = at.tile;
    const auto token = [&](const TokenStrides& stride) {
      return offset_of(stride, batch, row, head) + query * stride.token;
    };
    const T* dout = static_cast<const T*>(b.dout) + token(b.dout_stride);
    const T* out = static_cast<const T*>(p.out) + token(p.out_stride);
    const T* gate =
        p.gate == nullptr ? nullptr : static_cast<const T*>(p.gate) + token(p.gate_stride);
    T* da = args.da_out == nullptr ? nullptr : static_cast<T*>(args.da_out) + token(args.da_stride);
    T* dgate = b.dgate == nullptr ? nullptr : static_cast<T*>(b.dgate) + token(b.dgate_stride);

    float delta = 0.0F;
    for (int64_t d = 0; d < p.head_dim; d += kChunk) {
      Chunk gradients, outputs, gates{}, das, dgates;
      load(gradients, dout + d, args.rows_aligned);
      load(outputs, out + d, args.rows_aligned);
      if (gate != nullptr) {
        load(gates, gate + d, args.rows_aligned);
      }
      MEGAFOLD_UNROLL
      for (int e = 0; e < kChunk; ++e) {
        const float gradient = Arch::to_float(gradients.v[e]);
        const float product = gradient * Arch::to_float(outputs.v[e]);
        const float open = gate == nullptr
                               ? 1.0F
                               : 1.0F / (1.0F + Arch::exp2(-kLog2E * Arch::to_float(gates.v[e])));
        das.v[e] = Arch::template from_float<T>(gradient * open);
        delta += product * rounding_of<Arch>(das.v[e], gradient * open);
        dgates.v[e] = Arch::template from_float<T>(product * (1.0F - open));
      }
      if (da != nullptr) {
        store(da + d, das, args.rows_aligned);
      }
      if (dgate != nullptr) {
        store(dgate + d, dgates, args.rows_aligned);
      }
    }
    args.delta[((batch * p.rows + row) * p.heads + head) * p.queries + query] = delta;
  }

 private:
  static constexpr int kChunk = arch::kChunk<T>;
  using Chunk = arch::Pack<T, kChunk>;
  /// By what factor dA grew when it was rounded for the products. delta = sum_d dA A is to belong
  /// to the dA that dP is made of: what differs does not cancel in dS = P (dP - delta).
  template <class Arch>
  MEGAFOLD_DEVICE static float rounding_of(T rounded, float exact) {
    return exact == 0.0F ? 1.0F : Arch::as_operand(rounded) / exact;
  }
  MEGAFOLD_DEVICE static void load(Chunk& to, const T* from, bool aligned) {
    if (aligned) {
      to = *reinterpret_cast<const Chunk*>(from);
    } else {
      MEGAFOLD_UNROLL
      for (int e = 0; e < kChunk; ++e) {
        to.v[e] = from[e];
      }
    }
  }
  MEGAFOLD_DEVICE static void store(T* to, const Chunk& from, bool aligned) {
    if (aligned) {
      *reinterpret_cast<Chunk*>(to) = from;
    } else {
      MEGAFOLD_UNROLL
      for (int e = 0; e < kChunk; ++e) {
        to[e] = from.v[e];
      }
    }
  }
};

/// What the backward knows of a query: log2(e) lse, and delta. +inf for a query that is outside or
/// has no valid key makes its P zero.
struct QueryStats {
  float lse, delta;
};
MEGAFOLD_DEVICE QueryStats stats_of(const BackwardArgs& args, int64_t batch, int64_t row,
                                    int64_t head, int64_t query) {
  const EvoAttentionForward& p = args.params.forward;
  if (query >= p.queries) {
    return {kInfinity, 0.0F};
  }
  const int64_t at = ((batch * p.rows + row) * p.heads + head) * p.queries + query;
  const float lse = p.lse[at];
  return {lse == -kInfinity ? kInfinity : kLog2E * lse, args.delta[at]};
}

/// Writes a tile of dS as bias gradients: [Nq, Nk] contiguous at `to`.
template <class Arch, class C, class B>
MEGAFOLD_DEVICE void store_dbias_as(B* to,
                                    const typename Arch::Accumulator (&ds)[C::kLoopFragments],
                                    int64_t query0, int64_t key0, int64_t queries, int64_t keys,
                                    bool aligned) {
  MEGAFOLD_UNROLL
  for (int n = 0; n < C::kLoopFragments; ++n) {
    MEGAFOLD_UNROLL
    for (int i = 0; i < Arch::kElements; i += Arch::kRun) {
      const int64_t query = query0 + Arch::line(Arch::slot(i));
      const int64_t key = key0 + n * arch::kTile + Arch::step(i);
      if (query >= queries) {
        continue;
      }
      arch::Pack<B, Arch::kRun> run;
      MEGAFOLD_UNROLL
      for (int e = 0; e < Arch::kRun; ++e) {
        run.v[e] = Arch::template from_float<B>(ds[n].v[i + e]);
      }
      B* at = to + query * keys + key;
      if (key + Arch::kRun <= keys) {
        store_run<Arch>(at, run, aligned);
      } else {
        MEGAFOLD_UNROLL
        for (int e = 0; e < Arch::kRun; ++e) {
          if (key + e < keys) {
            at[e] = run.v[e];
          }
        }
      }
    }
  }
}
template <class Arch, class C>
MEGAFOLD_DEVICE void store_dbias(const BackwardArgs& args,
                                 const typename Arch::Accumulator (&ds)[C::kLoopFragments],
                                 int64_t batch, int64_t head, int64_t query0, int64_t key0) {
  const EvoAttentionForward& p = args.params.forward;
  const int64_t at = (batch * p.heads + head) * p.queries * p.keys;
  void* to = args.params.dbias;
  if (p.bias_dtype == DType::f32) {
    store_dbias_as<Arch, C>(static_cast<float*>(to) + at, ds, query0, key0, p.queries, p.keys,
                            args.dbias_aligned);
  } else if (p.bias_dtype == DType::bf16) {
    store_dbias_as<Arch, C>(static_cast<arch::Bf16*>(to) + at, ds, query0, key0, p.queries, p.keys,
                            args.dbias_aligned);
  } else {
    store_dbias_as<Arch, C>(static_cast<arch::F16*>(to) + at, ds, query0, key0, p.queries, p.keys,
                            args.dbias_aligned);
  }
}

/// dS of a wave's 16 queries (lines) against a tile of keys (steps), from tiles in shared memory.
template <class Arch, class C>
MEGAFOLD_DEVICE void score_gradients(typename Arch::Accumulator (&ds)[C::kLoopFragments],
                                     typename Arch::template Shared<typename C::Element> q,
                                     typename Arch::template Shared<typename C::Element> da,
                                     typename Arch::template Shared<typename C::Element> k,
                                     typename Arch::template Shared<typename C::Element> v,
                                     const float (&bias)[C::kLoopFragments][Arch::kElements],
                                     float scale, const QueryStats (&stats)[Arch::kLines],
                                     typename Arch::template Shared<float> caps) {
  typename Arch::Accumulator s[C::kLoopFragments];
  clear<Arch, C>(s);
  clear<Arch, C>(ds);
  multiply_rows<Arch, C>(s, q, k);
  multiply_rows<Arch, C>(ds, da, v);  // dP
  MEGAFOLD_UNROLL
  for (int n = 0; n < C::kLoopFragments; ++n) {
    MEGAFOLD_UNROLL
    for (int i = 0; i < Arch::kElements; i += Arch::kRun) {
      const auto cap = Arch::template load<Arch::kRun>(caps + (n * arch::kTile + Arch::step(i)));
      const QueryStats& query = stats[Arch::slot(i)];
      MEGAFOLD_UNROLL
      for (int e = 0; e < Arch::kRun; ++e) {
        const float score = Arch::min(scale * s[n].v[i + e] + bias[n][i + e], cap.v[e]);
        ds[n].v[i + e] = Arch::exp2(score - query.lse) * (ds[n].v[i + e] - query.delta);
      }
    }
  }
}

template <class C>
struct QueryGradientKernel {
  using Args = BackwardArgs;
  using T = typename C::Element;
  static constexpr const char* kName = "evo_attention_backward_dq";
  static constexpr int kWaves = C::kWaves;
  static constexpr int kOwnBytes = 2 * C::kRowsBytes;  // Q and dA
  static constexpr int kStages =
      kOwnBytes + 4 * C::kLoopBytes + 3 * C::kFloats <= kSharedLimit ? 2 : 1;
  static constexpr int kCapsAt = kOwnBytes + 2 * kStages * C::kLoopBytes;
  static constexpr int kSharedBytes = kCapsAt + 3 * C::kFloats;
  static_assert(kSharedBytes <= kSharedLimit);

  template <class Arch>
  MEGAFOLD_DEVICE static void run(const Args& args, int64_t block) {
    const EvoAttentionBackward& b = args.params;
    const EvoAttentionForward& p = b.forward;
    const Work work = work_of(block, p.rows, p.heads, args.query_tiles);
    const Keys keys = keys_of(p, work.batch);
    const T* k = static_cast<const T*>(p.k) +
                 offset_of(p.k_stride, keys.batch, work.row, work.head) +
                 keys.first * p.k_stride.token;
    const T* v = static_cast<const T*>(p.v) +
                 offset_of(p.v_stride, keys.batch, work.row, work.head) +
                 keys.first * p.v_stride.token;
    const int64_t block0 = work.tile * C::kRows;
    const int64_t query0 = block0 + Arch::wave() * arch::kTile;
    const bool active = query0 < p.queries;
    const int tiles = static_cast<int>((p.keys + C::kLoop - 1) / C::kLoop);
    const Caps<Arch, C> caps{Arch::template shared<float>(kCapsAt)};
    const auto q_tile = Arch::template shared<T>(0);
    const auto da_tile = Arch::template shared<T>(C::kRowsBytes);
    const auto k_tile = [&](int tile) {
      return Arch::template shared<T>(kOwnBytes + tile % kStages * 2 * C::kLoopBytes);
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
    const auto valid_query = [&](int row) { return block0 + row < p.queries; };
    copy_tile<Arch, C, C::kRows>(q_tile,
                                 static_cast<const T*>(p.q) +
                                     offset_of(p.q_stride, work.batch, work.row, work.head) +
                                     block0 * p.q_stride.token,
                                 p.q_stride.token, args.q_aligned, valid_query);
    copy_tile<Arch, C, C::kRows>(da_tile,
                                 static_cast<const T*>(args.da) +
                                     offset_of(args.da_stride, work.batch, work.row, work.head) +
                                     block0 * args.da_stride.token,
                                 args.da_stride.token, args.da_aligned, valid_query);
    Arch::copy_commit();

    QueryStats stats[Arch::kLines];
    MEGAFOLD_UNROLL
    for (int l = 0; l < Arch::kLines; ++l) {
      stats[l] = stats_of(args, work.batch, work.row, work.head, query0 + Arch::line(l));
    }
    const BiasView bias_view = bias_by_query(p, work.batch, work.head, args.bias_aligned);
    typename Arch::Accumulator dq[C::kWidthFragments];
    clear<Arch, C>(dq);

    if constexpr (kStages == 2) {
      Arch::barrier();
      if (tiles > 0) {
        copy(0);
      }
    }
    for (int tile = 0; tile < tiles; ++tile) {
      if constexpr (kStages == 1) {
        Arch::barrier();
        copy(tile);
      }
      float bias[C::kLoopFragments][Arch::kElements];
      load_bias<Arch>(bias, bias_view, active ? query0 : p.queries, int64_t{tile} * C::kLoop);
      Arch::template copy_wait<0>();
      Arch::barrier();
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
      typename Arch::Accumulator ds[C::kLoopFragments];
      const int own = Arch::wave() * arch::kTile * C::kStride;
      score_gradients<Arch, C>(ds, q_tile + own, da_tile + own, k_tile(tile), v_tile(tile), bias,
                               args.base2_scale, stats, caps.of(tile));
      if (b.dbias != nullptr && p.rows == 1) {
        store_dbias<Arch, C>(args, ds, work.batch, work.head, query0, int64_t{tile} * C::kLoop);
      }
      multiply_tile<Arch, C>(dq, ds, k_tile(tile));
    }
    Arch::template copy_wait<0>();  // without any key, Q and dA are still on their way
    if (active) {
      T* to = static_cast<T*>(b.dq) + offset_of(b.dq_stride, work.batch, work.row, work.head) +
              query0 * b.dq_stride.token;
      store_rows<Arch, C>(to, b.dq_stride.token, p.queries - query0, dq, args.scale,
                          args.dq_aligned);
    }
  }
};

/// The windows (algorithm 7) that hold any of `count` atoms from `atom` on; without windows, the
/// one batch itself.
struct Windows {
  int64_t begin, end;
};
/// The first window whose keys start at `atom` or later; windows never start before the one before.
MEGAFOLD_DEVICE int64_t first_window_from(const EvoAttentionForward& p, int64_t atom) {
  int64_t low = 0, high = p.batch;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (first_key(p, middle) >= atom) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}
MEGAFOLD_DEVICE Windows windows_of(const EvoAttentionForward& p, int64_t batch, int64_t atom,
                                   int64_t count) {
  if (p.key_total == 0) {
    return {batch, batch + 1};
  }
  return {first_window_from(p, atom - p.keys + 1), first_window_from(p, atom + count)};
}

/// dK and dV. A block's keys are tokens of k itself, so with windows it walks over every window
/// that sees them, in their order, and no two blocks write the same atom.
template <class C>
struct KeyGradientKernel {
  using Args = BackwardArgs;
  using T = typename C::Element;
  static constexpr const char* kName = "evo_attention_backward_dk_dv";
  static constexpr int kWaves = C::kWaves;
  static constexpr int kOwnBytes = 2 * C::kRowsBytes;  // K and V
  static constexpr int kStages =
      kOwnBytes + 4 * C::kLoopBytes + 4 * C::kFloats <= kSharedLimit ? 2 : 1;
  static constexpr int kStatsAt = kOwnBytes + 2 * kStages * C::kLoopBytes;
  static constexpr int kSharedBytes = kStatsAt + 4 * C::kFloats;
  static_assert(kSharedBytes <= kSharedLimit);

  template <class Arch>
  MEGAFOLD_DEVICE static void run(const Args& args, int64_t block) {
    using SharedT = typename Arch::template Shared<T>;
    const EvoAttentionBackward& b = args.params;
    const EvoAttentionForward& p = b.forward;
    const bool windowed = p.key_total != 0;
    const Work work = work_of(block, p.rows, p.heads, args.key_tiles);  // batch 0 with windows
    const int64_t tokens = windowed ? p.key_total : p.keys;
    const int64_t block0 = work.tile * C::kRows;
    const int64_t key0 = block0 + Arch::wave() * arch::kTile;
    const bool active = key0 < tokens;
    const Windows windows = windows_of(p, work.batch, block0, C::kRows);
    const int query_tiles = static_cast<int>(args.loop_tiles);
    const int steps = windows.end > windows.begin
                          ? static_cast<int>(windows.end - windows.begin) * query_tiles
                          : 0;

    const SharedT k_tile = Arch::template shared<T>(0);
    const SharedT v_tile = Arch::template shared<T>(C::kRowsBytes);
    const auto q_tile = [&](int step) {
      return Arch::template shared<T>(kOwnBytes + step % kStages * 2 * C::kLoopBytes);
    };
    const auto da_tile = [&](int step) { return q_tile(step) + C::kLoop * C::kStride; };
    // log2(e) lse and delta of the queries of this step and of the next.
    const auto lse_of = [&](int step) {
      return Arch::template shared<float>(kStatsAt + (step & 1) * 2 * C::kFloats);
    };
    const auto batch_of = [&](int step) { return windows.begin + step / query_tiles; };
    const auto query_of = [&](int step) { return int64_t{step % query_tiles} * C::kLoop; };
    const auto read_stats = [&](int step) -> QueryStats {
      if (Arch::thread() >= C::kLoop || step >= steps) {
        return {kInfinity, 0.0F};
      }
      return stats_of(args, batch_of(step), work.row, work.head, query_of(step) + Arch::thread());
    };
    const auto put_stats = [&](int step, const QueryStats& stats) {
      if (Arch::thread() < C::kLoop) {
        const auto at = lse_of(step) + Arch::thread();
        Arch::template store<1>(at, arch::Pack<float, 1>{stats.lse});
        Arch::template store<1>(at + C::kLoop, arch::Pack<float, 1>{stats.delta});
      }
    };
    const auto copy = [&](int step) {
      const int64_t batch = batch_of(step), query = query_of(step);
      const auto valid = [&](int row) { return query + row < p.queries; };
      copy_tile<Arch, C, C::kLoop>(q_tile(step),
                                   static_cast<const T*>(p.q) +
                                       offset_of(p.q_stride, batch, work.row, work.head) +
                                       query * p.q_stride.token,
                                   p.q_stride.token, args.q_aligned, valid);
      copy_tile<Arch, C, C::kLoop>(da_tile(step),
                                   static_cast<const T*>(args.da) +
                                       offset_of(args.da_stride, batch, work.row, work.head) +
                                       query * args.da_stride.token,
                                   args.da_stride.token, args.da_aligned, valid);
      Arch::copy_commit();
    };

    const auto valid_key = [&](int row) { return block0 + row < tokens; };
    copy_tile<Arch, C, C::kRows>(k_tile,
                                 static_cast<const T*>(p.k) +
                                     offset_of(p.k_stride, work.batch, work.row, work.head) +
                                     block0 * p.k_stride.token,
                                 p.k_stride.token, args.k_aligned, valid_key);
    copy_tile<Arch, C, C::kRows>(v_tile,
                                 static_cast<const T*>(p.v) +
                                     offset_of(p.v_stride, work.batch, work.row, work.head) +
                                     block0 * p.v_stride.token,
                                 p.v_stride.token, args.v_aligned, valid_key);
    Arch::copy_commit();

    typename Arch::Accumulator dk[C::kWidthFragments], dv[C::kWidthFragments];
    clear<Arch, C>(dk);
    clear<Arch, C>(dv);
    put_stats(0, read_stats(0));
    QueryStats next_stats = read_stats(1);
    if constexpr (kStages == 2) {
      if (steps > 0) {
        copy(0);
      }
    }
    for (int step = 0; step < steps; ++step) {
      if constexpr (kStages == 1) {
        Arch::barrier();
        copy(step);
      }
      const int64_t batch = batch_of(step), query = query_of(step);
      const Keys keys = keys_of(p, batch);
      bool keep[Arch::kLines];
      MEGAFOLD_UNROLL
      for (int l = 0; l < Arch::kLines; ++l) {
        keep[l] = may_attend(p, keys, work.row, key0 + Arch::line(l) - keys.first);
      }
      BiasView bias_view = bias_by_query(p, batch, work.head, args.bias_query_aligned);
      const int64_t query_stride = bias_view.line_stride;  // here keys are the lines
      bias_view.line_stride = bias_view.step_stride;
      bias_view.step_stride = query_stride;
      bias_view.lines = p.keys;
      bias_view.steps = p.queries;
      float bias[C::kLoopFragments][Arch::kElements];
      load_bias<Arch>(bias, bias_view, active ? key0 - keys.first : p.keys, query);
      Arch::template copy_wait<0>();
      Arch::barrier();
      if constexpr (kStages == 2) {
        if (step + 1 < steps) {
          copy(step + 1);
        }
      }
      put_stats(step + 1, next_stats);
      next_stats = read_stats(step + 2);
      if (!active) {
        continue;
      }

      typename Arch::Accumulator pt[C::kLoopFragments], ds[C::kLoopFragments];  // [key][query]
      clear<Arch, C>(pt);
      clear<Arch, C>(ds);
      const int own = Arch::wave() * arch::kTile * C::kStride;
      multiply_rows<Arch, C>(pt, k_tile + own, q_tile(step));
      multiply_rows<Arch, C>(ds, v_tile + own, da_tile(step));
      differentiate<Arch>(pt, ds, bias, args.base2_scale, lse_of(step), keep);
      multiply_tile<Arch, C>(dv, pt, da_tile(step));
      multiply_tile<Arch, C>(dk, ds, q_tile(step));
    }
    Arch::template copy_wait<0>();
    if (active) {
      store_rows<Arch, C>(static_cast<T*>(b.dk) +
                              offset_of(b.dk_stride, work.batch, work.row, work.head) +
                              key0 * b.dk_stride.token,
                          b.dk_stride.token, tokens - key0, dk, args.scale, args.dk_aligned);
      store_rows<Arch, C>(static_cast<T*>(b.dv) +
                              offset_of(b.dv_stride, work.batch, work.row, work.head) +
                              key0 * b.dv_stride.token,
                          b.dv_stride.token, tokens - key0, dv, 1.0F, args.dv_aligned);
    }
  }

 private:
  /// From S and dP to P and dS, keys on lines. A dropped key may hold anything, NaN too, so it is
  /// selected away and not multiplied away.
  template <class Arch>
  MEGAFOLD_DEVICE static void differentiate(typename Arch::Accumulator (&s)[C::kLoopFragments],
                                            typename Arch::Accumulator (&dp)[C::kLoopFragments],
                                            const float (&bias)[C::kLoopFragments][Arch::kElements],
                                            float scale,
                                            typename Arch::template Shared<float> stats,
                                            const bool (&keep)[Arch::kLines]) {
    MEGAFOLD_UNROLL
    for (int n = 0; n < C::kLoopFragments; ++n) {
      MEGAFOLD_UNROLL
      for (int i = 0; i < Arch::kElements; i += Arch::kRun) {
        const auto at = stats + (n * arch::kTile + Arch::step(i));
        const auto lse = Arch::template load<Arch::kRun>(at);
        const auto delta = Arch::template load<Arch::kRun>(at + C::kLoop);
        const bool kept = keep[Arch::slot(i)];
        MEGAFOLD_UNROLL
        for (int e = 0; e < Arch::kRun; ++e) {
          const float score = scale * s[n].v[i + e] + bias[n][i + e];
          const float probability = kept ? Arch::exp2(score - lse.v[e]) : 0.0F;
          s[n].v[i + e] = probability;
          dp[n].v[i + e] = kept ? probability * (dp[n].v[i + e] - delta.v[e]) : 0.0F;
        }
      }
    }
  }
};

/// dBias for more than one row: rows in ascending order into one accumulator.
template <class C>
struct BiasGradientKernel {
  using Args = BackwardArgs;
  using T = typename C::Element;
  static constexpr const char* kName = "evo_attention_backward_dbias";
  static constexpr int kWaves = C::kWaves;
  static constexpr int kStageBytes = 2 * C::kRowsBytes + 2 * C::kLoopBytes;  // Q, dA, K, V
  static constexpr int kStages = 2 * kStageBytes + 3 * C::kFloats <= kSharedLimit ? 2 : 1;
  static constexpr int kCapsAt = kStages * kStageBytes;
  static constexpr int kSharedBytes = kCapsAt + 3 * C::kFloats;
  static_assert(kSharedBytes <= kSharedLimit);

  template <class Arch>
  MEGAFOLD_DEVICE static void run(const Args& args, int64_t block) {
    const EvoAttentionForward& p = args.params.forward;
    const Work work = work_of(block, p.heads, args.query_tiles, args.bias_key_tiles);
    const int64_t batch = work.batch, head = work.row;
    const int64_t block0 = work.head * C::kRows, key0 = work.tile * C::kLoop;
    const Keys keys = keys_of(p, batch);
    const int64_t query0 = block0 + Arch::wave() * arch::kTile;
    const bool active = query0 < p.queries;
    const int rows = static_cast<int>(p.rows);
    const Caps<Arch, C> caps{Arch::template shared<float>(kCapsAt)};
    const auto q_tile = [&](int row) {
      return Arch::template shared<T>(row % kStages * kStageBytes);
    };
    const auto da_tile = [&](int row) { return q_tile(row) + C::kRows * C::kStride; };
    const auto k_tile = [&](int row) { return q_tile(row) + 2 * C::kRows * C::kStride; };
    const auto v_tile = [&](int row) { return k_tile(row) + C::kLoop * C::kStride; };
    const auto keep = [&](int row) {
      return row < rows && may_attend(p, keys, row, key0 + Arch::thread());
    };
    const auto copy = [&](int row) {
      const auto valid_query = [&](int i) { return block0 + i < p.queries; };
      const auto valid_key = [&](int i) { return caps.keeps(row, i); };
      copy_tile<Arch, C, C::kRows>(q_tile(row),
                                   static_cast<const T*>(p.q) +
                                       offset_of(p.q_stride, batch, row, head) +
                                       block0 * p.q_stride.token,
                                   p.q_stride.token, args.q_aligned, valid_query);
      copy_tile<Arch, C, C::kRows>(da_tile(row),
                                   static_cast<const T*>(args.da) +
                                       offset_of(args.da_stride, batch, row, head) +
                                       block0 * args.da_stride.token,
                                   args.da_stride.token, args.da_aligned, valid_query);
      copy_tile<Arch, C, C::kLoop>(k_tile(row),
                                   static_cast<const T*>(p.k) +
                                       offset_of(p.k_stride, keys.batch, row, head) +
                                       (keys.first + key0) * p.k_stride.token,
                                   p.k_stride.token, args.k_aligned, valid_key);
      copy_tile<Arch, C, C::kLoop>(v_tile(row),
                                   static_cast<const T*>(p.v) +
                                       offset_of(p.v_stride, keys.batch, row, head) +
                                       (keys.first + key0) * p.v_stride.token,
                                   p.v_stride.token, args.v_aligned, valid_key);
      Arch::copy_commit();
    };
    const auto read_stats = [&](QueryStats(&stats)[Arch::kLines], int row) {
      MEGAFOLD_UNROLL
      for (int l = 0; l < Arch::kLines; ++l) {
        stats[l] =
            stats_of(args, batch, row, head, row < rows ? query0 + Arch::line(l) : p.queries);
      }
    };

    caps.put(0, keep(0));
    caps.put(1, keep(1));
    bool next_keep = keep(2);
    QueryStats stats[Arch::kLines], next_stats[Arch::kLines];
    read_stats(next_stats, 0);
    float bias[C::kLoopFragments][Arch::kElements];
    load_bias<Arch>(bias, bias_by_query(p, batch, head, args.bias_aligned),
                    active ? query0 : p.queries, key0);
    typename Arch::Accumulator sum[C::kLoopFragments];
    clear<Arch, C>(sum);

    if constexpr (kStages == 2) {
      Arch::barrier();
      if (rows > 0) {
        copy(0);
      }
    }
    for (int row = 0; row < rows; ++row) {
      if constexpr (kStages == 1) {
        Arch::barrier();
        copy(row);
      }
      MEGAFOLD_UNROLL
      for (int l = 0; l < Arch::kLines; ++l) {
        stats[l] = next_stats[l];
      }
      read_stats(next_stats, row + 1);
      Arch::template copy_wait<0>();
      Arch::barrier();
      if constexpr (kStages == 2) {
        if (row + 1 < rows) {
          copy(row + 1);
        }
      }
      caps.put(row + 2, next_keep);
      next_keep = keep(row + 3);
      if (!active) {
        continue;
      }
      typename Arch::Accumulator ds[C::kLoopFragments];
      const int own = Arch::wave() * arch::kTile * C::kStride;
      score_gradients<Arch, C>(ds, q_tile(row) + own, da_tile(row) + own, k_tile(row), v_tile(row),
                               bias, args.base2_scale, stats, caps.of(row));
      MEGAFOLD_UNROLL
      for (int n = 0; n < C::kLoopFragments; ++n) {
        MEGAFOLD_UNROLL
        for (int i = 0; i < Arch::kElements; ++i) {
          sum[n].v[i] += ds[n].v[i];
        }
      }
    }
    if (active) {
      store_dbias<Arch, C>(args, sum, batch, head, query0, key0);
    }
  }
};

}  // namespace megafold::kernels::evo_portable
