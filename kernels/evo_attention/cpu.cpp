// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Tiles of 48 queries by 96 keys with a running maximum; sums in fp32 (fp64 for fp64). Nothing of
// size [queries, keys] but the bias and its gradient is kept (backward, a thread has S and dP of 48
// queries): each thread holds one row's keys and values, packed so that every product runs down
// contiguous vectors (kernels/common/simd.h):
//
//   S = Q K^T        rows of Q times panels of K^T        dV += P^T dO     columns of P times dO
//   O += P V         rows of P times V                    dK += dS^T Q     columns of dS times Q
//   dP = dO V^T      rows of dO times panels of V^T       dQ += dS K       rows of dS times K
//
// Bound by the multiply-add units: 2 D of them an element of S forward, 5 D backward.
//
// dS = P (dP - delta) must add up to 0 over keys: what sums over them, a bias' projection or a
// norm's, sees the rest. So P is divided by its own sum, which exp(S - lse) misses by the rounding
// of lse, and delta = sum P dP, which sum out dout misses by the rounding of out.
//
// The same bits for any number of threads: a task owns what it sums. The bias' gradient is summed
// over rows in chunks whose number the shapes alone decide, and the chunks are added in order.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <type_traits>

#include "kernels/common/number.h"
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/evo_attention/implementations.h"

