// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What the forward and backward kernels share: copies of tiles into shared memory, the bias in a
// fragment's layout, and fragments stored to global memory.
#pragma once

#include "kernels/evo_attention/portable/config.h"

namespace megafold::kernels::evo_portable {

constexpr double kLog2EWide = 1.4426950408889634;
constexpr float kLog2E = static_cast<float>(kLog2EWide), kLn2 = 0.6931471805599453F;
constexpr float kInfinity = __builtin_huge_valf();

/// Element offset of token 0 of (batch, row, head).
MEGAFOLD_DEVICE int64_t offset_of(const TokenStrides& stride, int64_t batch, int64_t row,
                                  int64_t head) {
  return batch * stride.batch + row * stride.row + head * stride.head;
}

/// Token of the first key of window `batch`.
MEGAFOLD_DEVICE int64_t first_key(const EvoAttentionForward& p, int64_t batch) {
  return p.key_first != nullptr ? p.key_first[batch] : p.key_offset + batch * p.key_step;
}

/// The keys of a batch. Key j is token first + j of k, v and mask; it exists for begin <= j < end.
/// Without windows that is token j of the batch's own, for 0 <= j < Nk.
struct Keys {
  int64_t batch;  // to multiply k's batch stride by: windows share theirs
  int64_t first;
  int64_t begin, end;
};
MEGAFOLD_DEVICE Keys keys_of(const EvoAttentionForward& p, int64_t batch) {
  if (p.key_total == 0) {
    return {batch, 0, 0, p.keys};
  }
  const int64_t first = first_key(p, batch), left = p.key_total - first;
  return {0, first, first < 0 ? -first : 0, left < p.keys ? left : p.keys};
}

/// Copies `rows` tokens into shared memory, asynchronously where alignment allows; tokens that are
/// not valid(row) and columns from D to the width are filled with zeros and not read.
template <class Arch, class C, int rows, class Valid>
MEGAFOLD_DEVICE void copy_tile(typename Arch::template Shared<typename C::Element> to,
                               const typename C::Element* from, int64_t stride, bool aligned,
                               Valid valid) {
  using T = typename C::Element;
  constexpr int chunk = arch::kChunk<T>, per_row = C::kWidth / chunk;
  constexpr int count = rows * per_row, threads = C::kWaves * Arch::kWave;
  const auto copy = [&](int i) {
    const int row = i / per_row, column = i % per_row * chunk;
    const bool ok = column < C::kDim && valid(row);
    const T* source = from + row * stride + column;
    const auto target = to + (row * C::kStride + column);
    if (aligned) {
      Arch::copy16(target, source, ok);
    } else {
      arch::Pack<T, chunk> piece{};
      if (ok) {
        for (int e = 0; e < chunk; ++e) {
          piece.v[e] = source[e];
        }
      }
      Arch::template store<chunk>(target, piece);
    }
  };
  // Unrolling more than this costs the registers of that many addresses.
  constexpr int kUnrolled = count < 2 * threads ? count : 2 * threads;
  constexpr bool kExact = kUnrolled % threads == 0 && count % kUnrolled == 0;
  MEGAFOLD_NO_UNROLL
  for (int begin = 0; begin < count; begin += kUnrolled) {
    MEGAFOLD_UNROLL
    for (int i = 0; i < kUnrolled; i += threads) {
      const int at = begin + i + Arch::thread();
      if (kExact || at < count) {
        copy(at);
      }
    }
  }
}

/// A bias matrix seen by fragments whose lines and steps are queries and keys, or keys and queries.
struct BiasView {
  const void* at = nullptr;  // of (batch, head); null: no bias
  DType dtype = DType::f32;
  int64_t line_stride = 0, step_stride = 0;
  int64_t lines = 0, steps = 0;  // extents
  bool aligned = false;          // a run of steps is contiguous and aligned to its size
};

template <class Arch, class B, int fragments>
MEGAFOLD_DEVICE void load_bias_as(float (&to)[fragments][Arch::kElements], const BiasView& bias,
                                  int64_t line0, int64_t step0) {
  MEGAFOLD_UNROLL
  for (int n = 0; n < fragments; ++n) {
    MEGAFOLD_UNROLL
    for (int i = 0; i < Arch::kElements; i += Arch::kRun) {
      const int64_t line = line0 + Arch::line(Arch::slot(i));
      const int64_t step = step0 + n * arch::kTile + Arch::step(i);
      const B* from =
          static_cast<const B*>(bias.at) + line * bias.line_stride + step * bias.step_stride;
      const bool line_ok = line >= 0 && line < bias.lines;
      if (bias.aligned && line_ok && step + Arch::kRun <= bias.steps) {
        const auto run = *reinterpret_cast<const arch::Pack<B, Arch::kRun>*>(from);
        MEGAFOLD_UNROLL
        for (int e = 0; e < Arch::kRun; ++e) {
          to[n][i + e] = kLog2E * Arch::to_float(run.v[e]);
        }
      } else {
        MEGAFOLD_UNROLL
        for (int e = 0; e < Arch::kRun; ++e) {
          const bool ok = line_ok && step + e < bias.steps;
          to[n][i + e] = ok ? kLog2E * Arch::to_float(from[e * bias.step_stride]) : 0.0F;
        }
      }
    }
  }
}

/// log2(e) times the bias of a line of fragments from (line0, step0) on; zeros outside, and without
/// a bias.
template <class Arch, int fragments>
MEGAFOLD_DEVICE void load_bias(float (&to)[fragments][Arch::kElements], const BiasView& bias,
                               int64_t line0, int64_t step0) {
  if (bias.at == nullptr) {
    MEGAFOLD_UNROLL
    for (int n = 0; n < fragments; ++n) {
      MEGAFOLD_UNROLL
      for (int i = 0; i < Arch::kElements; ++i) {
        to[n][i] = 0.0F;
      }
    }
  } else if (bias.dtype == DType::f32) {
    load_bias_as<Arch, float>(to, bias, line0, step0);
  } else if (bias.dtype == DType::bf16) {
    load_bias_as<Arch, arch::Bf16>(to, bias, line0, step0);
  } else {
    load_bias_as<Arch, arch::F16>(to, bias, line0, step0);
  }
}

/// The bias with queries on lines and keys on steps.
MEGAFOLD_DEVICE BiasView bias_by_query(const EvoAttentionForward& p, int64_t batch, int64_t head,
                                       bool aligned) {
  if (p.bias == nullptr) {
    return {};
  }
  const int64_t offset = batch * p.bias_batch + head * p.bias_head;
  return {static_cast<const char*>(p.bias) + offset * size_of(p.bias_dtype),
          p.bias_dtype,
          p.bias_query,
          p.bias_key,
          p.queries,
          p.keys,
          aligned};
}

template <class Arch, class C>
MEGAFOLD_DEVICE void clear(typename Arch::Accumulator& c) {
  MEGAFOLD_UNROLL
  for (int i = 0; i < Arch::kElements; ++i) {
    c.v[i] = 0.0F;
  }
}
template <class Arch, class C, int fragments>
MEGAFOLD_DEVICE void clear(typename Arch::Accumulator (&c)[fragments]) {
  MEGAFOLD_UNROLL
  for (int n = 0; n < fragments; ++n) {
    clear<Arch, C>(c[n]);
  }
}

/// c[n] += left x (fragment n of right)^T, both stored by rows of the head's width: one wave's 16
/// rows against the loop tile.
template <class Arch, class C>
MEGAFOLD_DEVICE void multiply_rows(typename Arch::Accumulator (&c)[C::kLoopFragments],
                                   typename Arch::template Shared<typename C::Element> left,
                                   typename Arch::template Shared<typename C::Element> right) {
  using T = typename C::Element;
  MEGAFOLD_UNROLL
  for (int d = 0; d < C::kWidthFragments; ++d) {
    const auto a = Arch::template load_lines<T>(left + d * arch::kTile, C::kStride);
    MEGAFOLD_UNROLL
    for (int n = 0; n < C::kLoopFragments; ++n) {
      const auto b = Arch::template load_lines<T>(
          right + (n * arch::kTile * C::kStride + d * arch::kTile), C::kStride);
      Arch::template multiply<T>(c[n], a, b);
    }
  }
}

/// c[d] += (fragments left[n], rounded to the element type) x (loop tile stored by rows).
template <class Arch, class C>
MEGAFOLD_DEVICE void multiply_tile(typename Arch::Accumulator (&c)[C::kWidthFragments],
                                   const typename Arch::Accumulator (&left)[C::kLoopFragments],
                                   typename Arch::template Shared<typename C::Element> tile) {
  using T = typename C::Element;
  MEGAFOLD_UNROLL
  for (int n = 0; n < C::kLoopFragments; ++n) {
    const auto a = Arch::template convert<T>(left[n]);
    MEGAFOLD_UNROLL
    for (int d = 0; d < C::kWidthFragments; ++d) {
      const auto b = Arch::template load_steps<T>(
          tile + (n * arch::kTile * C::kStride + d * arch::kTile), C::kStride);
      Arch::template multiply<T>(c[d], a, b);
    }
  }
}

/// Stores a run of converted values; `aligned`: as one word.
template <class Arch, class T>
MEGAFOLD_DEVICE void store_run(T* to, const arch::Pack<T, Arch::kRun>& run, bool aligned) {
  if (aligned) {
    *reinterpret_cast<arch::Pack<T, Arch::kRun>*>(to) = run;
  } else {
    MEGAFOLD_UNROLL
    for (int e = 0; e < Arch::kRun; ++e) {
      to[e] = run.v[e];
    }
  }
}

/// Writes factor * c as rows of a [.., token, .., D] tensor whose token 0 of the wave is `to`.
template <class Arch, class C>
MEGAFOLD_DEVICE void store_rows(typename C::Element* to, int64_t stride, int64_t rows,
                                const typename Arch::Accumulator (&c)[C::kWidthFragments],
                                float factor, bool aligned) {
  using T = typename C::Element;
  MEGAFOLD_UNROLL
  for (int d = 0; d < C::kWidthFragments; ++d) {
    MEGAFOLD_UNROLL
    for (int i = 0; i < Arch::kElements; i += Arch::kRun) {
      const int line = Arch::line(Arch::slot(i)), column = d * arch::kTile + Arch::step(i);
      if (line < rows && column < C::kDim) {
        arch::Pack<T, Arch::kRun> run;
        MEGAFOLD_UNROLL
        for (int e = 0; e < Arch::kRun; ++e) {
          run.v[e] = Arch::template from_float<T>(factor * c[d].v[i + e]);
        }
        store_run<Arch>(to + line * stride + column, run, aligned);
      }
    }
  }
}

/// May key j be attended by the row? j may lie outside the batch's keys.
MEGAFOLD_DEVICE bool may_attend(const EvoAttentionForward& p, const Keys& keys, int64_t row,
                                int64_t j) {
  return j >= keys.begin && j < keys.end &&
         (p.mask == nullptr ||
          p.mask[keys.batch * p.mask_batch + row * p.mask_row + (keys.first + j) * p.mask_key] !=
              0);
}

}  // namespace megafold::kernels::evo_portable