namespace megafold::kernels {
namespace {

using simd::kLanes;
using simd::load;
using simd::store;
using simd::Vector;

constexpr int64_t kTileQueries = 48, kTileKeys = 96;
// Partial sums of the bias' gradient, each of its size. A running sum over many rows drifts (by
// 2e-6 after 8,000 rows in fp32), so rows are cut finer where all sums fit kFineElements.
constexpr int64_t kMaxChunks = 8, kFineRows = 128, kFineElements = 1 << 22;

template <class A>
constexpr A kLowest = -std::numeric_limits<A>::infinity();

int64_t round_up(int64_t x, int64_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

/// Cuts one buffer into arrays that start at multiples of 64 bytes; without a buffer it only
/// counts.
template <class A>
class Carver {
 public:
  explicit Carver(A* base) : base_(base) {}
  A* take(int64_t count) {
    A* const array = base_ == nullptr ? nullptr : base_ + used_;
    used_ += round_up(count, 64 / sizeof(A));
    return array;
  }
  int64_t used() const { return used_; }

 private:
  A* base_;
  int64_t used_ = 0;
};

/// The sizes that packed arrays have.
template <class A>
struct Sizes {
  int64_t width;  // D, a multiple of the lanes
  int64_t keys;   // Nk, a multiple of a panel's keys
  static constexpr int64_t kPanel = 2 * kLanes<A>;

  explicit Sizes(const EvoAttentionForward& p)
      : width(round_up(p.head_dim, kLanes<A>)), keys(round_up(p.keys, kPanel)) {}
};

/// A thread's memory, made once a call and used for one row after the other.
template <class A>
struct Scratch {
  A *k, *v;                // [keys, width], masked ones 0
  A *k_panels, *v_panels;  // K^T and V^T as [keys / panel][D][panel]
  A* opening;              // [keys] 0, or -infinity where the key is masked
  A *q, *dout, *out;       // [tile queries, width]
  A *scores, *dscores;     // [tile queries, tile keys]; backward [tile queries, keys]
  A *largest, *sum;        // [tile queries]
  A *dk, *dv;              // [tokens + 2 keys, width]: windows may reach over both ends

  Scratch(Carver<A> c, const EvoAttentionForward& p, bool backward) {
    const Sizes<A> n(p);
    k = c.take(n.keys * n.width);
    v = c.take(n.keys * n.width);
    k_panels = c.take(n.keys * p.head_dim);
    v_panels = c.take(backward ? n.keys * p.head_dim : 0);
    opening = c.take(n.keys);
    q = c.take(kTileQueries * n.width);
    dout = c.take(backward ? kTileQueries * n.width : 0);
    out = c.take(kTileQueries * n.width);
    scores = c.take(kTileQueries * (backward ? n.keys : kTileKeys));
    dscores = c.take(backward ? kTileQueries * n.keys : 0);
    largest = c.take(kTileQueries);
    sum = c.take(kTileQueries);
    const int64_t sums = backward ? (key_tokens(p) + 2 * n.keys) * n.width : 0;
    dk = c.take(sums);
    dv = c.take(sums);
    elements = c.used();
  }
  int64_t elements;
};

/// The transpose of a square of kLanes x kLanes, by interleaving the rows of its two halves.
template <class A>
void transpose(const A* from, int64_t from_row, A* to, int64_t to_row) {
  constexpr int kN = kLanes<A>;
  Vector<A> rows[kN];
  for (int i = 0; i < kN; ++i) rows[i] = load(from + i * from_row);
  for (int round = 1; round < kN; round *= 2) {
    Vector<A> next[kN];
    for (int i = 0; i < kN / 2; ++i) {
      const Vector<A> a = rows[i], b = rows[i + kN / 2];
      if constexpr (kN == 8) {
        next[2 * i] = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
        next[2 * i + 1] = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
      } else {
        next[2 * i] = __builtin_shufflevector(a, b, 0, 4, 1, 5);
        next[2 * i + 1] = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      }
    }
    std::copy(std::begin(next), std::end(next), std::begin(rows));
  }
  for (int i = 0; i < kN; ++i) store(to + i * to_row, rows[i]);
}

/// [keys, width] as panels of its transpose.
template <class A>
void pack_panels(const A* rows, const Sizes<A>& n, int64_t head_dim, A* panels) {
  constexpr int64_t kN = kLanes<A>, kPanel = Sizes<A>::kPanel;
  for (int64_t j = 0; j < n.keys; j += kN) {
    A* const panel = panels + j / kPanel * head_dim * kPanel + j % kPanel;
    int64_t d = 0;
    for (; d + kN <= head_dim; d += kN) {
      transpose(rows + j * n.width + d, n.width, panel + d * kPanel, kPanel);
    }
    for (; d < head_dim; ++d) {
      for (int64_t l = 0; l < kN; ++l) panel[d * kPanel + l] = rows[(j + l) * n.width + d];
    }
  }
}

/// `count` tokens as rows of `width`, the columns behind D zero.
template <class A, class T>
void read_tokens(const T* from, int64_t token_stride, int64_t count, int64_t head_dim,
                 int64_t width, A* to) {
  for (int64_t i = 0; i < count; ++i, to += width) {
    simd::convert(from + i * token_stride, 1, head_dim, to);
    std::fill(to + head_dim, to + width, A(0));
  }
}

/// One row r and head h of a batch (or window) b.
struct Row {
  int64_t b, r, h;
  int64_t first = 0;  // the token of key 0
};

/// Which keys a row may attend to, and whether any.
template <class A>
bool open_keys(const EvoAttentionForward& p, const Row& row, const Sizes<A>& n, A* opening) {
  bool any = false;
  const int64_t tokens = key_tokens(p);
  const uint8_t* mask = p.mask;
  if (mask != nullptr) mask += (p.key_total > 0 ? 0 : row.b * p.mask_batch) + row.r * p.mask_row;
  for (int64_t j = 0; j < n.keys; ++j) {
    const int64_t token = row.first + j;
    const bool open = j < p.keys && token >= 0 && token < tokens &&
                      (mask == nullptr || mask[token * p.mask_key] != 0);
    opening[j] = open ? A(0) : kLowest<A>;
    any |= open;
  }
  return any;
}

/// k or v of the row as [keys, width]; masked keys are zero and not read.
template <class T, class A>
void read_keys(const EvoAttentionForward& p, const void* data, const TokenStrides& strides,
               const Row& row, const Sizes<A>& n, const A* opening, A* to) {
  const T* const start =
      static_cast<const T*>(data) + start_of(strides, p.key_total > 0 ? 0 : row.b, row.r, row.h);
  for (int64_t j = 0; j < n.keys; ++j, to += n.width) {
    if (opening[j] == 0) {
      read_tokens(start + (row.first + j) * strides.token, 0, 1, p.head_dim, n.width, to);
    } else {
      std::fill(to, to + n.width, A(0));
    }
  }
}

template <class A>
void multiply(A* x, int64_t count, A factor) {
  for (int64_t i = 0; i < count; i += kLanes<A>) store(x + i, load(x + i) * factor);
}

template <class A>
Vector<A> sigmoid(Vector<A> x) {
  constexpr A kLeast = sizeof(A) == 8 ? -700 : -88;                    // exp(88) is finite in fp32
  const Vector<A> bounded = x < kLeast ? simd::broadcast(kLeast) : x;  // keeps NaN
  return A(1) / (A(1) + simd::exp(-bounded));
}

/// A bias' or its gradient's row, of which `count` elements exist from `data` on.
template <class A>
Vector<A> load_some(const A* data, int64_t count) {
  if (count >= kLanes<A>) return load(data);
  A lanes[kLanes<A>] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = data[i];
  return load(lanes);
}
template <class A>
void add_some(A* data, int64_t count, Vector<A> x) {
  if (count >= kLanes<A>) return store(data, load(data) + x);
  for (int64_t i = 0; i < count; ++i) data[i] += x[i];
}

/// The bias as the tiles read it: contiguous along keys, in A.
template <class A>
struct Bias {
  const A* data = nullptr;
  int64_t batch = 0, head = 0, query = 0;

  const A* row(const Row& at, int64_t i) const {
    return data == nullptr ? nullptr : data + at.b * batch + at.h * head + i * query;
  }
};

template <class A>
constexpr DType kDTypeOf = sizeof(A) == 8 ? DType::f64 : DType::f32;

/// A bias in another type, or strided along keys as a projection leaves it, is converted once: all
/// rows read it.
template <class A>
bool copies_bias(const EvoAttentionForward& p) {
  return p.bias != nullptr && (p.bias_dtype != kDTypeOf<A> || (p.bias_key != 1 && p.keys > 1));
}

template <class A>
int64_t bias_bytes(const EvoAttentionForward& p) {
  if (!copies_bias<A>(p)) return 0;
  return static_cast<int64_t>(sizeof(A)) * p.batch * p.heads * p.queries * p.keys;
}

template <class A>
Bias<A> read_bias(const EvoAttentionForward& p, A* workspace) {
  if (p.bias == nullptr) return {};
  if (!copies_bias<A>(p)) {
    return {static_cast<const A*>(p.bias), p.bias_batch, p.bias_head, p.bias_query};
  }
  with_type(p.bias_dtype, [&](auto t) {
    const auto* const bias = static_cast<const decltype(t)*>(p.bias);
    parallel_for(p.batch * p.queries, [&](int64_t task) {
      const int64_t b = task / p.queries, i = task % p.queries;
      for (int64_t h = 0; h < p.heads; ++h) {
        simd::convert(bias + b * p.bias_batch + h * p.bias_head + i * p.bias_query, p.bias_key,
                      p.keys, workspace + ((b * p.heads + h) * p.queries + i) * p.keys);
      }
    });
  });
  return {workspace, p.heads * p.queries * p.keys, p.queries * p.keys, p.keys};
}

/// One tile: rows `queries` from `i`, keys `n` from `j`.
struct Tile {
  int64_t i, queries, j, n;
};

/// Rows of Q (or dO) times a tile's panels of K^T (or V^T): S without its bias (or dP), as rows of
/// `to_row`.
template <class A>
void tile_scores(const EvoAttentionForward& p, const Tile& t, const A* rows, const A* panels, A* to,
                 int64_t to_row) {
  simd::product<false>(t.queries, t.n, p.head_dim, rows, Sizes<A>(p).width, 1,
                       panels + t.j * p.head_dim, Sizes<A>::kPanel, Sizes<A>::kPanel * p.head_dim,
                       to, to_row);
}

/// Turns a tile's scores into exp(S - largest), raising the running maxima; returns nothing where a
/// row has not seen an open key yet. `rescaled(i, factor)` hears that what was summed shrinks.
template <class A, class F>
void tile_softmax(const EvoAttentionForward& p, const Row& row, const Bias<A>& bias, const Tile& t,
                  Scratch<A>& s, F&& rescaled) {
  for (int64_t i = 0; i < t.queries; ++i) {
    A* const scores = s.scores + i * kTileKeys;
    const A* const line = bias.row(row, t.i + i);
    Vector<A> top = simd::broadcast(kLowest<A>);
    for (int64_t j = 0; j < t.n; j += kLanes<A>) {
      Vector<A> x = load(scores + j) + load(s.opening + t.j + j);
      if (line != nullptr) x += load_some(line + t.j + j, p.keys - t.j - j);
      store(scores + j, x);
      top = simd::max<A>(top, x);
    }
    const A before = s.largest[i], now = std::max(before, simd::largest<A>(top));
    const A shift = now == kLowest<A> ? A(0) : now;  // -infinity less itself would be NaN
    if (now != before) {
      const A factor = std::exp(before - shift);
      s.sum[i] *= factor;
      rescaled(i, factor);
      s.largest[i] = now;
    }
    Vector<A> sum{};
    for (int64_t j = 0; j < t.n; j += kLanes<A>) {
      const Vector<A> x = simd::exp(load(scores + j) - shift);
      store(scores + j, x);
      sum += x;
    }
    s.sum[i] += simd::sum<A>(sum);
  }
}

/// Reads a tile of queries, times the scale.
template <class T, class A>
void read_queries(const EvoAttentionForward& p, const Row& row, int64_t i, int64_t count,
                  const Sizes<A>& n, A* q) {
  read_tokens(
      static_cast<const T*>(p.q) + start_of(p.q_stride, row.b, row.r, row.h) + i * p.q_stride.token,
      p.q_stride.token, count, p.head_dim, n.width, q);
  multiply(q, count * n.width, static_cast<A>(p.scale));
}

/// Writes `count` tokens of `width` columns, times `gate` where there is one.
template <class T, class A>
void write_tokens(const A* from, int64_t count, int64_t head_dim, int64_t width, T* to,
                  int64_t token_stride) {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t d = 0; d < head_dim; ++d) {
      to[i * token_stride + d] = narrow<T>(static_cast<Accumulate<T>>(from[i * width + d]));
    }
  }
}

/// sigmoid(gate) of one query's D channels into `to` [width], whose end is zero.
template <class T, class A>
void read_gate(const EvoAttentionForward& p, const Row& row, int64_t i, int64_t width, A* to) {
  read_tokens(static_cast<const T*>(p.gate) + start_of(p.gate_stride, row.b, row.r, row.h) +
                  i * p.gate_stride.token,
              0, 1, p.head_dim, width, to);
  for (int64_t d = 0; d < width; d += kLanes<A>) store(to + d, sigmoid<A>(load(to + d)));
}

int64_t first_token(const EvoAttentionForward& p, int64_t b) {
  return key_token(p, b, 0);
}

/// The queries begin .. end - 1 of one row.
template <class T, class A = Accumulate<T>>
void forward_row(const EvoAttentionForward& p, const Row& row, const Bias<A>& bias, int64_t begin,
                 int64_t end, Scratch<A>& s) {
  const Sizes<A> n(p);
  const bool any = open_keys(p, row, n, s.opening);
  if (any) {
    read_keys<T>(p, p.k, p.k_stride, row, n, s.opening, s.k);
    read_keys<T>(p, p.v, p.v_stride, row, n, s.opening, s.v);
    pack_panels(s.k, n, p.head_dim, s.k_panels);
  }
  T* const out = static_cast<T*>(p.out) + start_of(p.out_stride, row.b, row.r, row.h);
  for (int64_t i = begin; i < end; i += kTileQueries) {
    const int64_t count = std::min(kTileQueries, end - i);
    std::fill(s.largest, s.largest + count, kLowest<A>);
    std::fill(s.sum, s.sum + count, A(0));
    std::fill(s.out, s.out + count * n.width, A(0));
    if (any) read_queries<T>(p, row, i, count, n, s.q);
    for (int64_t j = 0; any && j < n.keys; j += kTileKeys) {
      const Tile t = {i, count, j, std::min(kTileKeys, n.keys - j)};
      tile_scores(p, t, s.q, s.k_panels, s.scores, kTileKeys);
      tile_softmax(p, row, bias, t, s, [&](int64_t line, A factor) {
        multiply(s.out + line * n.width, n.width, factor);
      });
      simd::product<true>(count, n.width, t.n, s.scores, kTileKeys, 1, s.v + j * n.width, n.width,
                          Sizes<A>::kPanel, s.out, n.width);
    }
    for (int64_t line = 0; line < count; ++line) {
      A* const o = s.out + line * n.width;
      multiply(o, n.width, s.sum[line] == 0 ? A(0) : A(1) / s.sum[line]);
      if (p.gate != nullptr) {
        read_gate<T>(p, row, i + line, n.width, s.q);  // the queries are done with
        for (int64_t d = 0; d < n.width; d += kLanes<A>) store(o + d, load(o + d) * load(s.q + d));
      }
      if (p.lse != nullptr) {
        p.lse[((row.b * p.rows + row.r) * p.heads + row.h) * p.queries + i + line] =
            static_cast<float>(s.largest[line] + std::log(s.sum[line]));
      }
    }
    write_tokens(s.out, count, p.head_dim, n.width, out + i * p.out_stride.token,
                 p.out_stride.token);
  }
}

/// Makes a scratch a thread and calls f(task, scratch) for every task.
template <class A, class F>
void with_scratch(const EvoAttentionForward& p, bool backward, int64_t tasks, F&& f) {
  const int64_t elements = Scratch<A>(Carver<A>(nullptr), p, backward).elements;
  const int64_t bytes = round_up(elements * static_cast<int64_t>(sizeof(A)), 4096) + 64;
  // Not filled: a page is first touched by the thread that uses it.
  const auto memory =
      std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(bytes * threads_for(tasks)));
  parallel_for_threads(tasks, [&](int64_t task, int64_t thread) {
    auto start = reinterpret_cast<uintptr_t>(memory.get() + thread * bytes);
    start = static_cast<uintptr_t>(round_up(static_cast<int64_t>(start), 64));
    Scratch<A> scratch(Carver<A>(reinterpret_cast<A*>(start)), p, backward);
    f(task, scratch);
  });
}

void forward(const EvoAttentionForward& p, void* workspace, Stream) {
  with_type(p.dtype, [&](auto t) {
    using T = decltype(t);
    using A = Accumulate<T>;
    const Bias<A> bias = read_bias<A>(p, static_cast<A*>(workspace));
    // Few rows: their queries are shared out too, though each part packs the keys anew.
    const int64_t lines = p.batch * p.rows * p.heads;
    const int64_t tiles = (p.queries + kTileQueries - 1) / kTileQueries;
    const int64_t parts =
        lines == 0 ? 0 : std::clamp<int64_t>(64 / lines, 1, std::max<int64_t>(tiles, 1));
    const int64_t part =
        (tiles + std::max<int64_t>(parts, 1) - 1) / std::max<int64_t>(parts, 1) * kTileQueries;
    with_scratch<A>(p, false, lines * parts, [&](int64_t task, Scratch<A>& s) {
      // Rows vary faster than heads: neighbours in time read the same bias.
      const int64_t line = task / parts, begin = task % parts * part;
      const int64_t b = line / (p.heads * p.rows);
      const Row row = {b, line % p.rows, line / p.rows % p.heads, first_token(p, b)};
      if (begin < p.queries) {
        forward_row<T>(p, row, bias, begin, std::min(p.queries, begin + part), s);
      }
    });
  });
}

/// Of one query: S without its bias becomes P, dP becomes dS and is added to the bias' gradient.
template <class A>
void softmax_backward(const EvoAttentionForward& p, const A* opening, const A* bias, float lse,
                      A* scores, A* dscores, A* dbias) {
  const int64_t keys = Sizes<A>(p).keys;
  // A query that sees nothing has lse = -infinity, and S - infinity gives it P = 0.
  const A shift = lse == kLowest<float> ? -kLowest<A> : A(lse);
  Vector<A> sums{}, products{};
  for (int64_t j = 0; j < keys; j += kLanes<A>) {
    const Vector<A> open = load(opening + j);
    Vector<A> score = load(scores + j) + open;
    if (bias != nullptr) score += load_some(bias + j, p.keys - j);
    const Vector<A> weight = open < A(0) ? Vector<A>{} : simd::exp(score - shift);
    store(scores + j, weight);
    sums += weight;
    products += weight * load(dscores + j);
  }
  const A sum = simd::sum<A>(sums), scale = sum == 0 ? A(0) : A(1) / sum;
  const A delta = simd::sum<A>(products) * scale;
  for (int64_t j = 0; j < keys; j += kLanes<A>) {
    const Vector<A> weight = load(scores + j) * scale;
    const Vector<A> ds = weight * (load(dscores + j) - delta);
    store(scores + j, weight);
    store(dscores + j, ds);
    if (dbias != nullptr) add_some(dbias + j, p.keys - j, ds);
  }
}

/// One row's gradients: dq and dgate are written, dk and dv added to the scratch's sums at the
/// row's tokens, the bias' gradient added to dbias [Nq, Nk] (null: not wanted).
template <class T, class A = Accumulate<T>>
void backward_row(const EvoAttentionBackward& p, const Row& row, const Bias<A>& bias, A* dbias,
                  Scratch<A>& s) {
  const EvoAttentionForward& f = p.forward;
  const Sizes<A> n(f);
  const bool any = open_keys(f, row, n, s.opening);
  if (any) {
    read_keys<T>(f, f.k, f.k_stride, row, n, s.opening, s.k);
    read_keys<T>(f, f.v, f.v_stride, row, n, s.opening, s.v);
    pack_panels(s.k, n, f.head_dim, s.k_panels);
    pack_panels(s.v, n, f.head_dim, s.v_panels);
  }
  const float* const lse = f.lse + ((row.b * f.rows + row.r) * f.heads + row.h) * f.queries;
  // Keys may begin before token 0: the sums have n.keys rows before it.
  const int64_t first = std::clamp(row.first, -n.keys, key_tokens(f));
  A* const dk = s.dk + (first + n.keys) * n.width;
  A* const dv = s.dv + (first + n.keys) * n.width;

  for (int64_t i = 0; i < f.queries; i += kTileQueries) {
    const int64_t count = std::min(kTileQueries, f.queries - i);
    read_tokens(static_cast<const T*>(p.dout) + start_of(p.dout_stride, row.b, row.r, row.h) +
                    i * p.dout_stride.token,
                p.dout_stride.token, count, f.head_dim, n.width, s.dout);
    if (f.gate != nullptr) {
      read_tokens(static_cast<const T*>(f.out) + start_of(f.out_stride, row.b, row.r, row.h) +
                      i * f.out_stride.token,
                  f.out_stride.token, count, f.head_dim, n.width, s.out);
    }
    for (int64_t line = 0; line < count && f.gate != nullptr; ++line) {
      // dgate = dout A g (1 - g) = dout out (1 - g); and dA = dout g.
      A *const o = s.out + line * n.width, *const g = s.dout + line * n.width;
      read_gate<T>(f, row, i + line, n.width, s.q);
      for (int64_t d = 0; d < n.width; d += kLanes<A>) {
        const Vector<A> gate = load(s.q + d);
        store(o + d, load(o + d) * load(g + d) * (A(1) - gate));
        store(g + d, load(g + d) * gate);
      }
    }
    if (p.dgate != nullptr) {
      write_tokens(s.out, count, f.head_dim, n.width,
                   static_cast<T*>(p.dgate) + start_of(p.dgate_stride, row.b, row.r, row.h) +
                       i * p.dgate_stride.token,
                   p.dgate_stride.token);
    }
    A* const dq = s.out;  // from here on
    std::fill(dq, dq + count * n.width, A(0));
    if (any) read_queries<T>(f, row, i, count, n, s.q);

    for (int64_t j = 0; any && j < n.keys; j += kTileKeys) {
      const Tile t = {i, count, j, std::min(kTileKeys, n.keys - j)};
      tile_scores(f, t, s.q, s.k_panels, s.scores + j, n.keys);
      tile_scores(f, t, s.dout, s.v_panels, s.dscores + j, n.keys);
    }
    for (int64_t line = 0; any && line < count; ++line) {
      softmax_backward(f, s.opening, bias.row(row, i + line), lse[i + line],
                       s.scores + line * n.keys, s.dscores + line * n.keys,
                       dbias == nullptr ? nullptr : dbias + (i + line) * f.keys);
    }
    for (int64_t j = 0; any && j < n.keys; j += kTileKeys) {
      const int64_t keys = std::min(kTileKeys, n.keys - j);
      simd::product<true>(keys, n.width, count, s.scores + j, 1, n.keys, s.dout, n.width,
                          Sizes<A>::kPanel, dv + j * n.width, n.width);
      simd::product<true>(keys, n.width, count, s.dscores + j, 1, n.keys, s.q, n.width,
                          Sizes<A>::kPanel, dk + j * n.width, n.width);
      simd::product<true>(count, n.width, keys, s.dscores + j, n.keys, 1, s.k + j * n.width,
                          n.width, Sizes<A>::kPanel, dq, n.width);
    }
    multiply(dq, count * n.width, static_cast<A>(f.scale));
    write_tokens(
        dq, count, f.head_dim, n.width,
        static_cast<T*>(p.dq) + start_of(p.dq_stride, row.b, row.r, row.h) + i * p.dq_stride.token,
        p.dq_stride.token);
  }
}

/// How the backward is cut: a group is a batch, or all windows, since those share their keys; a
/// task is one group's head and a chunk of its rows.
struct Plan {
  int64_t groups, group_batches, chunks, square;

  explicit Plan(const EvoAttentionBackward& p) {
    const EvoAttentionForward& f = p.forward;
    groups = f.key_total > 0 ? 1 : f.batch;
    group_batches = f.key_total > 0 ? f.batch : 1;
    square = f.queries * f.keys;
    const int64_t heads = std::max<int64_t>(groups * f.heads, 1);
    const int64_t total = std::max<int64_t>(f.batch * f.heads * square, 1);
    const int64_t fine = std::min(f.rows / kFineRows, kFineElements / total);
    chunks = p.dbias == nullptr
                 ? f.rows
                 : std::min(f.rows, std::max(fine, std::clamp<int64_t>(64 / heads, 1, kMaxChunks)));
  }
  int64_t rows_begin(const EvoAttentionForward& f, int64_t chunk) const {
    return f.rows * chunk / std::max<int64_t>(chunks, 1);
  }
  int64_t partial_elements(const EvoAttentionBackward& p) const {
    return p.dbias == nullptr ? 0 : chunks * p.forward.batch * p.forward.heads * square;
  }
};

template <class T, class A = Accumulate<T>>
void backward_task(const EvoAttentionBackward& p, const Plan& plan, int64_t task,
                   const Bias<A>& bias, A* partials, Scratch<A>& s) {
  const EvoAttentionForward& f = p.forward;
  const Sizes<A> n(f);
  const int64_t chunk = task % plan.chunks, h = task / plan.chunks % f.heads;
  const int64_t group = task / plan.chunks / f.heads;
  const int64_t begin = group * plan.group_batches, end = begin + plan.group_batches;
  const int64_t tokens = key_tokens(f), sums = (tokens + 2 * n.keys) * n.width;
  const auto partial = [&](int64_t b) -> A* {
    if (partials == nullptr) return nullptr;
    return partials + ((chunk * f.batch + b) * f.heads + h) * plan.square;
  };
  for (int64_t b = begin; partials != nullptr && b < end; ++b) {
    std::fill(partial(b), partial(b) + plan.square, A(0));
  }
  for (int64_t r = plan.rows_begin(f, chunk); r < plan.rows_begin(f, chunk + 1); ++r) {
    std::fill(s.dk, s.dk + sums, A(0));
    std::fill(s.dv, s.dv + sums, A(0));
    for (int64_t b = begin; b < end; ++b) {
      backward_row<T>(p, {b, r, h, first_token(f, b)}, bias, partial(b), s);
    }
    write_tokens(s.dk + n.keys * n.width, tokens, f.head_dim, n.width,
                 static_cast<T*>(p.dk) + start_of(p.dk_stride, group, r, h), p.dk_stride.token);
    write_tokens(s.dv + n.keys * n.width, tokens, f.head_dim, n.width,
                 static_cast<T*>(p.dv) + start_of(p.dv_stride, group, r, h), p.dv_stride.token);
  }
}

/// dbias = the chunks' partial sums, added in order.
template <class A>
void add_partials(const EvoAttentionBackward& p, const Plan& plan, const A* partials) {
  const EvoAttentionForward& f = p.forward;
  const int64_t total = f.batch * f.heads * plan.square;
  with_type(f.bias_dtype, [&](auto t) {
    using W = decltype(t);
    parallel_blocks(total, 4096, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t e = begin; e < end; ++e) {
        double sum = 0;
        for (int64_t c = 0; c < plan.chunks; ++c) sum += partials[c * total + e];
        static_cast<W*>(p.dbias)[e] = narrow<W>(static_cast<Accumulate<W>>(sum));
      }
    });
  });
}

void backward(const EvoAttentionBackward& p, void* workspace, Stream) {
  const EvoAttentionForward& f = p.forward;
  with_type(f.dtype, [&](auto t) {
    using T = decltype(t);
    using A = Accumulate<T>;
    A* const memory = static_cast<A*>(workspace);
    const Bias<A> bias = read_bias<A>(f, memory);
    const Plan plan(p);
    A* const partials =
        p.dbias == nullptr ? nullptr : memory + bias_bytes<A>(f) / static_cast<int64_t>(sizeof(A));
    with_scratch<A>(f, true, plan.groups * f.heads * plan.chunks, [&](int64_t task, Scratch<A>& s) {
      backward_task<T>(p, plan, task, bias, partials, s);
    });
    if (p.dbias != nullptr) add_partials(p, plan, partials);
  });
}

bool is_wide(const EvoAttentionForward& p) {
  return p.dtype == DType::f64;
}

int64_t forward_workspace(const EvoAttentionForward& p) {
  return is_wide(p) ? bias_bytes<double>(p) : bias_bytes<float>(p);
}

int64_t backward_workspace(const EvoAttentionBackward& p) {
  return forward_workspace(p.forward) + Plan(p).partial_elements(p) * (is_wide(p.forward) ? 8 : 4);
}

Reasons forward_reasons(const EvoAttentionForward& p) {
  Reasons reasons = evo_attention_reasons(p);
  if (p.place != Place::cpu) reasons.emplace_back("the tensors are not on the CPU");
  return reasons;
}

Reasons backward_reasons(const EvoAttentionBackward& p) {
  Reasons reasons = evo_attention_reasons(p);
  if (p.forward.place != Place::cpu) reasons.emplace_back("the tensors are not on the CPU");
  return reasons;
}

}  // namespace

const Implementation<EvoAttentionForward> kEvoAttentionForwardCpu = {
    "cpu", Place::cpu, forward_reasons, forward_workspace, forward};
const Implementation<EvoAttentionBackward> kEvoAttentionBackwardCpu = {
    "cpu", Place::cpu, backward_reasons, backward_workspace, backward};

}  // namespace megafold::kernels
